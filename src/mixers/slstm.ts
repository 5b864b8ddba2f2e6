/**
 * @file The sLSTM layer of the paper's post-up-projection block (arXiv 2405.04517 fig. 10), and the LSTM in its place:
 * convolution for the input and forget gates, head-wise gate maps, recurrent cell, per-head norm.
 */
import * as z from 'zod';
import { applyConv, convParameters } from '../layers/conv1d.js';
import { applyHeadwise, headwiseParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import {
  constant,
  countParameters,
  prefixed,
  smallInit,
  type Init,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { lstm, slstm } from '../ops/recurrent.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerContext, type MixerPlace, type MixerState, type StateSpec } from './mixer.js';

const recurrentOptions = z.strictObject({
  heads: z.number().int().min(1).default(4).describe('Heads of the recurrence; must divide dim.'),
  convKernel: z
    .number()
    .int()
    .min(0)
    .max(64)
    .default(4)
    .describe('Taps of the causal convolution before the input and forget gates; 0 for none.'),
  denseGates: z
    .boolean()
    .default(false)
    .describe('Gates see all of the input instead of the part of their head: the sLSTM of the ablations in the paper.'),
  cellNorm: z.boolean().default(true).describe('Norm of each head behind the cell.'),
  recurrentInit: z
    .enum(['zeros', 'standard'])
    .default('zeros')
    .describe('Initial recurrent matrices: zeros, or uniform in +-1/sqrt(dim).'),
  biasInit: z
    .enum(['powerlaw', 'small', 'standard', 'zeros'])
    .default('powerlaw')
    .describe(
      'Initial biases: forget gates from +5 to -7 by a power law per block, from 3 to 6, uniform in +-1/sqrt(dim), or zero.',
    ),
});

export type RecurrentOptions = z.output<typeof recurrentOptions>;

export const slstmMixer = defineMixer({
  name: 'slstm',
  summary: 'the sLSTM of the paper: exponential gating, memory mixing within heads (arXiv 2405.04517 fig. 10)',
  options: recurrentOptions,
  feedForward: 'layer',
  create: (options, place) => createRecurrent('slstm', options, place),
});

export const lstmMixer = defineMixer({
  name: 'lstm',
  summary: 'an LSTM in the frame, with the heads and gate maps of the sLSTM (NX-AI/xlstm, cell function "lstm")',
  options: recurrentOptions,
  feedForward: 'layer',
  create: (options, place) => createRecurrent('lstm', options, place),
});

/** Initial values of the states: c n m h of the sLSTM, c h of the LSTM. */
const CELLS = { slstm: { op: slstm, initial: [0, 0, -Infinity, 0] }, lstm: { op: lstm, initial: [0, 0] } } as const;

/** @throws RangeError when heads does not divide the width. */
function createRecurrent(kind: 'slstm' | 'lstm', config: RecurrentOptions, place: MixerPlace): Mixer {
  const { heads: NH, convKernel: K } = config;
  const D = place.dim;
  if (D % NH !== 0) throw new RangeError(`${kind}: heads must divide the width, got ${NH} heads of ${D}`);
  const parameters = recurrentParameters(config, place);
  const { op, initial } = CELLS[kind];

  const forward = (p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState] => {
    const { state, reset, key, observe } = context;
    const [c, conv] = K === 0 ? [x, null] : applyConv(p, 'conv', x, state?.['conv'] ?? null, reset); // [B,T,D]
    const gates = {
      i: applyHeadwise(p, 'igate', c),
      f: applyHeadwise(p, 'fgate', c),
      z: applyHeadwise(p, 'zgate', x),
      o: applyHeadwise(p, 'ogate', x),
    };
    const [recurrent, bias, before] = [p['recurrent']!, p['bias']!, state?.['cell'] ?? null];
    const [h, last] = op(gates, recurrent, bias, { state: before, reset });
    if (kind === 'slstm') observe?.({ kind, gates, recurrent, bias, state: before, h });
    const dropped = dropout(h, place.dropout, key);
    const y = config.cellNorm ? applyNorm(p, 'cellNorm', dropped, place.normEps, NORMS.layernorm, NH) : dropped;
    return [y, { cell: last, ...(conv === null ? {} : { conv }) }];
  };

  return {
    kind,
    causal: true,
    hasBf16: true,
    parameters,
    stateSpecs: (B): Record<string, StateSpec> => ({
      cell: { shape: [initial.length, B, D], batchAxis: 1, initial },
      ...(K === 0 ? {} : { conv: { shape: [B, K - 1, D], batchAxis: 0, initial: 0 } }),
    }),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(parameters),
  };
}

/** Initial values: specification of NX-AI/xlstm blocks/slstm/{layer,cell}.py. */
function recurrentParameters(config: RecurrentOptions, place: MixerPlace): ParameterTable {
  const { heads: NH, convKernel } = config;
  const D = place.dim;
  const DH = D / NH;
  const [groups, width] = config.denseGates ? [1, D] : [NH, DH];
  const gate = headwiseParameters(groups, width, width, smallInit(D), false);
  const standard: Init = { kind: 'uniform', bound: 1 / Math.sqrt(D) };
  const recurrentInit = config.recurrentInit === 'zeros' ? constant(0) : standard;
  return {
    ...(convKernel === 0 ? {} : prefixed('conv', convParameters(D, convKernel))),
    ...prefixed('igate', gate),
    ...prefixed('fgate', gate),
    ...prefixed('zgate', gate),
    ...prefixed('ogate', gate),
    recurrent: { shape: [NH, 4 * DH, DH], init: recurrentInit, decay: false },
    bias: { shape: [4 * D], init: biasInit(config.biasInit, place, NH, standard), decay: false },
    ...(config.cellNorm ? prefixed('cellNorm', normParameters(D)) : {}),
  };
}

/** Bias [4,NH,DH]: zero but for the forget gate, or uniform with 'standard'. */
function biasInit(
  kind: RecurrentOptions['biasInit'],
  { dim: D, block, blocks }: MixerPlace,
  NH: number,
  standard: Init,
): Init {
  if (kind === 'standard') return standard;
  if (kind === 'zeros') return constant(0);
  const DH = D / NH;
  const values = new Array<number>(4 * D).fill(0);
  for (let head = 0; head < NH; head++) {
    for (let unit = 0; unit < DH; unit++) {
      values[D + head * DH + unit] =
        kind === 'powerlaw' ? powerLaw(unit, DH, block, blocks) : 3 + (3 * (head * DH + unit)) / Math.max(D - 1, 1);
    }
  }
  return { kind: 'values', values };
}

/** 5 - 12 (d / (DH-1))^(0.3 + 1.3 r) with r = block / (blocks-1): from +5 to -7, the first block forgets fastest. */
function powerLaw(unit: number, DH: number, block: number, blocks: number): number {
  const ratio = blocks === 1 ? 0 : block / (blocks - 1);
  const position = DH === 1 ? 0 : unit / (DH - 1);
  return 5 - 12 * position ** (0.3 + 1.3 * ratio);
}
