/**
 * @file The mLSTM layer of xLSTM Large, the architecture of xLSTM-7B (arXiv 2503.13427; NX-AI/xlstm xlstm_large): dense
 * q k v from the block's input, capped gates, matrix-memory cell, per-head norm, sigmoid output gate. No convolution.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, normParameters, type NormForm } from '../layers/norm.js';
import {
  constant,
  countParameters,
  prefixed,
  smallInit,
  wangInit,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { gatedActivation } from '../ops/elementwise.js';
import { mlstm, mlstmStep, type MlstmInputs, type MlstmState } from '../ops/mlstm.js';
import { softCap } from '../ops/soft-cap.js';
import type { RandomKey } from '../tensor/random.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { forgetBias, MLSTM_CELL_EPS, mlstmCellState, mlstmStateSpecs } from './mlstm.js';
import { wanted, type Mixer, type MixerPlace } from './mixer.js';

const count = () => z.number().int().min(1);

const largeOptions = z.strictObject({
  heads: count().default(4).describe('Heads of the matrix memory; must divide the widths of keys and values.'),
  qkFactor: z.number().positive().default(0.5).describe('Width of all queries, and of all keys, over dim.'),
  vFactor: z.number().positive().default(1).describe('Width of all values over dim.'),
  gateSoftCap: z
    .number()
    .min(0)
    .default(15)
    .describe('Gate pre-activations are kept within it by cap * tanh(x / cap); 0 for no cap.'),
  chunkSize: count().default(64).describe('Steps per chunk of the chunkwise form; a matter of speed, not of results.'),
});

export type MlstmLargeOptions = z.output<typeof largeOptions>;

/** The per-head norm stores its weight as it is. */
const HEAD_NORM: NormForm = { kind: 'layernorm', weightOffset: 0 };

export const mlstmLargeMixer = defineMixer({
  name: 'mlstmLarge',
  summary: 'the mLSTM of xLSTM Large, the architecture of xLSTM-7B (arXiv 2503.13427)',
  options: largeOptions,
  feedForward: 'layer',
  create: createMlstmLarge,
});

/** @throws RangeError when heads does not divide the widths of keys and values. */
function createMlstmLarge(config: MlstmLargeOptions, place: MixerPlace): Mixer {
  const { heads: NH, chunkSize, gateSoftCap: cap } = config;
  const D = place.dim;
  const keys = Math.floor(config.qkFactor * D);
  const values = Math.floor(config.vFactor * D);
  if (keys < NH || keys % NH !== 0 || values < NH || values % NH !== 0) {
    throw new RangeError(
      `mlstmLarge: heads must divide the widths of keys and values, got ${NH} heads of ${keys} and ${values} (dim ${D})`,
    );
  }
  const [DK, DV] = [keys / NH, values / NH];
  const parameters = largeParameters(config, place, keys, values);
  const cellOptions = { inputGate: 'exponential', normalize: true, chunkSize, eps: MLSTM_CELL_EPS } as const;

  type Cell = (inputs: MlstmInputs) => [Tensor, MlstmState];

  /** x [...,D] -> y [...,D] of the steps that `pick` takes, and the state of the cell. */
  const layer = (
    p: ParameterTensors,
    x: Tensor,
    key: RandomKey | null,
    cell: Cell,
    pick: (all: Tensor) => Tensor,
  ): [Tensor, MlstmState] => {
    const gate = (name: string): Tensor => {
      const preActivation = applyLinear(p, name, x, { output: 'float' }); // [...,NH]
      return cap === 0 ? preActivation : softCap(preActivation, cap);
    };
    // All maps of x side by side: a device can read x once for all of them.
    const [q, k, v] = ['q', 'k', 'v'].map((name) => applyLinear(p, name, x)) as [Tensor, Tensor, Tensor];
    const o = applyLinear(p, 'ogate', pick(x));
    const [h, state] = cell({ q, k, v, i: gate('igate'), f: gate('fgate') }); // [...,NH*DV]
    const normed = applyNorm(p, 'cellNorm', pick(h), place.normEps, HEAD_NORM, NH);
    const y = applyLinear(p, 'out', gatedActivation(o, normed, 'sigmoid'));
    return [dropout(y, place.dropout, key), state];
  };

  return {
    kind: 'mlstmLarge',
    causal: true,
    hasBf16: true,
    parameters,
    stateSpecs: (B) => mlstmStateSpecs(B, NH, DK, DV, 'exponential'),
    forward(p, x, { state, outputs, reset, key, observe }) {
      const before = state === null ? null : mlstmCellState(state);
      const cell: Cell = (inputs) => {
        const [h, after] = mlstm(inputs, { ...cellOptions, state: before, reset });
        observe?.({ kind: 'mlstm', inputs, options: cellOptions, state: before, h });
        return [h, after];
      };
      const [y, next] = layer(p, x, key, cell, wanted(outputs));
      return [y, { ...next }];
    },
    step(p, x, state, { inPlace = false } = {}) {
      const options = { ...cellOptions, inPlace };
      const cell: Cell = (inputs) => mlstmStep(inputs, mlstmCellState(state), options);
      const [y, next] = layer(p, x, null, cell, wanted('all'));
      return [y, { ...next }];
    },
    flopsPerToken: () => 2 * countParameters(parameters) + NH * (4 * DK * DV + 2 * chunkSize * (DK + DV)),
  };
}

/** Initial values of the architecture's published training configuration (mLSTM "v1"): closed input gates, no output gate. */
function largeParameters(config: MlstmLargeOptions, place: MixerPlace, keys: number, values: number): ParameterTable {
  const { dim: D, blocks } = place;
  const { heads: NH } = config;
  const dense = (width: number) => linearParameters(D, width, smallInit(D), false);
  const gate = { shape: [NH, D], init: constant(0), decay: true };
  return {
    ...prefixed('q', dense(keys)),
    ...prefixed('k', dense(keys)),
    ...prefixed('v', dense(values)),
    ...prefixed('ogate', linearParameters(D, values, constant(0), false)),
    'igate.weight': gate,
    'igate.bias': { shape: [NH], init: constant(-10), decay: false },
    'fgate.weight': gate,
    'fgate.bias': { shape: [NH], init: forgetBias(NH), decay: false },
    ...prefixed('cellNorm', normParameters(values, HEAD_NORM)),
    ...prefixed('out', linearParameters(values, D, wangInit(D, blocks), false)),
  };
}
