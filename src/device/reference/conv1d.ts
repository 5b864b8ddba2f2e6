/**
 * @file Reference kernels of the causal depthwise convolution over time, with state and resets.
 */
import type { Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';
import { activate, activateDerivative } from './functions.js';

/**
 * The first time that step `t` of sequence `b` can see: the last reset at or before t, or the oldest input of the
 * state, which stands at time -(K-1).
 */
function horizon(reset: Uint8Array | null, b: number, t: number, T: number, K: number): number {
  for (let s = t; s >= 0; s--) if (reset?.[b * T + s]) return s;
  return -(K - 1);
}

export const conv1d = {
  conv1dForward(y, stateOut, x, weight, bias, stateIn, reset, B, T, D, K, activation) {
    const [Y, Sout] = [floats(y, B * T * D), optionalFloats(stateOut, B * (K - 1) * D)];
    const [X, W, Bias] = [floats(x, B * T * D), floats(weight, D * K), optionalFloats(bias, D)];
    const [Sin, R] = [optionalFloats(stateIn, B * (K - 1) * D), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      // The input at time s: x for s >= 0, before that the state.
      const input = (s: number, d: number): number =>
        s >= 0 ? X[(b * T + s) * D + d]! : (Sin?.[(b * (K - 1) + s + K - 1) * D + d] ?? 0);
      for (let d = 0; d < D; d++) {
        for (let t = 0; t < T; t++) {
          const first = horizon(R, b, t, T, K);
          let sum = Bias?.[d] ?? 0;
          for (let j = 0; j < K; j++) {
            const s = t - (K - 1) + j;
            if (s >= first) sum += W[d * K + j]! * input(s, d);
          }
          Y[(b * T + t) * D + d] = activate(sum, activation);
        }
        const first = horizon(R, b, T - 1, T, K);
        for (let j = 0; j < K - 1; j++) {
          const s = T - (K - 1) + j;
          if (Sout) Sout[(b * (K - 1) + j) * D + d] = s >= first ? input(s, d) : 0;
        }
      }
    }
  },

  conv1dBackward(dx, dweight, dbias, dstateIn, dy, dstateOut, x, weight, bias, stateIn, reset, B, T, D, K, activation) {
    const [DX, DW, DB] = [floats(dx, B * T * D), floats(dweight, D * K), optionalFloats(dbias, D)];
    const [DSin, DSout] = [optionalFloats(dstateIn, B * (K - 1) * D), optionalFloats(dstateOut, B * (K - 1) * D)];
    const [DY, X, W] = [floats(dy, B * T * D), floats(x, B * T * D), floats(weight, D * K)];
    const [Bias, Sin] = [optionalFloats(bias, D), optionalFloats(stateIn, B * (K - 1) * D)];
    const R = optionalFlags(reset, B * T);
    for (let b = 0; b < B; b++) {
      const input = (s: number, d: number): number =>
        s >= 0 ? X[(b * T + s) * D + d]! : (Sin?.[(b * (K - 1) + s + K - 1) * D + d] ?? 0);
      const addToInput = (s: number, d: number, gradient: number): void => {
        if (s >= 0) DX[(b * T + s) * D + d]! += gradient;
        else if (DSin) DSin[(b * (K - 1) + s + K - 1) * D + d]! += gradient;
      };
      for (let d = 0; d < D; d++) {
        for (let t = 0; t < T; t++) {
          const first = horizon(R, b, t, T, K);
          let sum = Bias?.[d] ?? 0;
          for (let j = 0; j < K; j++) {
            const s = t - (K - 1) + j;
            if (s >= first) sum += W[d * K + j]! * input(s, d);
          }
          // y = activation(sum);  sum = bias + sum_j weight[j] input(t-(K-1)+j)
          const dsum = DY[(b * T + t) * D + d]! * activateDerivative(sum, activation);
          if (DB) DB[d]! += dsum;
          for (let j = 0; j < K; j++) {
            const s = t - (K - 1) + j;
            if (s < first) continue;
            DW[d * K + j]! += dsum * input(s, d);
            addToInput(s, d, dsum * W[d * K + j]!);
          }
        }
        const first = horizon(R, b, T - 1, T, K);
        for (let j = 0; j < K - 1; j++) {
          const s = T - (K - 1) + j;
          // stateOut[j] = s >= first ? input(s) : 0
          if (DSout && s >= first) addToInput(s, d, DSout[(b * (K - 1) + j) * D + d]!);
        }
      }
    }
  },
} satisfies Partial<Kernels>;
