/**
 * @file The matrix product of the WebGPU device, also of many matrices at once: which form computes it. The forms are in
 * `matmul-tiles.ts` and, for products in half precision, `matmul-matrices.ts` for a GPU in hardware, and in
 * `matmul-quads.ts` for one in software.
 */
import type { Activation, DeviceBuffer, Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import type { Constants, Program } from '../program.js';
import { quadTile, QUADS } from './matmul-quads.js';
import { MATRICES, unitConstants } from './matmul-matrices.js';
import { FEW, HALVES, isWhole, SINGLES, THIN, tileFor, type Sizes } from './matmul-tiles.js';

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
interface Form {
  readonly form: Program;
  readonly tilesM: number;
  readonly tilesN: number;
  readonly constants: Constants;
}

/** Tiles in the precision of the device, and what their programs need to know. */
function tilesOf({ halves }: Gpu): { sizes: Sizes; constants: Constants } {
  if (halves === null) return { sizes: SINGLES, constants: {} };
  if (halves.unit === null) return { sizes: HALVES, constants: {} };
  return { sizes: MATRICES, constants: unitConstants(halves.unit) };
}

function formOf(gpu: Gpu, { M, N, K, transB = false }: Product, count: number): Form {
  if (gpu.isSoftware && gpu.hasSubgroups) {
    const constants = quadTile(M, N, K);
    const [tilesM, tilesN] = [Math.ceil(M / constants.ROWS), Math.ceil(N / (4 * constants.COLUMNS))];
    return { form: QUADS, tilesM, tilesN, constants };
  }
  if (transB && M > 0 && M <= FEW) return { form: THIN, tilesM: 1, tilesN: N, constants: { ROWS: M } };
  const { sizes, constants } = tilesOf(gpu);
  const tile = tileFor(sizes, M, N, count);
  const [tilesM, tilesN] = [Math.ceil(M / tile.side), Math.ceil(N / tile.side)];
  return { form: tile.form, tilesM, tilesN, constants: { ...constants, WHOLE: isWhole(tile, M, N, K) } };
}

/** As `matmul` of the contract, for one product or a batch of them. */
export function multiply(gpu: Gpu, product: Product): void {
  const { c, a, b, bias = null, M, N, K, lda, ldb, ldc, batch = ONE } = product;
  const { transA = false, transB = false, accumulate = false, activation = 0 } = product;
  if (accumulate && activation !== 0) {
    throw new RangeError('matmul: accumulate allows no activation; apply it in a call of its own');
  }
  const { count, strideA, strideB, strideC } = batch;
  const { form, tilesM, tilesN, constants } = formOf(gpu, product, count);
  const sizes = { M, N, K, lda, ldb, ldc, tilesM, tilesN, strideA, strideB, strideC };
  const options = { TRANS_A: transA, TRANS_B: transB, ACCUMULATE: accumulate, ACTIVATION: activation };
  gpu.run(form, { c, a, b, bias }, sizes, count * tilesM * tilesN, { ...options, ...constants });
}

export const products = (gpu: Gpu) =>
  ({
    matmul(c, a, b, bias, M, N, K, transA, transB, lda, ldb, ldc, accumulate, activation) {
      multiply(gpu, { c, a, b, bias, M, N, K, transA, transB, lda, ldb, ldc, accumulate, activation });
    },
  }) satisfies Partial<Kernels>;
