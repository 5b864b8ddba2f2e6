/**
 * @file The block-diagonal linear map of the WebGPU device: products of many small matrices directly, of few large ones
 * as a batch of matrix products.
 */
import type { Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { map, mapGroups } from '../program.js';
import { multiply } from './matmul.js';
import { columnSum } from './sums.js';

/** Blocks at least this wide fill a good part of a tile. */
const WIDE = 16;

const FORWARD = map(
  'headwiseLinearForward',
  'y',
  'x weight bias',
  'GO O I',
  `let row = n / p.O; // of [N,G]
  let unit = n % p.GO; // of [G,O]
  var sum = bias_at(unit);
  for (var i = 0u; i < p.I; i++) { sum += weight_at(unit * p.I + i) * x_at(row * p.I + i); }
  y_set(n, sum);`,
);
const BACKWARD = map(
  'headwiseLinearBackward dx',
  'dx',
  'dy weight',
  'G O I',
  `let row = n / p.I;
  let i = n % p.I;
  let block = (row % p.G) * p.O;
  var sum = 0.0;
  for (var o = 0u; o < p.O; o++) { sum += dy_at(row * p.O + o) * weight_at((block + o) * p.I + i); }
  dx_add(n, sum);`,
);
/** Columns are the elements of weight [G,O,I]. */
const WEIGHT = columnSum(
  'headwiseLinearBackward dweight',
  'dy x',
  'G O I',
  'dy_at(row * p.G * p.O + column / p.I) * x_at((row * p.G + column / (p.O * p.I)) * p.I + column % p.I)',
);
const BIAS = columnSum('headwiseLinearBackward dbias', 'dy', '', 'dy_at(e)');
const ADD_BIAS = map('headwiseLinearForward bias', 'y', 'bias', 'GO', 'y_add(n, bias_at(n % p.GO));');

export const headwise = (gpu: Gpu) =>
  ({
    headwiseLinearForward(y, x, weight, bias, N, G, O, I) {
      if (Math.min(O, I) < WIDE) {
        gpu.run(FORWARD, { y, x, weight, bias }, { N: N * G * O, GO: G * O, O, I }, mapGroups(N * G * O));
        return;
      }
      const batch = { count: G, strideA: I, strideB: O * I, strideC: O };
      // y_g [N,O] = x_g [N,I] weight_g^T [I,O]
      multiply(gpu, { c: y, a: x, b: weight, M: N, N: O, K: I, transB: true, lda: G * I, ldb: I, ldc: G * O, batch });
      if (bias !== null) gpu.run(ADD_BIAS, { y, bias }, { N: N * G * O, GO: G * O }, mapGroups(N * G * O));
    },
    headwiseLinearBackward(dx, dweight, dbias, dy, x, weight, N, G, O, I) {
      BIAS(gpu, dbias, { dy }, {}, N, G * O);
      if (Math.min(O, I) < WIDE) {
        if (dx !== null) gpu.run(BACKWARD, { dx, dy, weight }, { N: N * G * I, G, O, I }, mapGroups(N * G * I));
        WEIGHT(gpu, dweight, { dy, x }, { G, O, I }, N, G * O * I);
        return;
      }
      if (dx !== null) {
        const batch = { count: G, strideA: O, strideB: O * I, strideC: I };
        const shape = { M: N, N: I, K: O, lda: G * O, ldb: I, ldc: G * I };
        multiply(gpu, { c: dx, a: dy, b: weight, ...shape, accumulate: true, batch });
      }
      const batch = { count: G, strideA: O, strideB: I, strideC: O * I };
      const shape = { M: O, N: I, K: N, lda: G * O, ldb: G * I, ldc: I };
      multiply(gpu, { c: dweight, a: dy, b: x, ...shape, transA: true, accumulate: true, batch });
    },
  }) satisfies Partial<Kernels>;
