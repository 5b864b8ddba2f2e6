/**
 * @file Reference kernels of the norms over the last axis of [N,G,D]: layer norm (Ba et al., arXiv 1607.06450) and
 * RMS norm (Zhang & Sennrich, arXiv 1910.07467).
 */
import type { Kernels } from '../kernels.js';
import { floats, optionalFloats } from './buffer.js';

export const norms = {
  layernormForward(y, mean, rstd, x, weight, bias, N, G, D, eps, weightOffset) {
    const [Y, M, S] = [floats(y, N * G * D), floats(mean, N * G), floats(rstd, N * G)];
    const [X, W, Bias] = [floats(x, N * G * D), floats(weight, G * D), optionalFloats(bias, G * D)];
    for (let row = 0; row < N * G; row++) {
      const g = row % G;
      let m = 0;
      for (let d = 0; d < D; d++) m += X[row * D + d]! / D;
      let variance = 0;
      for (let d = 0; d < D; d++) variance += (X[row * D + d]! - m) ** 2 / D;
      const s = 1 / Math.sqrt(variance + eps);
      for (let d = 0; d < D; d++) {
        Y[row * D + d] = (X[row * D + d]! - m) * s * (weightOffset + W[g * D + d]!) + (Bias?.[g * D + d] ?? 0);
      }
      M[row] = m;
      S[row] = s;
    }
  },
  layernormBackward(dx, dweight, dbias, dy, x, weight, mean, rstd, N, G, D, weightOffset) {
    const [DX, DW, DB] = [floats(dx, N * G * D), floats(dweight, G * D), optionalFloats(dbias, G * D)];
    const [DY, X, W] = [floats(dy, N * G * D), floats(x, N * G * D), floats(weight, G * D)];
    const [M, S] = [floats(mean, N * G), floats(rstd, N * G)];
    for (let row = 0; row < N * G; row++) {
      const g = row % G;
      const m = M[row]!;
      const s = S[row]!;
      // norm = (x - mean) * rstd;  y = norm * (weightOffset + weight) + bias
      const norm = (d: number): number => (X[row * D + d]! - m) * s;
      const dnorm = (d: number): number => DY[row * D + d]! * (weightOffset + W[g * D + d]!);
      // The two means are the parts of dnorm along 1 and along norm, which the norm removes from x.
      let mean1 = 0;
      let meanNorm = 0;
      for (let d = 0; d < D; d++) {
        mean1 += dnorm(d) / D;
        meanNorm += (dnorm(d) * norm(d)) / D;
      }
      for (let d = 0; d < D; d++) {
        DX[row * D + d]! += (dnorm(d) - mean1 - norm(d) * meanNorm) * s;
        DW[g * D + d]! += DY[row * D + d]! * norm(d);
        if (DB) DB[g * D + d]! += DY[row * D + d]!;
      }
    }
  },

  rmsnormForward(y, rstd, x, weight, N, G, D, eps, weightOffset) {
    const [Y, S, X, W] = [floats(y, N * G * D), floats(rstd, N * G), floats(x, N * G * D), floats(weight, G * D)];
    for (let row = 0; row < N * G; row++) {
      const g = row % G;
      let square = 0;
      for (let d = 0; d < D; d++) square += X[row * D + d]! ** 2 / D;
      const s = 1 / Math.sqrt(square + eps);
      for (let d = 0; d < D; d++) Y[row * D + d] = X[row * D + d]! * s * (weightOffset + W[g * D + d]!);
      S[row] = s;
    }
  },
  rmsnormBackward(dx, dweight, dy, x, weight, rstd, N, G, D, weightOffset) {
    const [DX, DW, DY] = [floats(dx, N * G * D), floats(dweight, G * D), floats(dy, N * G * D)];
    const [X, W, S] = [floats(x, N * G * D), floats(weight, G * D), floats(rstd, N * G)];
    for (let row = 0; row < N * G; row++) {
      const g = row % G;
      const s = S[row]!;
      // norm = x * rstd;  y = norm * (weightOffset + weight)
      const norm = (d: number): number => X[row * D + d]! * s;
      const dnorm = (d: number): number => DY[row * D + d]! * (weightOffset + W[g * D + d]!);
      let meanNorm = 0; // the part of dnorm along norm, which the norm removes from x
      for (let d = 0; d < D; d++) meanNorm += (dnorm(d) * norm(d)) / D;
      for (let d = 0; d < D; d++) {
        DX[row * D + d]! += (dnorm(d) - norm(d) * meanNorm) * s;
        DW[g * D + d]! += DY[row * D + d]! * norm(d);
      }
    }
  },
} satisfies Partial<Kernels>;
