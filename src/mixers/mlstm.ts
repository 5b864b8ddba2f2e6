/**
 * @file The mLSTM layer of the paper's pre-up-projection block (arXiv 2405.04517 fig. 11): up-projection, convolution,
 * head-wise q k v, matrix-memory cell, per-head norm, learnable skip, output gate, down-projection.
 */
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
import { mlstm, mlstmStep, type MlstmInputs, type MlstmOptions, type MlstmState } from '../ops/mlstm.js';
import type { Reset } from '../ops/reset.js';
import type { RandomKey } from '../tensor/random.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Mixer, MixerPlace, MixerState, StateSpec } from './mixer.js';

export interface MlstmConfig {
  readonly heads: number;
  /** Taps of the causal convolution. */
  readonly convKernel: number;
  /** Width of the blocks of the q, k and v projections. */
  readonly qkvBlockSize: number;
  /** Inner width over D, before rounding up to a multiple of 64. */
  readonly projectionFactor: number;
  readonly inputGate: 'exponential' | 'sigmoid';
  readonly normalize: boolean;
  readonly chunkSize: number;
  readonly bias: boolean;
  readonly dropout: number;
  readonly normEps: number;
}

/** Added to the cell's denominator (NX-AI/xlstm blocks/mlstm/backends.py). */
export const MLSTM_CELL_EPS = 1e-6;

/** @throws RangeError when heads or qkvBlockSize does not divide the inner width. */
export function createMlstm(config: MlstmConfig, place: MixerPlace): Mixer {
  const { heads: NH, convKernel: K, qkvBlockSize } = config;
  const D = place.dim;
  const I = roundUp(config.projectionFactor * D);
  if (I % NH !== 0) throw new RangeError(`mlstm: heads must divide the inner width, got ${NH} heads of ${I}`);
  if (I % qkvBlockSize !== 0) {
    throw new RangeError(`mlstm: qkvBlockSize must divide the inner width, got ${qkvBlockSize} and ${I}`);
  }
  const DH = I / NH;
  const parameters = mlstmParameters(config, place, I);
  const cellOptions: MlstmOptions = {
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
    const [c, convLast] = applyConv(p, 'conv', u, conv, reset); // [B,T,I]
    const q = applyHeadwise(p, 'q', c);
    const k = applyHeadwise(p, 'k', c);
    const v = applyHeadwise(p, 'v', u);
    const i = linearConcat([q, k, v], p['igate.weight']!, p['igate.bias']); // [B,T,NH]
    const f = linearConcat([q, k, v], p['fgate.weight']!, p['fgate.bias']); // [B,T,NH]
    const [h, state] = cell({ q, k, v, i, f }); // [B,T,I]
    const normed = applyNorm(p, 'cellNorm', h, config.normEps, NORMS.layernorm, NH);
    const y = applyLinear(p, 'down', skipGate(normed, c, p['skip']!, z)); // [B,T,D]
    return [dropout(y, config.dropout, key), convLast, state] as const;
  };

  return {
    kind: 'mlstm',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      conv: { shape: [B, K - 1, I], batchAxis: 0, initial: 0 },
      ...mlstmStateSpecs(B, NH, DH, DH, config.inputGate),
    }),
    forward(p, x, { state, reset, key }) {
      const cell: Cell = (inputs) =>
        mlstm(inputs, { ...cellOptions, state: state === null ? null : mlstmCellState(state), reset });
      const [y, conv, next] = layer(p, x, state?.['conv'] ?? null, reset, key, cell);
      return [y, { conv, ...next }];
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
      const [y, conv, next] = layer(p, x.reshape([B, 1, D]), state['conv']!, null, null, cell);
      return [y.reshape([B, D]), { conv, ...next }];
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
  inputGate: MlstmConfig['inputGate'],
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
function mlstmParameters(config: MlstmConfig, { dim: D, blocks }: MixerPlace, I: number): ParameterTable {
  const { heads: NH, convKernel, qkvBlockSize: Q, bias } = config;
  const qkv = headwiseParameters(I / Q, Q, Q, smallInit(D), bias);
  const gate = { shape: [NH, 3 * I], init: constant(0), decay: true };
  return {
    ...prefixed('up', linearParameters(D, 2 * I, smallInit(D), bias)),
    ...prefixed('conv', convParameters(I, convKernel)),
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
