/**
 * @file The mLSTM layer of the paper's pre-up-projection block (arXiv 2405.04517 fig. 11): up-projection, convolution,
 * head-wise q k v, matrix-memory cell, per-head norm, learnable skip, output gate, down-projection.
 */
import { z } from 'zod';
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
import { linearConcat } from '../ops/linear.js';
import { mlstm, mlstmStep, type MlstmInputs, type MlstmOptions as CellOptions, type MlstmState } from '../ops/mlstm.js';
import type { Reset } from '../ops/reset.js';
import type { RandomKey } from '../tensor/random.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import type { Mixer, MixerPlace, MixerState, StateSpec } from './mixer.js';

const count = () => z.number().int().min(1);

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
  inputGate: z.enum(['exponential', 'sigmoid']).default('exponential').describe('Input gate of the cell.'),
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
  const I = roundUp(config.projectionFactor * D);
  if (I % NH !== 0) throw new RangeError(`mlstm: heads must divide the inner width, got ${NH} heads of ${I}`);
  if (I % qkvBlockSize !== 0) {
    throw new RangeError(`mlstm: qkvBlockSize must divide the inner width, got ${qkvBlockSize} and ${I}`);
  }
  const DH = I / NH;
  const parameters = mlstmParameters(config, place, I);
  const cellOptions: CellOptions = {
    inputGate: config.inputGate,
    normalize: config.normalize,
    chunkSize: config.chunkSize,
    eps: MLSTM_CELL_EPS,
  };

  type Cell = (inputs: MlstmInputs) => [Tensor, MlstmState];

  /** x [B,T,D] -> y [B,T,D], last state of the convolution, last state of the cell. */
  const layer = (
    p: ParameterTensors,
    x: Tensor,
    conv: Tensor | null,
    reset: Reset,
    key: RandomKey | null,
    cell: Cell,
  ) => {
    const u = applyLinearHalf(p, 'up', x, 0); // [B,T,I]
    const z = applyLinearHalf(p, 'up', x, 1); // [B,T,I]
    const [c, convLast] = K === 0 ? [u, null] : applyConv(p, 'conv', u, conv, reset); // [B,T,I]
    const q = applyHeadwise(p, 'q', c);
    const k = applyHeadwise(p, 'k', c);
    const v = applyHeadwise(p, 'v', u);
    const i = linearConcat([q, k, v], p['igate.weight']!, p['igate.bias']); // [B,T,NH]
    const f = linearConcat([q, k, v], p['fgate.weight']!, p['fgate.bias']); // [B,T,NH]
    const [h, state] = cell({ q, k, v, i, f }); // [B,T,I]
    const normed = applyNorm(p, 'cellNorm', h, place.normEps, NORMS.layernorm, NH);
    const y = applyLinear(p, 'down', skipGate(normed, c, p['skip']!, z)); // [B,T,D]
    return [dropout(y, place.dropout, key), convLast, state] as const;
  };

  return {
    kind: 'mlstm',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      ...(K === 0 ? {} : { conv: { shape: [B, K - 1, I], batchAxis: 0, initial: 0 } }),
      ...mlstmStateSpecs(B, NH, DH, DH, config.inputGate),
    }),
    forward(p, x, { state, reset, key }) {
      const cell: Cell = (inputs) =>
        mlstm(inputs, { ...cellOptions, state: state === null ? null : mlstmCellState(state), reset });
      const [y, conv, next] = layer(p, x, state?.['conv'] ?? null, reset, key, cell);
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
      const [y, conv, next] = layer(p, x.reshape([B, 1, D]), state['conv'] ?? null, null, null, cell);
      return [y.reshape([B, D]), { ...(conv === null ? {} : { conv }), ...next }];
    },
    // Matrices once per token; the cell writes and reads C (4 DK DV per head) and works within its chunk.
    flopsPerToken: 2 * countParameters(parameters) + NH * (4 * DH * DH + 4 * config.chunkSize * DH),
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

/** From 3 to 6 in equal steps over the heads (NX-AI/xlstm blocks/mlstm/cell.py). */
export const forgetBias = (NH: number): Init => ({
  kind: 'values',
  values: Array.from({ length: NH }, (_, head) => (NH === 1 ? 3 : 3 + (3 * head) / (NH - 1))),
});

/** Initial values: specification of NX-AI/xlstm blocks/mlstm/{layer,cell}.py. */
function mlstmParameters(config: MlstmOptions, { dim: D, blocks, bias }: MixerPlace, I: number): ParameterTable {
  const { heads: NH, convKernel, qkvBlockSize: Q } = config;
  const qkv = headwiseParameters(I / Q, Q, Q, smallInit(D), bias);
  const gate = { shape: [NH, 3 * I], init: constant(0), decay: true };
  return {
    ...prefixed('up', linearParameters(D, 2 * I, smallInit(D), bias)),
    ...(convKernel === 0 ? {} : prefixed('conv', convParameters(I, convKernel))),
    ...prefixed('q', qkv),
    ...prefixed('k', qkv),
    ...prefixed('v', qkv),
    'igate.weight': gate,
    'igate.bias': { shape: [NH], init: { kind: 'normal', std: 0.1 }, decay: false },
    'fgate.weight': gate,
    'fgate.bias': { shape: [NH], init: forgetBias(NH), decay: false },
    ...prefixed('cellNorm', normParameters(I)),
    skip: { shape: [I], init: constant(1), decay: false },
    ...prefixed('down', linearParameters(I, D, wangInit(D, blocks), bias)),
  };
}
