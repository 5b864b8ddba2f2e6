/** @file Reference kernels of the diagonal linear recurrence h_t = a_t h_{t-1} + x_t, step by step. */
import type { Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';

export const scan = {
  scanForward(h, stateOut, a, x, stateIn, reset, B, T, D) {
    const [H, Sout] = [floats(h, B * T * D), optionalFloats(stateOut, B * D)];
    const [A, X] = [floats(a, B * T * D), floats(x, B * T * D)];
    const [Sin, R] = [optionalFloats(stateIn, B * D), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let d = 0; d < D; d++) {
        let state = Sin?.[b * D + d] ?? 0;
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) state = 0;
          const at = (b * T + t) * D + d;
          state = A[at]! * state + X[at]!;
          H[at] = state;
        }
        if (Sout) Sout[b * D + d] = state;
      }
    }
  },

  scanBackward(da, dx, dstateIn, dh, dstateOut, h, a, stateIn, reset, B, T, D) {
    const [DA, DX, DSin] = [floats(da, B * T * D), floats(dx, B * T * D), optionalFloats(dstateIn, B * D)];
    const [DH, DSout] = [floats(dh, B * T * D), optionalFloats(dstateOut, B * D)];
    const [H, A] = [floats(h, B * T * D), floats(a, B * T * D)];
    const [Sin, R] = [optionalFloats(stateIn, B * D), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let d = 0; d < D; d++) {
        let carried = DSout?.[b * D + d] ?? 0;
        for (let t = T - 1; t >= 0; t--) {
          const at = (b * T + t) * D + d;
          const isReset = Boolean(R?.[b * T + t]);
          const before = isReset ? 0 : t > 0 ? H[at - D]! : (Sin?.[b * D + d] ?? 0);
          // h = a h' + x
          const total = DH[at]! + carried;
          DX[at]! += total;
          DA[at]! += total * before;
          carried = isReset ? 0 : total * A[at]!;
        }
        if (DSin) DSin[b * D + d]! += carried;
      }
    }
  },
} satisfies Partial<Kernels>;
