/**
 * @file The layer of DSS (arXiv 2203.14343): a diagonal state-space model per channel with complex modes that need no
 * conjugates, GELU, and a gated map over channels. Its softmax form normalises every mode over a fixed number of steps.
 */
import * as z from 'zod';
import { hippoLegs } from '../layers/hippo.js';
import { applyDiagonalSsm, diagonalSsmParameters, type SsmContext } from '../layers/state-space.js';
import { historyConv } from '../layers/history-conv.js';
import { countParameters, prefixed, type ParameterTensors } from '../layers/parameter.js';
import { applyStateSpaceOutput, stateSpaceOutputParameters } from '../layers/state-space-output.js';
import { ssmDiscretize, ssmKernel } from '../ops/state-space.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';
import { stepRange } from './options.js';

const dssOptions = z.strictObject({
  kind: z
    .enum(['exp', 'softmax'])
    .default('exp')
    .describe(
      'exp: real parts -exp(a), which always decay. softmax: real parts free, each mode normalised over `length` steps; its state is the last inputs.',
    ),
  stateSize: z.number().int().min(1).default(64).describe('Complex modes N of each channel.'),
  stepRange: stepRange('channels'),
  length: z
    .number()
    .int()
    .min(1)
    .default(1024)
    .describe('Steps that the softmax form normalises over, and the farthest that it looks back.'),
});

export type DssOptions = z.output<typeof dssOptions>;

export const dssMixer = defineMixer({
  name: 'dss',
  summary: 'diagonal state spaces, with or without softmax over the modes (DSS, arXiv 2203.14343)',
  options: dssOptions,
  feedForward: 'none',
  create: createDss,
});

function createDss({ kind, stateSize: N, stepRange, length }: DssOptions, place: MixerPlace): Mixer {
  const D = place.dim;
  const softmax = kind === 'softmax';
  // The modes of HiPPO of twice the size whose angles are positive.
  const angles = hippoLegs(2 * N).eigenvalues.map(({ im }) => -im);
  const realParameter = angles.map(() => (softmax ? -0.5 : Math.log(0.5)));
  const model = diagonalSsmParameters({ modes: N, channels: D, stepRange }, { realParameter, imaginary: angles });
  const parameters = { ...prefixed('ssm', model), ...stateSpaceOutputParameters(place) };

  /** The softmax form: modes may grow, so there is no recurrence; the kernel is as long as it is normalised over. */
  const applySoftmax = (p: ParameterTensors, x: Tensor, context: SsmContext): [Tensor, Tensor | null] => {
    const options = { realPart: 'free', softmaxLength: length } as const;
    const model = ssmDiscretize(p['ssm.A']!, p['ssm.C']!, p['ssm.logStep']!, options);
    return historyConv(x, ssmKernel(model, length, true), p['ssm.skip']!, context);
  };

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const { wantState, reset, key } = context;
    const carried = { state: context.state?.['ssm'] ?? null, wantState, reset };
    const [y, last] = softmax ? applySoftmax(p, x, carried) : applyDiagonalSsm(p, 'ssm', x, carried);
    return [applyStateSpaceOutput(p, y, place, key), last === null ? {} : { ssm: last }];
  };

  return {
    kind: 'dss',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      ssm: { shape: softmax ? [B, length - 1, D] : [B, 2, N, D], batchAxis: 0, initial: 0 },
    }),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(stateSpaceOutputParameters(place)) + 12 * N * D,
  };
}
