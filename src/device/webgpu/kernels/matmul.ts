/**
 * @file The matrix product of the WebGPU device, also of many matrices at once: in tiles of 64 x 64 that a workgroup shares,
 * of few rows with a matrix as it is stored for decoding a workgroup per column, and for a GPU in software in tiles of 4 x 4
 * that each invocation makes alone.
 */
import type { Activation, DeviceBuffer, Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { activations } from '../math.js';
import { program } from '../program.js';
import { groupSum } from './sums.js';

/** Vectors of four elements along M and N, zeros outside, and how a tile of 4 x 4 sums becomes elements of c. */
const ELEMENTS = `
fn a_element(base: u32, m: u32, k: u32) -> f32 {
  if (m >= p.M || k >= p.K) { return 0.0; }
  if (TRANS_A) { return a_at(base + k * p.lda + m); }
  return a_at(base + m * p.lda + k);
}
fn b_element(base: u32, k: u32, n: u32) -> f32 {
  if (k >= p.K || n >= p.N) { return 0.0; }
  if (TRANS_B) { return b_at(base + n * p.ldb + k); }
  return b_at(base + k * p.ldb + n);
}
fn put(base: u32, m: u32, n: u32, sum: f32) {
  if (m >= p.M || n >= p.N) { return; }
  let at = base + m * p.ldc + n;
  let value = sum + bias_at(n);
  if (ACCUMULATE) { c_add(at, value); } else { c_set(at, activate(value)); }
}
fn a_vector(base: u32, m: u32, k: u32) -> vec4<f32> {
  return vec4<f32>(a_element(base, m, k), a_element(base, m + 1u, k), a_element(base, m + 2u, k), a_element(base, m + 3u, k));
}
fn b_vector(base: u32, k: u32, n: u32) -> vec4<f32> {
  return vec4<f32>(b_element(base, k, n), b_element(base, k, n + 1u), b_element(base, k, n + 2u), b_element(base, k, n + 3u));
}
fn put_tile(item: u32, m: u32, n: u32, c0: vec4<f32>, c1: vec4<f32>, c2: vec4<f32>, c3: vec4<f32>) {
  var sums = array<vec4<f32>, 4>(c0, c1, c2, c3);
  for (var e = 0u; e < 16u; e++) { put(item * p.strideC, m + e / 4u, n + e % 4u, sums[e / 4u][e % 4u]); }
}
`;

const SIZES = 'M N K lda ldb ldc tilesM tilesN strideA strideB strideC';

/** 256 invocations, each 4 x 4 elements of c; the tiles of a and b hold 16 steps along K, as vectors along M and N. */
const SHARED = program({
  name: 'matmul',
  writes: 'c',
  reads: 'a b bias',
  sizes: SIZES,
  threads: 256,
  code: (constants) => `${activations(constants)}${ELEMENTS}
var<workgroup> tile_a: array<vec4<f32>, 256>; // [16 steps, 16 groups of rows]
var<workgroup> tile_b: array<vec4<f32>, 256>; // [16 steps, 16 groups of columns]
fn kernel(group: u32, lane: u32) {
  let item = group / (p.tilesM * p.tilesN);
  let row = ((group / p.tilesN) % p.tilesM) * 64u;
  let column = (group % p.tilesN) * 64u;
  let base_a = item * p.strideA;
  let base_b = item * p.strideB;
  // Neighbouring invocations load along the axis that is contiguous in memory.
  let low = lane % 16u;
  let high = lane / 16u;
  let a_k = select(low, high, TRANS_A);
  let a_m = select(high, low, TRANS_A);
  let b_k = select(high, low, TRANS_B);
  let b_n = select(low, high, TRANS_B);
  var c0 = vec4<f32>();
  var c1 = vec4<f32>();
  var c2 = vec4<f32>();
  var c3 = vec4<f32>();
  for (var k = 0u; k < p.K; k += 16u) {
    tile_a[a_k * 16u + a_m] = a_vector(base_a, row + 4u * a_m, k + a_k);
    tile_b[b_k * 16u + b_n] = b_vector(base_b, k + b_k, column + 4u * b_n);
    workgroupBarrier();
    for (var s = 0u; s < 16u; s++) {
      let a = tile_a[s * 16u + high];
      let b = tile_b[s * 16u + low];
      c0 = fma(vec4<f32>(a.x), b, c0);
      c1 = fma(vec4<f32>(a.y), b, c1);
      c2 = fma(vec4<f32>(a.z), b, c2);
      c3 = fma(vec4<f32>(a.w), b, c3);
    }
    workgroupBarrier();
  }
  put_tile(item, row + 4u * high, column + 4u * low, c0, c1, c2, c3);
}`,
});

/** Rows of a product that is bound by reading b once. */
const FEW = 4;

/** A workgroup per column of c: its invocations read a row of b, as it is stored with transB, side by side. */
const THIN = program({
  name: 'matmul of few rows',
  writes: 'c',
  reads: 'a b bias',
  sizes: SIZES,
  threads: 64,
  code: (constants) => `${activations(constants)}${ELEMENTS}${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let item = group / p.tilesN;
  let n = group % p.tilesN;
  for (var m = 0u; m < p.M; m++) {
    var part = 0.0;
    for (var k = lane; k < p.K; k += THREADS) {
      part += a_element(item * p.strideA, m, k) * b_element(item * p.strideB, k, n);
    }
    let sum = group_sum(lane, part);
    if (lane == 0u) { put(item * p.strideC, m, n, sum); }
  }
}`,
});

/** Each invocation 4 x 4 elements of c, straight from memory. */
const ALONE = program({
  name: 'matmul alone',
  writes: 'c',
  reads: 'a b bias',
  sizes: SIZES,
  threads: 64,
  solo: true,
  code: (constants) => `${activations(constants)}${ELEMENTS}
fn kernel(group: u32, lane: u32) {
  let item = group / (p.tilesM * p.tilesN);
  let m = ((group / p.tilesN) % p.tilesM) * 4u;
  let n = (group % p.tilesN) * 4u;
  let base_a = item * p.strideA;
  let base_b = item * p.strideB;
  // Rows and columns outside are read as the last ones inside, and not written.
  let step_a = select(1u, p.lda, TRANS_A);
  let step_b = select(p.ldb, 1u, TRANS_B);
  let rows = base_a + min(vec4<u32>(m, m + 1u, m + 2u, m + 3u), vec4<u32>(p.M - 1u)) * select(p.lda, 1u, TRANS_A);
  let columns = base_b + min(vec4<u32>(n, n + 1u, n + 2u, n + 3u), vec4<u32>(p.N - 1u)) * select(1u, p.ldb, TRANS_B);
  var c0 = vec4<f32>();
  var c1 = vec4<f32>();
  var c2 = vec4<f32>();
  var c3 = vec4<f32>();
  for (var k = 0u; k < p.K; k++) {
    let at = columns + k * step_b;
    let b = vec4<f32>(b_at(at.x), b_at(at.y), b_at(at.z), b_at(at.w));
    c0 += a_at(rows.x + k * step_a) * b;
    c1 += a_at(rows.y + k * step_a) * b;
    c2 += a_at(rows.z + k * step_a) * b;
    c3 += a_at(rows.w + k * step_a) * b;
  }
  put_tile(item, m, n, c0, c1, c2, c3);
}`,
});

/** Where many products lie: how far from one to the next, in elements. */
export interface Batch {
  readonly count: number;
  readonly strideA: number;
  readonly strideB: number;
  readonly strideC: number;
}

const ONE: Batch = { count: 1, strideA: 0, strideB: 0, strideC: 0 };

export interface Product {
  readonly c: DeviceBuffer;
  readonly a: DeviceBuffer;
  readonly b: DeviceBuffer;
  readonly bias?: DeviceBuffer | null;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly lda: number;
  readonly ldb: number;
  readonly ldc: number;
  readonly accumulate?: boolean;
  readonly activation?: Activation;
  readonly batch?: Batch;
}

/** How a product is computed, and in how many tiles. */
function formOf({ isSoftware }: Gpu, M: number, N: number, transB: boolean) {
  if (!isSoftware && transB && M > 0 && M <= FEW) return { form: THIN, tilesM: 1, tilesN: N };
  const [form, side] = isSoftware ? [ALONE, 4] : [SHARED, 64];
  return { form, tilesM: Math.ceil(M / side), tilesN: Math.ceil(N / side) };
}

/** As `matmul` of the contract, for one product or a batch of them. */
export function multiply(gpu: Gpu, product: Product): void {
  const { c, a, b, bias = null, M, N, K, lda, ldb, ldc, batch = ONE } = product;
  const { transA = false, transB = false, accumulate = false, activation = 0 } = product;
  if (accumulate && activation !== 0) {
    throw new RangeError('matmul: accumulate allows no activation; apply it in a call of its own');
  }
  const { form, tilesM, tilesN } = formOf(gpu, M, N, transB);
  const { count, strideA, strideB, strideC } = batch;
  const sizes = { M, N, K, lda, ldb, ldc, tilesM, tilesN, strideA, strideB, strideC };
  const constants = { TRANS_A: transA, TRANS_B: transB, ACCUMULATE: accumulate, ACTIVATION: activation };
  gpu.run(form, { c, a, b, bias }, sizes, count * tilesM * tilesN, constants);
}

export const products = (gpu: Gpu) =>
  ({
    matmul(c, a, b, bias, M, N, K, transA, transB, lda, ldb, ldc, accumulate, activation) {
      multiply(gpu, { c, a, b, bias, M, N, K, transA, transB, lda, ldb, ldc, accumulate, activation });
    },
  }) satisfies Partial<Kernels>;
