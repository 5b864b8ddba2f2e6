/**
 * @file The mixer of Mamba (arXiv 2312.00752 fig. 3): projection to two branches, a causal convolution and the selective
 * scan on one, gated by the other, and a projection back. It has no feed-forward layer behind it.
 */
import * as z from 'zod';
import { applyConv, convParameters } from '../layers/conv1d.js';
import { applyLinear, linearParameters } from '../layers/linear.js';
import {
  constant,
  countParameters,
  prefixed,
  type Init,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { softplusStepInit } from '../layers/state-space.js';
import { dropout } from '../ops/dropout.js';
import { activate, scaled, skipGate } from '../ops/elementwise.js';
import { selectiveScan } from '../ops/selective-scan.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState } from './mixer.js';
import { stepRange } from './options.js';

const count = () => z.number().int().min(1);

const mambaOptions = z.strictObject({
  expand: z.number().positive().default(2).describe('Inner width over dim.'),
  stateSize: count().default(16).describe('States N of each inner channel.'),
  convKernel: count().max(64).default(4).describe('Taps of the causal convolution.'),
  stepRank: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('Rank of the map to the step sizes of all channels; 0 for dim / 16, rounded up.'),
  stepRange: stepRange('channels'),
});

export type MambaOptions = z.output<typeof mambaOptions>;

export const mambaMixer = defineMixer({
  name: 'mamba',
  summary: 'selective state space of Mamba: a diagonal scan with decays that depend on the input (arXiv 2312.00752)',
  options: mambaOptions,
  feedForward: 'none',
  create: createMamba,
});

/** @throws RangeError when the inner width is no whole number. */
function createMamba(options: MambaOptions, place: MixerPlace): Mixer {
  const { stateSize: N, convKernel: K } = options;
  const D = place.dim;
  const I = options.expand * D;
  if (!Number.isInteger(I)) throw new RangeError(`mamba: expand * dim must be a whole number, got ${I}`);
  const parameters = mambaParameters(options, place, I);

  const forward = (p: ParameterTensors, input: Tensor, { state, reset, key }: MixerContext): [Tensor, MixerState] => {
    const [x, conv] = applyConv(p, 'conv', applyLinear(p, 'x', input), state?.['conv'] ?? null, reset); // [B,T,I]
    const delta = activate(applyLinear(p, 'step', applyLinear(p, 'stepDown', x)), 'softplus'); // [B,T,I]
    const scanned = { u: x, delta, A: rates(p['logRates']!), B: applyLinear(p, 'B', x), C: applyLinear(p, 'C', x) };
    const [h, scan] = selectiveScan(scanned, { state: state?.['scan'] ?? null, reset });
    const gated = skipGate(h, x, p['skip']!, applyLinear(p, 'gate', input));
    return [dropout(applyLinear(p, 'out', gated), place.dropout, key), { conv, scan }];
  };

  return {
    kind: 'mamba',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      conv: { shape: [B, K - 1, I], batchAxis: 0, initial: 0 },
      scan: { shape: [B, I, N], batchAxis: 0, initial: 0 },
    }),
    forward,
    step: stepBy(forward),
    // Of a state: its decay (product, exp, product), what it gains, and its reading.
    flopsPerToken: () => 2 * countParameters(parameters) + 7 * I * N,
  };
}

/** A = -exp(logRates). */
const rates = (logRates: Tensor): Tensor => scaled(activate(logRates, 'exp'), -1);

function mambaParameters(options: MambaOptions, place: MixerPlace, I: number): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  const { stateSize: N } = options;
  const R = options.stepRank === 0 ? Math.ceil(D / 16) : options.stepRank;
  // As torch.nn.Linear starts.
  const inner: Init = { kind: 'uniform', bound: 1 / Math.sqrt(I) };
  const logRates: Init = { kind: 'values', values: Array.from({ length: I * N }, (_, at) => Math.log((at % N) + 1)) };
  return {
    ...prefixed('x', linearParameters(D, I, inputInit, bias)),
    ...prefixed('gate', linearParameters(D, I, inputInit, bias)),
    ...prefixed('conv', convParameters(I, options.convKernel)),
    ...prefixed('stepDown', linearParameters(I, R, inner, false)),
    ...prefixed('B', linearParameters(I, N, inner, false)),
    ...prefixed('C', linearParameters(I, N, inner, false)),
    ...prefixed('step', linearParameters(R, I, { kind: 'uniform', bound: 1 / Math.sqrt(R) }, false)),
    'step.bias': { shape: [I], init: softplusStepInit(options.stepRange), decay: false },
    logRates: { shape: [I, N], init: logRates, decay: false },
    skip: { shape: [I], init: constant(1), decay: false },
    ...prefixed('out', linearParameters(I, D, outputInit, bias)),
  };
}
