/**
 * @file Synthesizer (Tay et al. 2020, arXiv 2005.00743): attention whose logits do not come from queries that meet keys. They
 * are parameters by position (random), a product of two such (factorised), or a small network of each step (dense).
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { constant, countParameters, prefixed, type Init, type ParameterTable } from '../layers/parameter.js';
import type { ParameterTensors } from '../layers/parameter.js';
import { attention, attentionCache } from '../ops/attention.js';
import { dropout } from '../ops/dropout.js';
import { activate } from '../ops/elementwise.js';
import { embedding } from '../ops/embedding.js';
import { positions } from '../ops/positions.js';
import type { Tensor } from '../tensor/tensor.js';
import { meanKeys } from './attention.js';
import { defineMixer } from './definition.js';
import { stepBy, type Mixer, type MixerPlace, type SequenceForm, type StateSpec } from './mixer.js';

const count = () => z.number().int().min(1);

const synthesizerOptions = z.strictObject({
  kind: z
    .enum(['dense', 'random', 'factorised'])
    .default('factorised')
    .describe(
      'Logits from a network of each step, from a matrix per head by positions, or from that matrix as a product of two.',
    ),
  heads: count().default(4).describe('Heads; must divide dim.'),
  maxLength: count().default(1024).describe('Steps of a document at the most: what has a parameter by position.'),
  rank: count().default(32).describe('Inner width of the factorised matrices.'),
  causal: z.boolean().default(true).describe('Whether a step sees only those before it; false for classification.'),
});

export type SynthesizerOptions = z.output<typeof synthesizerOptions>;

export const synthesizerMixer = defineMixer({
  name: 'synthesizer',
  summary: 'attention with logits that are learned by position or made of one step alone (arXiv 2005.00743)',
  options: synthesizerOptions,
  feedForward: 'layer',
  create: createSynthesizer,
});

/** What the logits are made of. */
interface Logits {
  readonly q: Tensor | null;
  readonly k: Tensor | null;
  readonly bias: Tensor | null;
}

/** @throws RangeError when heads do not divide the width. */
function createSynthesizer(options: SynthesizerOptions, place: MixerPlace): Mixer {
  const { kind, heads: NH, maxLength: P, rank, causal } = options;
  const D = place.dim;
  if (D % NH !== 0) throw new RangeError(`synthesizer: heads must divide the width, got ${NH} heads of ${D}`);
  /** Width of all keys; none where the logits are parameters. */
  const keys = kind === 'random' ? 0 : kind === 'dense' ? D : NH * rank;
  const maps = {
    ...prefixed('v', linearParameters(D, D, place.inputInit, place.bias)),
    ...prefixed('out', linearParameters(D, D, place.outputInit, place.bias)),
    ...(kind === 'dense' ? prefixed('first', linearParameters(D, D, place.inputInit, true)) : {}),
  };

  const logitsOf = (p: ParameterTensors, x: Tensor, at: Tensor): Logits => {
    if (kind === 'random') return { q: null, k: null, bias: p['logits']! };
    if (kind === 'factorised') {
      return { q: embedding(at, p['queries.weight']!), k: embedding(at, p['keys.weight']!), bias: null };
    }
    const q = activate(applyLinear(p, 'first', x), 'relu');
    return { q, k: embedding(at, p['second.weight']!), bias: p['second.bias']! };
  };

  const forward: SequenceForm = (p, x, { state, wantState, reset, key }, { inPlace = false } = {}) => {
    const [B, T] = x.shape as [number, number, number];
    if (reset === null && T > P) {
      throw new RangeError(`synthesizer: a document of ${T} steps is longer than maxLength ${P}; set it higher`);
    }
    const [at, position] = positions(x.device, B, T, { state: state?.['position'] ?? null, reset });
    const logits = logitsOf(p, x, at);
    const v = applyLinear(p, 'v', x);
    const cache = state === null ? null : { k: state['k'] ?? null, v: state['v']! };
    const mixed = attention({ ...logits, v }, at, { heads: NH, window: P, causal, scale: 1, cache });
    const y = dropout(applyLinear(p, 'out', mixed), place.dropout, key);
    if (!causal || !wantState) return [y, {}];
    const carried = (rows: Tensor, before: Tensor | null): Tensor =>
      attentionCache(rows, at, { cache: before, window: P, inPlace });
    const k = logits.k === null ? {} : { k: carried(logits.k, cache?.k ?? null) };
    return [y, { ...k, v: carried(v, cache?.v ?? null), position }];
  };

  return {
    kind: 'synthesizer',
    causal,
    ...(causal ? {} : { causalVariant: 'set synthesizer.causal to true' }),
    parameters: { ...maps, ...logitParameters(options, D) },
    stateSpecs: (B): Record<string, StateSpec> => {
      if (!causal) return {};
      const ring = (width: number): StateSpec => ({ shape: [B, P, width], batchAxis: 0, initial: 0 });
      const position: StateSpec = { shape: [B], batchAxis: 0, initial: 0 };
      return { ...(keys > 0 ? { k: ring(keys) } : {}), v: ring(D), position };
    },
    forward,
    step(p, x, state, stepOptions) {
      if (!causal)
        throw new RangeError('synthesizer: causal is false, so it has no step; use forward on the whole document');
      return stepBy(forward)(p, x, state, stepOptions);
    },
    // Logits and weighted values.
    flopsPerToken: (T) => 2 * countParameters(maps) + 2 * (causal ? meanKeys(T, P) : T) * (keys + D),
  };
}

/** Tables by position, with the initial values of flax's dense layers (LeCun normal, biases zero), as in LRA. */
function logitParameters({ kind, heads: NH, maxLength: P, rank }: SynthesizerOptions, D: number): ParameterTable {
  const lecun = (fanIn: number): Init => ({ kind: 'normal', std: 1 / Math.sqrt(fanIn) });
  if (kind === 'random') return { logits: { shape: [NH, P, P], init: lecun(P), decay: true } };
  if (kind === 'factorised') {
    const table = { shape: [P, NH * rank], init: lecun(rank), decay: true };
    return { 'queries.weight': table, 'keys.weight': table };
  }
  return {
    'second.weight': { shape: [P, D], init: lecun(D / NH), decay: true },
    'second.bias': { shape: [NH, 1, P], init: constant(0), decay: false },
  };
}
