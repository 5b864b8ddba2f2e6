/**
 * @file The mLSTM layer of the paper's pre-up-projection block (arXiv 2405.04517 fig. 11): up-projection, convolution,
 * head-wise q k v, matrix-memory cell, per-head norm, learnable skip, output gate, down-projection.
 */
import * as z from 'zod';
import { applyConv, convParameters } from '../layers/conv1d.js';
import { roundUp } from '../layers/feed-forward.js';
import { applyHeadwise, applyLinear, applyLinearHalf, headwiseParameters, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import {
  constant,
  countParameters,
  prefixed,
  smallInit,
  wangInit,
  type Init,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { skipGate } from '../ops/elementwise.js';
import { linear, linearConcat } from '../ops/linear.js';
import { mlstm, mlstmStep, type MlstmInputs, type MlstmState } from '../ops/mlstm.js';
import type { Reset } from '../ops/reset.js';
import type { RandomKey } from '../tensor/random.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { wanted, type Mixer, type MixerPlace, type MixerState, type StateSpec } from './mixer.js';

const count = () => z.number().int().min(1);

/** Where a gate gets its pre-activation from: the ablation of arXiv 2405.04517 table 2. */
const gateSource = (source: 'input' | 'bias' | 'none') => z.enum(['input', 'bias', 'none']).default(source);

const mlstmOptions = z.strictObject({
  heads: count().default(4).describe('Heads of the matrix memory; must divide the inner width.'),
  convKernel: z
    .number()
    .int()
    .min(0)
    .max(64)
    .default(4)
    .describe('Taps of the causal convolution before q and k; 0 for none.'),
  qkvBlockSize: count().default(4).describe('Width of the blocks of the block-diagonal q, k and v projections.'),
  projectionFactor: z.number().positive().default(2).describe('Inner width over dim, rounded up to a multiple of 64.'),
  upProjection: z
    .boolean()
    .default(true)
    .describe('Inner width of projectionFactor times dim; false: dim itself, for a post-up-projection block.'),
  inputGate: z.enum(['exponential', 'sigmoid']).default('exponential').describe('Input gate of the cell.'),
  inputGateFrom: gateSource('input').describe('What the input gate depends on: the input, its bias alone, or nothing.'),
  forgetGateFrom: gateSource('input').describe(
    'What the forget gate depends on: the input, its bias alone, or nothing.',
  ),
  inputGateStd: z
    .number()
    .min(0)
    .default(0.1)
    .describe('Standard deviation of the initial biases of the input gates; one that is not learned is 0.'),
  forgetGateInit: z
    .tuple([z.number(), z.number()])
    .default([3, 6])
    .describe('Initial biases of the forget gates, from the first head to the last in equal steps; 1e4 is f = 1.'),
  normalize: z.boolean().default(true).describe('Divide by the normaliser max(|q.n|, 1).'),
  chunkSize: count().default(64).describe('Steps per chunk of the chunkwise form; a matter of speed, not of results.'),
});

export type MlstmOptions = z.output<typeof mlstmOptions>;

/** Added to the cell's denominator (NX-AI/xlstm blocks/mlstm/backends.py). */
export const MLSTM_CELL_EPS = 1e-6;

export const mlstmMixer = defineMixer({
  name: 'mlstm',
  summary: 'the mLSTM of the paper with its up-projection (arXiv 2405.04517 fig. 11)',
  options: mlstmOptions,
  feedForward: 'none',
  create: createMlstm,
});

/** @throws RangeError when heads or qkvBlockSize does not divide the inner width. */
function createMlstm(config: MlstmOptions, place: MixerPlace): Mixer {
  const { heads: NH, convKernel: K, qkvBlockSize } = config;
  const D = place.dim;
  const I = config.upProjection ? roundUp(config.projectionFactor * D) : D;
  if (I % NH !== 0) throw new RangeError(`mlstm: heads must divide the inner width, got ${NH} heads of ${I}`);
  if (I % qkvBlockSize !== 0) {
    throw new RangeError(`mlstm: qkvBlockSize must divide the inner width, got ${qkvBlockSize} and ${I}`);
  }
  const DH = I / NH;
  const parameters = mlstmParameters(config, place, I);
  const cellOptions = {
    inputGate: config.inputGate,
    normalize: config.normalize,
    chunkSize: config.chunkSize,
    eps: MLSTM_CELL_EPS,
  };

  const [fixedInput, fixedForget] = [new Array<number>(NH).fill(0), spread(config.forgetGateInit, NH)];

  type Cell = (inputs: MlstmInputs) => [Tensor, MlstmState];

  /** x [B,T,D] -> y [B,T,D] of the steps that `pick` takes, last state of the convolution, last state of the cell. */
  const layer = (
    p: ParameterTensors,
    x: Tensor,
    conv: Tensor | null,
    reset: Reset,
    key: RandomKey | null,
    cell: Cell,
    pick: (all: Tensor) => Tensor,
  ) => {
    const u = config.upProjection ? applyLinearHalf(p, 'up', x, 0) : x; // [B,T,I]
    const z = config.upProjection ? applyLinearHalf(p, 'up', pick(x), 1) : applyLinear(p, 'gate', pick(x)); // [B,T,I]
    const [c, convLast] = K === 0 ? [u, null] : applyConv(p, 'conv', u, conv, reset); // [B,T,I]
    const q = applyHeadwise(p, 'q', c);
    const k = applyHeadwise(p, 'k', c);
    const v = applyHeadwise(p, 'v', u);
    const gate = (name: string, fixed: readonly number[]): Tensor =>
      `${name}.weight` in p
        ? linearConcat([q, k, v], p[`${name}.weight`]!, p[`${name}.bias`], { output: 'float' })
        : constantGate(x, p[`${name}.bias`] ?? Tensor.from(x.device, fixed, [NH]));
    const i = gate('igate', fixedInput); // [B,T,NH]
    const f = gate('fgate', fixedForget); // [B,T,NH]
    const [h, state] = cell({ q, k, v, i, f }); // [B,T,I]
    const normed = applyNorm(p, 'cellNorm', pick(h), place.normEps, NORMS.layernorm, NH);
    const y = applyLinear(p, 'down', skipGate(normed, pick(c), p['skip']!, z)); // [B,T,D]
    return [dropout(y, place.dropout, key), convLast, state] as const;
  };

  return {
    kind: 'mlstm',
    causal: true,
    hasBf16: true,
    parameters,
    stateSpecs: (B) => ({
      ...(K === 0 ? {} : { conv: { shape: [B, K - 1, I], batchAxis: 0, initial: 0 } }),
      ...mlstmStateSpecs(B, NH, DH, DH, config.inputGate),
    }),
    forward(p, x, { state, outputs, reset, key, observe }) {
      const before = state === null ? null : mlstmCellState(state);
      const cell: Cell = (inputs) => {
        const [h, next] = mlstm(inputs, { ...cellOptions, state: before, reset });
        observe?.({ kind: 'mlstm', inputs, options: cellOptions, state: before, h });
        return [h, next];
      };
      const [y, conv, next] = layer(p, x, state?.['conv'] ?? null, reset, key, cell, wanted(outputs));
      return [y, { ...(conv === null ? {} : { conv }), ...next }];
    },
    step(p, x, state, { inPlace = false } = {}) {
      const [B] = x.shape as [number, number];
      const cell: Cell = ({ q, k, v, i, f }) => {
        const flat = {
          q: q.reshape([B, I]),
          k: k.reshape([B, I]),
          v: v.reshape([B, I]),
          i: i.reshape([B, NH]),
          f: f.reshape([B, NH]),
        };
        const [h, next] = mlstmStep(flat, mlstmCellState(state), { ...cellOptions, inPlace });
        return [h.reshape([B, 1, I]), next];
      };
      const [y, conv, next] = layer(p, x.reshape([B, 1, D]), state['conv'] ?? null, null, null, cell, wanted('all'));
      return [y.reshape([B, D]), { ...(conv === null ? {} : { conv }), ...next }];
    },
    // Matrices once per token; the cell writes and reads C (4 DK DV per head) and works within its chunk.
    flopsPerToken: () => 2 * countParameters(parameters) + NH * (4 * DH * DH + 4 * config.chunkSize * DH),
  };
}

/** The cell's part of a mixer's state. */
export const mlstmCellState = (state: MixerState): MlstmState => ({ C: state['C']!, n: state['n']!, m: state['m']! });

/** Shapes and initial values of the cell's state. */
export const mlstmStateSpecs = (
  B: number,
  NH: number,
  DK: number,
  DV: number,
  inputGate: MlstmOptions['inputGate'],
): Record<string, StateSpec> => ({
  C: { shape: [B, NH, DK, DV], batchAxis: 0, initial: 0 },
  n: { shape: [B, NH, DK], batchAxis: 0, initial: 0 },
  m: { shape: [B, NH], batchAxis: 0, initial: inputGate === 'exponential' ? -Infinity : 0 },
});

/** `count` numbers in equal steps. */
const spread = ([from, to]: readonly [number, number], count: number): number[] =>
  Array.from({ length: count }, (_, k) => (count === 1 ? from : from + ((to - from) * k) / (count - 1)));

/** From 3 to 6 in equal steps over the heads (NX-AI/xlstm blocks/mlstm/cell.py). */
export const forgetBias = (NH: number): Init => ({ kind: 'values', values: spread([3, 6], NH) });

/** The same pre-activations [NH] at each step: [B,T,NH]. */
function constantGate(x: Tensor, bias: Tensor): Tensor {
  const ones = Tensor.full(x.device, [...x.shape.slice(0, -1), 1], 1);
  return linear(ones, bias.reshape([bias.size, 1]));
}

/** Weight and bias of a gate, or what the source of its pre-activation needs of them. */
function gateParameters(
  name: string,
  source: 'input' | 'bias' | 'none',
  NH: number,
  width: number,
  bias: Init,
): ParameterTable {
  return {
    ...(source === 'input' ? { [`${name}.weight`]: { shape: [NH, width], init: constant(0), decay: true } } : {}),
    ...(source === 'none' ? {} : { [`${name}.bias`]: { shape: [NH], init: bias, decay: false } }),
  };
}

/** Initial values: specification of NX-AI/xlstm blocks/mlstm/{layer,cell}.py. */
function mlstmParameters(config: MlstmOptions, { dim: D, blocks, bias }: MixerPlace, I: number): ParameterTable {
  const { heads: NH, convKernel, qkvBlockSize: Q } = config;
  const qkv = headwiseParameters(I / Q, Q, Q, smallInit(D), bias);
  const inputBias: Init = { kind: 'normal', std: config.inputGateStd };
  const forgetInit: Init = { kind: 'values', values: spread(config.forgetGateInit, NH) };
  const { upProjection } = config;
  return {
    ...prefixed(upProjection ? 'up' : 'gate', linearParameters(D, upProjection ? 2 * I : I, smallInit(D), bias)),
    ...(convKernel === 0 ? {} : prefixed('conv', convParameters(I, convKernel))),
    ...prefixed('q', qkv),
    ...prefixed('k', qkv),
    ...prefixed('v', qkv),
    ...gateParameters('igate', config.inputGateFrom, NH, 3 * I, inputBias),
    ...gateParameters('fgate', config.forgetGateFrom, NH, 3 * I, forgetInit),
    ...prefixed('cellNorm', normParameters(I)),
    skip: { shape: [I], init: constant(1), decay: false },
    ...prefixed('down', linearParameters(I, D, wangInit(D, blocks), bias)),
  };
}
