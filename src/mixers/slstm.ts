/**
 * @file The sLSTM layer of the paper's post-up-projection block (arXiv 2405.04517 fig. 10), and the LSTM in its place:
 * convolution for the input and forget gates, head-wise gate maps, recurrent cell, per-head norm.
 */
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
import type { Mixer, MixerContext, MixerPlace, MixerState, StateSpec } from './mixer.js';

export interface SlstmConfig {
  readonly heads: number;
  /** Taps of the causal convolution; 0 for none. */
  readonly convKernel: number;
  readonly recurrentInit: 'zeros' | 'standard';
  readonly biasInit: 'powerlaw' | 'small' | 'standard' | 'zeros';
  readonly dropout: number;
  readonly normEps: number;
}

/** @throws RangeError when heads does not divide the width. */
export const createSlstm = (config: SlstmConfig, place: MixerPlace): Mixer => createRecurrent('slstm', config, place);

/** LSTM with the same frame, heads and gate maps (NX-AI/xlstm slstm_cell function "lstm"). */
export const createLstm = (config: SlstmConfig, place: MixerPlace): Mixer => createRecurrent('lstm', config, place);

/** Initial values of the states: c n m h of the sLSTM, c h of the LSTM. */
const CELLS = { slstm: { op: slstm, initial: [0, 0, -Infinity, 0] }, lstm: { op: lstm, initial: [0, 0] } } as const;

function createRecurrent(kind: 'slstm' | 'lstm', config: SlstmConfig, place: MixerPlace): Mixer {
  const { heads: NH, convKernel: K } = config;
  const D = place.dim;
  if (D % NH !== 0) throw new RangeError(`${kind}: heads must divide the width, got ${NH} heads of ${D}`);
  const parameters = recurrentParameters(config, place);
  const { op, initial } = CELLS[kind];

  const forward = (p: ParameterTensors, x: Tensor, { state, reset, key }: MixerContext): [Tensor, MixerState] => {
    const [c, conv] = K === 0 ? [x, null] : applyConv(p, 'conv', x, state?.['conv'] ?? null, reset); // [B,T,D]
    const gates = {
      i: applyHeadwise(p, 'igate', c),
      f: applyHeadwise(p, 'fgate', c),
      z: applyHeadwise(p, 'zgate', x),
      o: applyHeadwise(p, 'ogate', x),
    };
    const [h, last] = op(gates, p['recurrent']!, p['bias']!, { state: state?.['cell'] ?? null, reset });
    const y = applyNorm(p, 'cellNorm', dropout(h, config.dropout, key), config.normEps, NORMS.layernorm, NH);
    return [y, { cell: last, ...(conv === null ? {} : { conv }) }];
  };

  return {
    kind,
    causal: true,
    parameters,
    stateSpecs: (B): Record<string, StateSpec> => ({
      cell: { shape: [initial.length, B, D], batchAxis: 1, initial },
      ...(K === 0 ? {} : { conv: { shape: [B, K - 1, D], batchAxis: 0, initial: 0 } }),
    }),
    forward,
    step(p, x, state) {
      const [B] = x.shape as [number, number];
      const [y, next] = forward(p, x.reshape([B, 1, D]), { state, reset: null, key: null });
      return [y.reshape([B, D]), next];
    },
    flopsPerToken: 2 * countParameters(parameters),
  };
}

/** Initial values: specification of NX-AI/xlstm blocks/slstm/{layer,cell}.py. */
function recurrentParameters(config: SlstmConfig, place: MixerPlace): ParameterTable {
  const { heads: NH, convKernel } = config;
  const D = place.dim;
  const DH = D / NH;
  const gate = headwiseParameters(NH, DH, DH, smallInit(D), false);
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
    ...prefixed('cellNorm', normParameters(D)),
  };
}

/** Bias [4,NH,DH]: zero but for the forget gate, or uniform with 'standard'. */
function biasInit(
  kind: SlstmConfig['biasInit'],
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
