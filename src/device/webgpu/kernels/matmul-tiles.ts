/**
 * @file The matrix product of the WebGPU device for a GPU in hardware: tiles that a workgroup holds in its memory, of which
 * each invocation makes 8 x 8 or 4 x 4 elements in registers; and few rows by a workgroup per column, for decoding.
 */
import { activations } from '../math.js';
import { lines, program, type Constants, type Program } from '../program.js';
import { PUT, SIZES, tilePlace } from './matmul-parts.js';
import { groupSum } from './sums.js';

/** Elements and, along M and N, vectors of four of a and b: zeros outside; with WHOLE there is no outside. */
export const ELEMENTS = `
fn a_element(base: u32, m: u32, k: u32) -> f32 {
  if (!WHOLE && (m >= p.M || k >= p.K)) { return 0.0; }
  if (TRANS_A) { return a_at(base + k * p.lda + m); }
  return a_at(base + m * p.lda + k);
}
fn b_element(base: u32, k: u32, n: u32) -> f32 {
  if (!WHOLE && (k >= p.K || n >= p.N)) { return 0.0; }
  if (TRANS_B) { return b_at(base + n * p.ldb + k); }
  return b_at(base + k * p.ldb + n);
}
fn a_vector(base: u32, m: u32, k: u32) -> vec4<f32> {
  return vec4<f32>(a_element(base, m, k), a_element(base, m + 1u, k), a_element(base, m + 2u, k), a_element(base, m + 3u, k));
}
fn b_vector(base: u32, k: u32, n: u32) -> vec4<f32> {
  return vec4<f32>(b_element(base, k, n), b_element(base, k, n + 1u), b_element(base, k, n + 2u), b_element(base, k, n + 3u));
}
`;

/** Steps along K that lie in workgroup memory. */
const DEPTH = 16;

/**
 * 256 invocations as 16 x 16. Each has `parts` times four rows and columns, 64 apart, so that neighbours read neighbouring
 * vectors of workgroup memory. The next steps are loaded into registers while the present ones are multiplied.
 * @param type  of numbers in workgroup memory; they are multiplied and summed as float32
 */
const tiled = (parts: number, type: 'f32' | 'f16'): Program => {
  const side = 64 * parts;
  const stored = (name: string): string => (type === 'f16' ? `vec4<f16>(${name})` : name);
  const read = (name: string): string => (type === 'f16' ? `vec4<f32>(${name})` : name);
  /** The vectors of a and b that an invocation loads; along the axis that is contiguous in memory, neighbours are neighbours. */
  const loads = ({ TRANS_A, TRANS_B }: Constants, k: string): string =>
    lines(
      parts,
      (r) => `
    next_a${r} = a_vector(base_a, row + 4u * (${TRANS_A ? 'low' : 'high'} + ${16 * r}u), ${k} + ${TRANS_A ? 'high' : 'low'});
    next_b${r} = b_vector(base_b, ${k} + ${TRANS_B ? 'low' : 'high'}, column + 4u * (${TRANS_B ? 'high' : 'low'} + ${16 * r}u));`,
    );
  return program({
    name: `matmul ${side} x ${side}${type === 'f16' ? ', halves' : ''}`,
    writes: 'c',
    reads: 'a b bias',
    sizes: SIZES,
    threads: 256,
    code: (constants) => `${activations(constants)}${PUT}${ELEMENTS}
var<workgroup> tile_a: array<vec4<${type}>, ${(DEPTH * side) / 4}>; // [16 steps, vectors of rows]
var<workgroup> tile_b: array<vec4<${type}>, ${(DEPTH * side) / 4}>; // [16 steps, vectors of columns]
fn kernel(group: u32, lane: u32) {
  ${tilePlace(side)}
  let low = lane % 16u;
  let high = lane / 16u;
  let to_a = ${constants['TRANS_A'] ? 'high' : 'low'} * ${16 * parts}u + ${constants['TRANS_A'] ? 'low' : 'high'};
  let to_b = ${constants['TRANS_B'] ? 'low' : 'high'} * ${16 * parts}u + ${constants['TRANS_B'] ? 'high' : 'low'};
  ${lines(parts, (r) => `var next_a${r}: vec4<f32>; var next_b${r}: vec4<f32>;`)}
  ${lines(4 * parts, (i) => lines(parts, (j) => `var c${i}_${j} = vec4<f32>();`))}
  ${loads(constants, '0u')}
  for (var k = 0u; k < p.K; k += ${DEPTH}u) {
    ${lines(parts, (r) => `tile_a[to_a + ${16 * r}u] = ${stored(`next_a${r}`)}; tile_b[to_b + ${16 * r}u] = ${stored(`next_b${r}`)};`)}
    workgroupBarrier();
    if (k + ${DEPTH}u < p.K) { ${loads(constants, `k + ${DEPTH}u`)} }
    for (var s = 0u; s < ${DEPTH}u; s++) {
      ${lines(parts, (r) => `let a${r} = ${read(`tile_a[s * ${16 * parts}u + high + ${16 * r}u]`)}; let b${r} = ${read(`tile_b[s * ${16 * parts}u + low + ${16 * r}u]`)};`)}
      ${lines(4 * parts, (i) => lines(parts, (j) => `c${i}_${j} = fma(vec4<f32>(a${Math.floor(i / 4)}[${i % 4}]), b${j}, c${i}_${j});`))}
    }
    workgroupBarrier();
  }
  ${lines(4 * parts, (i) =>
    lines(parts, (j) =>
      lines(
        4,
        (e) =>
          `put(item * p.strideC, row + ${64 * Math.floor(i / 4)}u + 4u * high + ${i % 4}u, column + ${64 * j}u + 4u * low + ${e}u, c${i}_${j}[${e}]);`,
      ),
    ),
  )}
}`,
  });
};

