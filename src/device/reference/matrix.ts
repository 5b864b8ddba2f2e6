/** @file Products of a small matrix M [R,C], stored by rows, with vectors, for the reference kernels. */

export function dotOf(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let e = 0; e < a.length; e++) sum += a[e]! * b[e]!;
  return sum;
}

/** Row r of M, in place. */
export const matrixRow = (M: Float64Array, r: number, C: number): Float64Array => M.subarray(r * C, (r + 1) * C);

/** out[c] = sum_r a[r] M[r,c]. */
export function rowTimes(a: Float64Array, M: Float64Array): Float64Array {
  const C = M.length / a.length;
  const out = new Float64Array(C);
  for (let r = 0; r < a.length; r++) for (let c = 0; c < C; c++) out[c]! += a[r]! * M[r * C + c]!;
  return out;
}

/** out[r] = sum_c M[r,c] b[c]. */
export function columnTimes(M: Float64Array, b: Float64Array): Float64Array {
  const C = b.length;
  return Float64Array.from({ length: M.length / C }, (_, r) => dotOf(matrixRow(M, r, C), b));
}

/** M[r,c] += factor a[r] b[c]. */
export function addOuter(M: Float64Array, a: Float64Array, b: Float64Array, factor: number): void {
  for (let r = 0; r < a.length; r++) {
    for (let c = 0; c < b.length; c++) M[r * b.length + c]! += factor * a[r]! * b[c]!;
  }
}
