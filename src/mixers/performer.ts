/**
 * @file Performer (Choromanski et al. 2020, arXiv 2009.14794): linear attention over random features, either those whose
 * products approximate softmax attention (FAVOR+), or plain relu. The features are fixed: drawn from a seed, not learned.
 */
import * as z from 'zod';
import { orthogonal } from '../layers/orthogonal.js';
import { activate, mul, scaled } from '../ops/elementwise.js';
import { linearConcat } from '../ops/linear.js';
import { fold, normal, randomKey, type RandomKey } from '../tensor/random.js';
import { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { createFeatureAttention } from './linear-attention.js';
import type { Mixer, MixerPlace } from './mixer.js';

const performerOptions = z.strictObject({
  heads: z.number().int().min(1).default(4).describe('Heads; must divide dim.'),
  kind: z
    .enum(['softmax', 'relu'])
    .default('softmax')
    .describe('Features: positive random ones that approximate softmax attention, or relu of queries and keys.'),
  features: z.number().int().min(1).default(256).describe('Number of random features of a head; not for relu.'),
  seed: z.number().int().min(0).default(0).describe('Seed of the random features; each block draws its own.'),
  causal: z
    .boolean()
    .default(true)
    .describe('Whether a step sees its past alone; if not it sees its whole document, and nothing can be generated.'),
});

export type PerformerOptions = z.output<typeof performerOptions>;

export const performerMixer = defineMixer({
  name: 'performer',
  summary: 'attention by fixed random features that approximate softmax (Performer, FAVOR+, arXiv 2009.14794)',
  options: performerOptions,
  feedForward: 'layer',
  create: createPerformer,
});

/** Added to features, so that no weight is zero: 1e-6 of exponentials, 1e-3 of relu, as in the published code. */
const FLOOR = { softmax: 1e-6, relu: 1e-3 } as const;

/** @throws RangeError when heads does not divide the width. */
function createPerformer({ heads, kind, features: M, seed, causal }: PerformerOptions, place: MixerPlace): Mixer {
  const DH = place.dim / heads;
  if (kind === 'relu') {
    const features = (x: Tensor): Tensor => scaled(activate(x, 'relu'), 1, FLOOR.relu);
    return createFeatureAttention('performer', { heads, causal }, place, features);
  }
  if (!Number.isInteger(DH)) {
    throw new RangeError(`performer: heads must divide the width, got ${heads} heads of ${place.dim}`);
  }
  const directions = orthogonalFeatures(fold(fold(randomKey(seed), 'performer'), place.block), M, DH);
  const map = featureMap(directions, M, DH);
  const features = (x: Tensor): Tensor => {
    const { device } = x;
    const rows = x.reshape([...x.shape.slice(0, -1), heads, DH]);
    const offset = Tensor.full(device, [M], -Math.log(M) / 2);
    const exponents = linearConcat([rows, mul(rows, rows)], Tensor.from(device, map, [M, 2 * DH]), offset);
    const phi = scaled(activate(exponents, 'exp'), 1, FLOOR.softmax / Math.sqrt(M)); // [...,heads,M]
    return phi.reshape([...x.shape.slice(0, -1), heads * M]);
  };
  return createFeatureAttention('performer', { heads, causal }, place, features, M);
}

/**
 * Rows w [M,DH] as normal variates, but orthogonal within each DH of them: orthonormal rows times the lengths of
 * independent normal ones (section 2.4 of the paper).
 */
function orthogonalFeatures(key: RandomKey, M: number, DH: number): Float64Array {
  const w = new Float64Array(M * DH);
  for (let first = 0; first < M; first += DH) {
    const rows = Math.min(DH, M - first);
    const block = fold(key, first);
    const [directions, lengths] = [orthogonal(fold(block, 0), [DH, DH], 1), normal(fold(block, 1), rows * DH)];
    for (let r = 0; r < rows; r++) {
      const length = Math.hypot(...lengths.subarray(r * DH, (r + 1) * DH));
      for (let d = 0; d < DH; d++) w[(first + r) * DH + d] = length * directions[r * DH + d]!;
    }
  }
  return w;
}

/**
 * The matrix [M,2 DH] that turns x and its squares into w . x' - |x'|^2 / 2 with x' = x / DH^(1/4), whose exponential,
 * over sqrt(M), is a positive feature (lemma 1). It never exceeds |w|^2 / 2, so that nothing need be taken off it: the
 * maxima that published code subtracts cancel in the quotient.
 */
function featureMap(w: Float64Array, M: number, DH: number): Float64Array {
  const map = new Float64Array(M * 2 * DH);
  for (let m = 0; m < M; m++) {
    for (let d = 0; d < DH; d++) {
      map[m * 2 * DH + d] = w[m * DH + d]! / DH ** 0.25;
      map[m * 2 * DH + DH + d] = -0.5 / Math.sqrt(DH);
    }
  }
  return map;
}