/** A form with the side of its tiles, and the steps along K that it takes at once. */
export interface Tiled {
  readonly form: Program;
  readonly side: number;
  readonly depth: number;
}

/** The same arithmetic in tiles of two sizes. */
export interface Sizes {
  readonly small: Tiled;
  readonly large: Tiled;
}

export const SINGLES: Sizes = {
  small: { form: tiled(1, 'f32'), side: 64, depth: DEPTH },
  large: { form: tiled(2, 'f32'), side: 128, depth: DEPTH },
};
export const HALVES: Sizes = {
  small: { form: tiled(1, 'f16'), side: 64, depth: DEPTH },
  large: { form: tiled(2, 'f16'), side: 128, depth: DEPTH },
};

/** Large tiles load less for each product, but there must be enough of them for all parts of a GPU. */
const ENOUGH = 192;

export function tileFor({ small, large }: Sizes, M: number, N: number, count: number): Tiled {
  const tiles = Math.ceil(M / large.side) * Math.ceil(N / large.side) * count;
  return tiles >= ENOUGH ? large : small;
}

/** Whether tiles fit with nothing left over. */
export const isWhole = ({ side, depth }: Tiled, M: number, N: number, K: number): boolean =>
  M % side === 0 && N % side === 0 && K % depth === 0;

/** Rows of a product that is bound by reading b once. */
export const FEW = 4;

/** A workgroup per column of c: its invocations read a row of b, as it is stored with transB, side by side. */
export const THIN = program({
  name: 'matmul of few rows',
  writes: 'c',
  reads: 'a b bias',
  sizes: SIZES,
  threads: 64,
  code(constants) {
    const rows = Number(constants['ROWS']);
    const at = constants['TRANS_A'] ? (m: number) => `k * p.lda + ${m}u` : (m: number) => `${m}u * p.lda + k`;
    return `${activations(constants)}${PUT}${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let item = group / p.tilesN;
  let n = group % p.tilesN;
  let base_a = item * p.strideA;
  let base_b = item * p.strideB + n * p.ldb;
  ${lines(rows, (m) => `var part${m} = 0.0;`)}
  for (var k = lane; k < p.K; k += THREADS) {
    let b = b_at(base_b + k);
    ${lines(rows, (m) => `part${m} += a_at(base_a + ${at(m)}) * b;`)}
  }
  ${lines(rows, (m) => `let sum${m} = group_sum(lane, part${m});`)}
  if (lane != 0u) { return; }
  ${lines(rows, (m) => `put(item * p.strideC, ${m}u, n, sum${m});`)}
}`;
  },
});
