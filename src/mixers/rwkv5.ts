/**
 * @file The time mix of RWKV-5 (Eagle, Peng et al. 2024, arXiv 2404.05892): a matrix state per head with a decay of each key
 * channel that is learned but fixed, a bonus for the present token, a norm per head, a SiLU gate. The channel mix behind it
 * belongs to the block.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { applyNorm, NORMS } from '../layers/norm.js';
import { constant, prefixed, type Init, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { activate, gatedActivation, scaled } from '../ops/elementwise.js';
import { linearAttention } from '../ops/linear-attention.js';
import { tokenShift } from '../ops/token-shift.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { memoryMixer, memoryState, type MemorySizes } from './linear-memory.js';
import { type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';

const rwkv5Options = z.strictObject({
  headDim: z.number().int().min(1).default(64).describe('Width of a head, at most dim; must divide dim.'),
});

export type Rwkv5Options = z.output<typeof rwkv5Options>;

export const rwkv5Mixer = defineMixer({
  name: 'rwkv5',
  summary: 'time mix of RWKV-5 (Eagle): linear attention with a learned, fixed decay per channel (arXiv 2404.05892)',
  options: rwkv5Options,
  feedForward: 'channelMix',
  create: createRwkv5,
});

/** Outputs are divided by 8 before a norm with eps 1e-5, which is this eps without dividing. */
const NORM_EPS = 64e-5;

/** Heads of width `headDim`, or of the whole width where that is smaller. @throws RangeError when they do not fit. */
export function rwkvSizes(mixer: string, headDim: number, D: number): MemorySizes {
  const DH = Math.min(headDim, D);
  if (D % DH !== 0) {
    throw new RangeError(`${mixer}: headDim must divide the width, got ${DH} of ${D}; set ${mixer}.headDim`);
  }
  return { NH: D / DH, DK: DH, DV: DH };
}

/** @throws RangeError when the head width does not divide dim. */
function createRwkv5({ headDim }: Rwkv5Options, place: MixerPlace): Mixer {
  const D = place.dim;
  const sizes = rwkvSizes('rwkv5', headDim, D);
  const { NH, DK } = sizes;
  const parameters = rwkv5Parameters(place);

  const forward: SequenceForm = (p, x, { state, wantState, reset, key }, options = {}) => {
    const shift = (name: string) => tokenShift(x, p[`${name}Shift`]!, { state: state?.['shift'] ?? null, reset });
    const [forReceptance, last] = shift('receptance');
    const inputs = {
      q: applyLinear(p, 'receptance', forReceptance), // [B,T,D]
      k: applyLinear(p, 'key', shift('key')[0]),
      v: applyLinear(p, 'value', shift('value')[0]),
      logDecay: scaled(activate(p['decay']!, 'exp'), -1).reshape([NH, DK]),
      bonus: p['bonus']!.reshape([NH, DK]),
    };
    const form = { heads: NH, state: memoryState(state), reset, wantState, ...options };
    const [o, next] = linearAttention(inputs, form);
    const y = rwkvOutput(p, o, shift('gate')[0], NH);
    return [dropout(y, place.dropout, key), next === null ? {} : { ...next, shift: last }];
  };

  return memoryMixer('rwkv5', sizes, parameters, forward, (B) => ({
    shift: { shape: [B, 1, D], batchAxis: 0, initial: 0 },
  }));
}

/** What stands behind the memory of RWKV-5 and 6: a norm per head of o [B,T,D], under a gate made of its own mixture. */
export function rwkvOutput(p: ParameterTensors, o: Tensor, forGate: Tensor, heads: number): Tensor {
  const normed = applyNorm(p, 'headNorm', o, NORM_EPS, NORMS.layernormBias, heads);
  return applyLinear(p, 'out', gatedActivation(applyLinear(p, 'gate', forGate), normed, 'silu'));
}

const channels = (D: number, f: (channel: number) => number): Init => ({
  kind: 'values',
  values: Array.from({ length: D }, (_, channel) => f(channel)),
});

/**
 * What RWKV-5 and RWKV-6 start from (RWKV-LM v5/src/model.py): how much of each channel comes from the present step, decays
 * that are slower in later blocks, a bonus that grows with depth. Matrices are orthogonal, those of keys and gates a tenth of
 * it, but the last one is zero; the norm behind the memory grows with depth.
 */
export function rwkvTimeMix({ dim: D, block, blocks }: MixerPlace) {
  const depth = blocks === 1 ? 0 : block / (blocks - 1); // 0 to 1
  const rest = 1 - block / blocks; // 1 to nearly 0
  const vector = (f: (channel: number) => number) => ({ shape: [D], init: channels(D, f), decay: false });
  const share = (d: number): number => d / Math.max(D - 1, 1);
  const matrix = (gain: number) => linearParameters(D, D, { kind: 'orthogonal', gain }, false);
  const shifts = {
    key: vector((d) => (d / D) ** rest),
    value: vector((d) => (d / D) ** rest + 0.3 * depth),
    receptance: vector((d) => (d / D) ** (rest / 2)),
    gate: vector((d) => (d / D) ** (rest / 2)),
  };
  const parameters: ParameterTable = {
    decay: vector((d) => -6 + 5 * share(d) ** (0.7 + 1.3 * depth)),
    bonus: vector((d) => depth * (1 - share(d)) + 0.1 * (((d + 1) % 3) - 1)),
    ...prefixed('receptance', matrix(1)),
    ...prefixed('key', matrix(0.1)),
    ...prefixed('value', matrix(1)),
    ...prefixed('gate', matrix(0.1)),
    'headNorm.weight': vector(() => ((1 + block) / blocks) ** 0.7),
    'headNorm.bias': vector(() => 0),
    ...prefixed('out', linearParameters(D, D, constant(0), false)),
  };
  return { shifts, parameters };
}

function rwkv5Parameters(place: MixerPlace): ParameterTable {
  const { shifts, parameters } = rwkvTimeMix(place);
  return {
    ...Object.fromEntries(Object.entries(shifts).map(([name, spec]) => [`${name}Shift`, spec])),
    ...parameters,
  };
}
