/**
 * @file Reference kernels of the long convolution: one filter per channel, as long as the sequence, by the direct sum.
 * It knows nothing of Fourier transforms; those are a way to compute the same.
 */
import type { Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';

/** The documents of row `b` as [first step, step after the last]. */
function documents(reset: Uint8Array | null, b: number, T: number): [number, number][] {
  const found: [number, number][] = [];
  for (let t = 0, start = 0; t < T; t++) {
    if (t + 1 < T && !reset?.[b * T + t + 1]) continue;
    found.push([start, t + 1]);
    start = t + 1;
  }
  return found;
}

/** Calls body(output row, input row, tap) for every product of the sum. */
function eachProduct(
  reset: Uint8Array | null,
  [B, T, K]: readonly [number, number, number],
  reversed: boolean,
  body: (out: number, from: number, tap: number) => void,
): void {
  for (let b = 0; b < B; b++) {
    for (const [start, end] of documents(reset, b, T)) {
      for (let t = start; t < end; t++) {
        for (let j = 0; j < K; j++) {
          const s = reversed ? t + j : t - j;
          if (s >= start && s < end) body(b * T + t, b * T + s, j);
        }
      }
    }
  }
}

export const longConv = {
  longConvForward(y, x, kernel, skip, reset, B, T, D, K, reversed) {
    const [Y, X, H] = [floats(y, B * T * D), floats(x, B * T * D), floats(kernel, K * D)];
    const [Skip, R] = [optionalFloats(skip, D), optionalFlags(reset, B * T)];
    for (let at = 0; at < B * T * D; at++) Y[at] = (Skip?.[at % D] ?? 0) * X[at]!;
    eachProduct(R, [B, T, K], reversed, (out, from, tap) => {
      for (let d = 0; d < D; d++) Y[out * D + d]! += H[tap * D + d]! * X[from * D + d]!;
    });
  },

  longConvBackward(dx, dkernel, dskip, dy, x, kernel, skip, reset, B, T, D, K, reversed) {
    const [DX, DH, DSkip] = [optionalFloats(dx, B * T * D), optionalFloats(dkernel, K * D), optionalFloats(dskip, D)];
    const [DY, X, H] = [floats(dy, B * T * D), floats(x, B * T * D), floats(kernel, K * D)];
    const [Skip, R] = [optionalFloats(skip, D), optionalFlags(reset, B * T)];
    for (let at = 0; at < B * T * D; at++) {
      // y = skip x
      if (DX && Skip) DX[at]! += Skip[at % D]! * DY[at]!;
      if (DSkip) DSkip[at % D]! += DY[at]! * X[at]!;
    }
    eachProduct(R, [B, T, K], reversed, (out, from, tap) => {
      for (let d = 0; d < D; d++) {
        // y[out] += kernel[tap] x[from]
        if (DX) DX[from * D + d]! += H[tap * D + d]! * DY[out * D + d]!;
        if (DH) DH[tap * D + d]! += DY[out * D + d]! * X[from * D + d]!;
      }
    });
  },
} satisfies Partial<Kernels>;
