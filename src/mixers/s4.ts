/**
 * @file The layer of S4 (arXiv 2111.00396): a state-space model per channel whose matrix is diagonal plus rank one and
 * starts as HiPPO-LegS, GELU, and a gated map over channels. Whole sequences without a state are one convolution; with
 * one, and for steps, it is the recurrence.
 */
import * as z from 'zod';
import { hippoLegs } from '../layers/hippo.js';
import { countParameters, prefixed, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { inEveryChannel, logStepInit, complexNormal, modeRate } from '../layers/state-space.js';
import { applyStateSpaceOutput, stateSpaceOutputParameters } from '../layers/state-space-output.js';
import { add } from '../ops/elementwise.js';
import { longConv } from '../ops/long-conv.js';
import { s4Kernel, s4Scan, type S4Model } from '../ops/s4.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';
import { stepRange } from './options.js';

const s4Options = z.strictObject({
  stateSize: z
    .number()
    .int()
    .min(2)
    .multipleOf(2)
    .default(64)
    .describe('Real states N of each channel, half as many complex modes.'),
  stepRange: stepRange('channels'),
  bidirectional: z
    .boolean()
    .default(false)
    .describe('A second output matrix reads from the end of each document; the mixer is not causal then.'),
});

export type S4Options = z.output<typeof s4Options>;

export const s4Mixer = defineMixer({
  name: 's4',
  summary: 'state-space model, diagonal plus rank one, from HiPPO (S4, arXiv 2111.00396)',
  options: s4Options,
  feedForward: 'none',
  create: createS4,
});

/** Parts of the input weights beyond this are cut off at the start, as S4 does. */
const LARGEST_IMAGINARY = 2;

function s4Parameters({ stateSize: N, stepRange, bidirectional }: S4Options, D: number): ParameterTable {
  const { eigenvalues, P, B } = hippoLegs(N);
  const clipped = B.map(({ im }) => Math.min(Math.max(im, -LARGEST_IMAGINARY), LARGEST_IMAGINARY));
  const spec = (real: readonly number[], imaginary: readonly number[]) => ({
    shape: [2, N / 2, D],
    init: inEveryChannel(real, imaginary, D),
    decay: false,
    learningRate: modeRate,
  });
  const C = { shape: [2, N / 2, D], init: complexNormal, decay: false };
  const log = eigenvalues.map(({ re }) => Math.log(-re));
  return {
    A: spec(
      log,
      eigenvalues.map(({ im }) => im),
    ),
    P: spec(
      P.map(({ re }) => re),
      P.map(({ im }) => im),
    ),
    B: spec(
      B.map(({ re }) => re),
      clipped,
    ),
    C,
    ...(bidirectional ? { backwardC: C } : {}),
    logStep: { shape: [D], init: logStepInit(stepRange), decay: false, learningRate: modeRate },
    skip: { shape: [D], init: { kind: 'normal', std: 1 }, decay: false },
  };
}

function createS4(options: S4Options, place: MixerPlace): Mixer {
  const { stateSize: N, bidirectional } = options;
  const D = place.dim;
  const parameters = { ...prefixed('ssm', s4Parameters(options, D)), ...stateSpaceOutputParameters(place) };
  const modelOf = (p: ParameterTensors, C: string): S4Model => ({
    A: p['ssm.A']!,
    P: p['ssm.P']!,
    Bm: p['ssm.B']!,
    C: p[C]!,
    logDt: p['ssm.logStep']!,
  });

  /** The sequence map: y and, where one was given or is wanted, the next state. */
  const mix = (p: ParameterTensors, x: Tensor, { state, wantState, reset }: MixerContext): [Tensor, Tensor | null] => {
    const model = modelOf(p, 'ssm.C');
    const rest = { skip: p['ssm.skip']!, reset };
    if (bidirectional) {
      const ahead = longConv(x, s4Kernel(model, x.extent(1)), rest);
      const back = longConv(x, s4Kernel(modelOf(p, 'ssm.backwardC'), x.extent(1)), { reset, reversed: true });
      return [add(ahead, back), null];
    }
    if (state === null && !wantState) return [longConv(x, s4Kernel(model, x.extent(1)), rest), null];
    return s4Scan(x, model, { ...rest, state: state?.['ssm'] ?? null });
  };

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const [y, last] = mix(p, x, context);
    return [applyStateSpaceOutput(p, y, place, context.key), last === null ? {} : { ssm: last }];
  };

  return {
    kind: 's4',
    causal: !bidirectional,
    ...(bidirectional ? { causalVariant: 'set s4.bidirectional to false' } : {}),
    parameters,
    stateSpecs: (B) => (bidirectional ? {} : { ssm: { shape: [B, 2, N / 2, D], batchAxis: 0, initial: 0 } }),
    forward,
    step(p, x, state) {
      if (bidirectional) throw new Error('s4: a bidirectional layer has no step form; it needs what comes later');
      return stepBy(forward)(p, x, state);
    },
    // Of a complex mode: its decay, what it loses to and gains from the rank-one part, its input, and its reading.
    flopsPerToken: () => 2 * countParameters(stateSpaceOutputParameters(place)) + (bidirectional ? 2 : 1) * 12 * N * D,
  };
}
