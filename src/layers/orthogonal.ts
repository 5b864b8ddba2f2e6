/** @file Random matrices with orthonormal rows or columns, for initial values. */
import { normal, type RandomKey } from '../tensor/random.js';
import type { Shape } from '../tensor/shape.js';

/**
 * A matrix [O,I] whose rows, or columns where these are fewer, are orthonormal, times `gain` (Saxe et al. 2014, arXiv
 * 1312.6120). Gram-Schmidt on normal vectors, so that every direction is as likely.
 * @throws RangeError when the shape is not that of a matrix.
 */
export function orthogonal(key: RandomKey, shape: Shape, gain: number): Float64Array {
  if (shape.length !== 2) throw new RangeError(`orthogonal: needs a matrix, got ${shape.length} axes`);
  const [O, I] = shape as [number, number];
  const [count, length] = [Math.min(O, I), Math.max(O, I)];
  const data = normal(key, count * length);
  const vectors = Array.from({ length: count }, (_, k) => data.subarray(k * length, (k + 1) * length));
  vectors.forEach((vector, k) => {
    let before = 0;
    for (; before + 4 <= k; before += 4) subtractFourParts(vector, vectors, before);
    for (; before < k; before++) subtractPart(vector, vectors[before]!);
    const norm = Math.sqrt(dot(vector, vector));
    for (let e = 0; e < length; e++) vector[e]! /= norm;
  });
  return O <= I
    ? data.map((x) => gain * x)
    : Float64Array.from({ length: O * I }, (_, at) => gain * vectors[at % I]![Math.floor(at / I)]!);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let e = 0; e < a.length; e++) sum += a[e]! * b[e]!;
  return sum;
}

/** Takes the part along `unit` out of `vector`. */
function subtractPart(vector: Float64Array, unit: Float64Array): void {
  const part = dot(vector, unit);
  for (let e = 0; e < vector.length; e++) vector[e]! -= part * unit[e]!;
}

/** Takes the parts along units `from` to `from + 3`, orthonormal, out of `vector`: four sums at a time keep the processor busy. */
function subtractFourParts(vector: Float64Array, units: readonly Float64Array[], from: number): void {
  const [a, b, c, d] = units.slice(from, from + 4) as [Float64Array, Float64Array, Float64Array, Float64Array];
  let [partA, partB, partC, partD] = [0, 0, 0, 0];
  for (let e = 0; e < vector.length; e++) {
    const x = vector[e]!;
    partA += x * a[e]!;
    partB += x * b[e]!;
    partC += x * c[e]!;
    partD += x * d[e]!;
  }
  for (let e = 0; e < vector.length; e++) {
    vector[e]! -= partA * a[e]! + partB * b[e]! + partC * c[e]! + partD * d[e]!;
  }
}
