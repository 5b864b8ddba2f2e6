/**
 * @file Reference kernels of linear algebra: the matrix product and the block-diagonal linear map.
 */
import type { Kernels } from '../kernels.js';
import { Activation } from '../kernels.js';
import { floats, optionalFloats } from './buffer.js';
import { activate } from './functions.js';

/** Elements that a matrix of `rows` rows spans when its rows begin `stride` apart. */
const span = (rows: number, columns: number, stride: number): number =>
  rows === 0 ? 0 : (rows - 1) * stride + columns;

export const linear = {
  matmul(c, a, b, bias, M, N, K, transA, transB, lda, ldb, ldc, accumulate, activation) {
    if (accumulate && activation !== Activation.none) {
      throw new RangeError('matmul: accumulate allows no activation; apply it in a call of its own');
    }
    const C = floats(c, span(M, N, ldc));
    const A = floats(a, transA ? span(K, M, lda) : span(M, K, lda));
    const Bm = floats(b, transB ? span(N, K, ldb) : span(K, N, ldb));
    const Bias = optionalFloats(bias, N);
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = Bias?.[n] ?? 0;
        for (let k = 0; k < K; k++) {
          sum += A[transA ? k * lda + m : m * lda + k]! * Bm[transB ? n * ldb + k : k * ldb + n]!;
        }
        if (accumulate) C[m * ldc + n]! += sum;
        else C[m * ldc + n] = activate(sum, activation);
      }
    }
  },

  biasBackward(dbias, dy, N, D) {
    const [DB, DY] = [floats(dbias, D), floats(dy, N * D)];
    for (let n = 0; n < N; n++) for (let d = 0; d < D; d++) DB[d]! += DY[n * D + d]!;
  },

  headwiseLinearForward(y, x, weight, bias, N, G, O, I) {
    const [Y, X, W] = [floats(y, N * G * O), floats(x, N * G * I), floats(weight, G * O * I)];
    const Bias = optionalFloats(bias, G * O);
    for (let n = 0; n < N; n++) {
      for (let g = 0; g < G; g++) {
        for (let o = 0; o < O; o++) {
          let sum = Bias?.[g * O + o] ?? 0;
          for (let i = 0; i < I; i++) sum += W[(g * O + o) * I + i]! * X[(n * G + g) * I + i]!;
          Y[(n * G + g) * O + o] = sum;
        }
      }
    }
  },
  headwiseLinearBackward(dx, dweight, dbias, dy, x, weight, N, G, O, I) {
    const [DX, DW, DB] = [optionalFloats(dx, N * G * I), floats(dweight, G * O * I), optionalFloats(dbias, G * O)];
    const [DY, X, W] = [floats(dy, N * G * O), floats(x, N * G * I), floats(weight, G * O * I)];
    for (let n = 0; n < N; n++) {
      for (let g = 0; g < G; g++) {
        for (let o = 0; o < O; o++) {
          const dyo = DY[(n * G + g) * O + o]!;
          // y[n,g,o] = sum_i weight[g,o,i] x[n,g,i] + bias[g,o]
          for (let i = 0; i < I; i++) {
            if (DX) DX[(n * G + g) * I + i]! += dyo * W[(g * O + o) * I + i]!;
            DW[(g * O + o) * I + i]! += dyo * X[(n * G + g) * I + i]!;
          }
          if (DB) DB[g * O + o]! += dyo;
        }
      }
    }
  },
} satisfies Partial<Kernels>;
