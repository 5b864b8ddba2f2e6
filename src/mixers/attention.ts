/**
 * @file Softmax attention as a mixer: that of Llama with rotary positions and shared key heads, and that of GPT, whose
 * learned positions are the model's, as are feed-forward layer, norms and initial values.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { countParameters, prefixed, type ParameterTable } from '../layers/parameter.js';
import { attention, attentionCache } from '../ops/attention.js';
import { dropout } from '../ops/dropout.js';
import { positions, rope } from '../ops/positions.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';

const count = () => z.number().int().min(1);

const attentionOptions = z.strictObject({
  heads: count().default(4).describe('Query heads; must divide dim.'),
  kvHeads: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('Heads of keys and values, which groups of query heads share; must divide heads; 0 for as many.'),
  positions: z
    .enum(['rotary', 'none'])
    .default('rotary')
    .describe('Whether queries and keys are turned by their positions; learned ones are those of the model.'),
  theta: z.number().positive().default(10_000).describe('Base of the rotary frequencies.'),
  window: count()
    .default(2048)
    .describe('Positions that a step sees, its own included, and the length of the cache that is its state.'),
});

export type AttentionMixerOptions = z.output<typeof attentionOptions>;

export const attentionMixer = defineMixer({
  name: 'attention',
  summary: 'softmax attention within a window: Llama (arXiv 2302.13971), GPT',
  options: attentionOptions,
  feedForward: 'layer',
  create: createAttention,
});

/** @throws RangeError when heads do not divide the width, key heads the heads, or rotary heads are of odd width. */
function createAttention(options: AttentionMixerOptions, place: MixerPlace): Mixer {
  const { heads: NH, window: W, theta } = options;
  const NKV = options.kvHeads === 0 ? NH : options.kvHeads;
  const D = place.dim;
  if (D % NH !== 0) throw new RangeError(`attention: heads must divide the width, got ${NH} heads of ${D}`);
  if (NH % NKV !== 0) throw new RangeError(`attention: kvHeads must divide heads, got ${NKV} for ${NH} heads`);
  const DH = D / NH;
  const isRotary = options.positions === 'rotary';
  if (isRotary && DH % 2 !== 0) {
    throw new RangeError(`attention: rotary positions need heads of even width, got ${D} / ${NH} = ${DH}`);
  }
  const parameters = attentionParameters(place, NKV * DH);

  const forward: SequenceForm = (p, x, { state, wantState, reset, key }, { inPlace = false } = {}) => {
    const [B, T] = x.shape as [number, number, number];
    const [at, position] = positions(x.device, B, T, { state: state?.['position'] ?? null, reset });
    const turn = (y: Tensor, heads: number): Tensor => (isRotary ? rope(y, at, heads, theta) : y);
    const q = turn(applyLinear(p, 'q', x), NH); // [B,T,D]
    const k = turn(applyLinear(p, 'k', x), NKV); // [B,T,NKV*DH]
    const v = applyLinear(p, 'v', x);
    const cache = state === null ? null : { k: state['k']!, v: state['v']! };
    const mixed = attention({ q, k, v }, at, { heads: NH, keyHeads: NKV, window: W, cache });
    const y = dropout(applyLinear(p, 'out', mixed), place.dropout, key);
    if (!wantState) return [y, {}];
    const carried = (rows: Tensor, before: Tensor | null): Tensor =>
      attentionCache(rows, at, { cache: before, window: W, inPlace });
    return [y, { k: carried(k, cache?.k ?? null), v: carried(v, cache?.v ?? null), position }];
  };

  return {
    kind: 'attention',
    causal: true,
    parameters,
    stateSpecs: (B) => ({
      k: { shape: [B, W, NKV * DH], batchAxis: 0, initial: 0 },
      v: { shape: [B, W, NKV * DH], batchAxis: 0, initial: 0 },
      position: { shape: [B], batchAxis: 0, initial: 0 },
    }),
    forward,
    step: stepBy(forward),
    // Logits and weighted values.
    flopsPerToken: (T) => 2 * countParameters(parameters) + 4 * D * meanKeys(T, W),
  };
}

/** Keys that a causal query sees on average over T steps, with a window of W. */
export function meanKeys(T: number, W: number): number {
  const growing = Math.min(T, W);
  return ((growing * (growing + 1)) / 2 + (T - growing) * W) / T;
}

/** Maps that read and write the residual stream, as the model's `init` has them. */
function attentionParameters(place: MixerPlace, keys: number): ParameterTable {
  const { dim: D, bias, inputInit, outputInit } = place;
  return {
    ...prefixed('q', linearParameters(D, D, inputInit, bias)),
    ...prefixed('k', linearParameters(D, keys, inputInit, bias)),
    ...prefixed('v', linearParameters(D, keys, inputInit, bias)),
    ...prefixed('out', linearParameters(D, D, outputInit, bias)),
  };
}
