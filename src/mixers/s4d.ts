/**
 * @file The layer of S4D (arXiv 2206.11893): a diagonal state-space model per channel, GELU, and a gated map over channels.
 * Whole sequences without a state are one convolution; with one, and for steps, it is the recurrence.
 */
import * as z from 'zod';
import { hippoLegs } from '../layers/hippo.js';
import { applyDiagonalSsm, diagonalSsmParameters, type ModeStart } from '../layers/state-space.js';
import { countParameters, prefixed, type ParameterTensors } from '../layers/parameter.js';
import { applyStateSpaceOutput, stateSpaceOutputParameters } from '../layers/state-space-output.js';
import { add } from '../ops/elementwise.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';
import { stepRange } from './options.js';

const s4dOptions = z.strictObject({
  stateSize: z
    .number()
    .int()
    .min(2)
    .multipleOf(2)
    .default(64)
    .describe('Real states N of each channel, half as many complex modes.'),
  init: z
    .enum(['lin', 'inv', 'legs'])
    .default('lin')
    .describe(
      'Where the modes start: angles pi n, angles (N / pi) (N / (2n + 1) - 1), or the diagonal of HiPPO-LegS; all with real part -1/2.',
    ),
  stepRange: stepRange('channels'),
  bidirectional: z
    .boolean()
    .default(false)
    .describe('A second model from the end of each document; the mixer is not causal then.'),
});

export type S4dOptions = z.output<typeof s4dOptions>;

export const s4dMixer = defineMixer({
  name: 's4d',
  summary: 'diagonal state-space model, its convolution by Fourier transforms (S4D, arXiv 2206.11893)',
  options: s4dOptions,
  feedForward: 'none',
  create: createS4d,
});

/** Modes that start at -1/2 plus these angles; the real part is kept as log(-Re A). */
export function halfDecay(angles: readonly number[]): ModeStart {
  return { realParameter: angles.map(() => Math.log(0.5)), imaginary: angles };
}

/** Initial angles of the N/2 modes of N states (arXiv 2206.11893 eq. 9 and sec. 4). */
export function modeAngles(init: S4dOptions['init'], N: number): number[] {
  if (init === 'legs') return hippoLegs(N).eigenvalues.map(({ im }) => im);
  return Array.from({ length: N / 2 }, (_, n) =>
    init === 'lin' ? Math.PI * n : (N / Math.PI) * (N / (2 * n + 1) - 1),
  );
}

function createS4d(options: S4dOptions, place: MixerPlace): Mixer {
  const { stateSize: N, bidirectional, stepRange } = options;
  const D = place.dim;
  const model = diagonalSsmParameters({ modes: N / 2, channels: D, stepRange }, halfDecay(modeAngles(options.init, N)));
  const parameters = {
    ...prefixed('ssm', model),
    ...(bidirectional ? prefixed('backward', model) : {}),
    ...stateSpaceOutputParameters(place),
  };

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const { wantState, reset, key } = context;
    const carried = { state: context.state?.['ssm'] ?? null, wantState: wantState && !bidirectional, reset };
    // Each mode stands for a conjugate pair.
    const [ahead, last] = applyDiagonalSsm(p, 'ssm', x, carried, { scale: 2 });
    const both = bidirectional
      ? add(ahead, applyDiagonalSsm(p, 'backward', x, { ...carried, state: null }, { scale: 2, reversed: true })[0])
      : ahead;
    return [applyStateSpaceOutput(p, both, place, key), last === null ? {} : { ssm: last }];
  };

  return {
    kind: 's4d',
    causal: !bidirectional,
    ...(bidirectional ? { causalVariant: 'set s4d.bidirectional to false' } : {}),
    parameters,
    stateSpecs: (B) => (bidirectional ? {} : { ssm: { shape: [B, 2, N / 2, D], batchAxis: 0, initial: 0 } }),
    forward,
    step(p, x, state) {
      if (bidirectional) throw new Error('s4d: a bidirectional layer has no step form; it needs what comes later');
      return stepBy(forward)(p, x, state);
    },
    // Of a complex mode: its decay, what it gains, and its reading, as in the recurrence.
    flopsPerToken: () => 2 * countParameters(stateSpaceOutputParameters(place)) + (bidirectional ? 2 : 1) * 6 * N * D,
  };
}
