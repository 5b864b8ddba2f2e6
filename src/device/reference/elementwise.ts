/**
 * @file Reference kernels for memory and elementwise functions. Defines them; not written for speed.
 */
import type { Kernels } from '../kernels.js';
import { Activation } from '../kernels.js';
import { philoxWord } from '../philox.js';
import { floats, optionalFloats } from './buffer.js';
import { activate, activateDerivative, softCap, softCapDerivative } from './functions.js';

/** 1 / (1 - rate) where element n is kept, 0 where it is dropped. */
function dropoutFactor(n: number, rate: number, key0: number, key1: number): number {
  return philoxWord(key0, key1, n) / 2 ** 32 >= rate ? 1 / (1 - rate) : 0;
}

export const elementwise = {
  fill(y, value, N) {
    floats(y, N).fill(value, 0, N);
  },

  copy(y, x, N) {
    floats(y, N).set(floats(x, N).subarray(0, N));
  },

  accumulate(y, x, alpha, N) {
    const [Y, X] = [floats(y, N), floats(x, N)];
    for (let n = 0; n < N; n++) Y[n]! += alpha * X[n]!;
  },

  add(y, a, b, N) {
    const [Y, A, B] = [floats(y, N), floats(a, N), floats(b, N)];
    for (let n = 0; n < N; n++) Y[n] = A[n]! + B[n]!;
  },

  mulForward(y, a, b, N) {
    const [Y, A, B] = [floats(y, N), floats(a, N), floats(b, N)];
    for (let n = 0; n < N; n++) Y[n] = A[n]! * B[n]!;
  },
  mulBackward(da, db, dy, a, b, N) {
    const [DA, DB, DY] = [optionalFloats(da, N), optionalFloats(db, N), floats(dy, N)];
    const [A, B] = [floats(a, N), floats(b, N)];
    for (let n = 0; n < N; n++) {
      // y = a * b
      if (DA) DA[n]! += DY[n]! * B[n]!;
      if (DB) DB[n]! += DY[n]! * A[n]!;
    }
  },

  activationForward(y, x, N, activation) {
    const [Y, X] = [floats(y, N), floats(x, N)];
    for (let n = 0; n < N; n++) Y[n] = activate(X[n]!, activation);
  },
  activationBackward(dx, dy, x, N, activation) {
    const [DX, DY, X] = [floats(dx, N), floats(dy, N), floats(x, N)];
    // y = activation(x)
    for (let n = 0; n < N; n++) DX[n]! += DY[n]! * activateDerivative(X[n]!, activation);
  },

  gatedActivationForward(y, gate, up, N, activation) {
    const [Y, G, U] = [floats(y, N), floats(gate, N), floats(up, N)];
    for (let n = 0; n < N; n++) Y[n] = activate(G[n]!, activation) * U[n]!;
  },
  gatedActivationBackward(dgate, dup, dy, gate, up, N, activation) {
    const [DG, DU, DY] = [floats(dgate, N), floats(dup, N), floats(dy, N)];
    const [G, U] = [floats(gate, N), floats(up, N)];
    for (let n = 0; n < N; n++) {
      // y = activation(gate) * up
      DG[n]! += DY[n]! * U[n]! * activateDerivative(G[n]!, activation);
      DU[n]! += DY[n]! * activate(G[n]!, activation);
    }
  },

  skipGateForward(y, h, c, skip, z, N, D) {
    const [Y, H, C, Z] = [floats(y, N * D), floats(h, N * D), floats(c, N * D), floats(z, N * D)];
    const S = floats(skip, D);
    for (let n = 0; n < N; n++) {
      for (let d = 0; d < D; d++) {
        const e = n * D + d;
        Y[e] = (H[e]! + S[d]! * C[e]!) * activate(Z[e]!, Activation.silu);
      }
    }
  },
  skipGateBackward(dh, dc, dskip, dz, dy, h, c, skip, z, N, D) {
    const [DH, DC, DZ] = [floats(dh, N * D), floats(dc, N * D), floats(dz, N * D)];
    const [DS, DY] = [floats(dskip, D), floats(dy, N * D)];
    const [H, C, S, Z] = [floats(h, N * D), floats(c, N * D), floats(skip, D), floats(z, N * D)];
    for (let n = 0; n < N; n++) {
      for (let d = 0; d < D; d++) {
        const e = n * D + d;
        // y = (h + skip * c) * silu(z)
        const dsum = DY[e]! * activate(Z[e]!, Activation.silu);
        DH[e]! += dsum;
        DC[e]! += dsum * S[d]!;
        DS[d]! += dsum * C[e]!;
        DZ[e]! += DY[e]! * (H[e]! + S[d]! * C[e]!) * activateDerivative(Z[e]!, Activation.silu);
      }
    }
  },

  softCapForward(y, x, N, cap) {
    const [Y, X] = [floats(y, N), floats(x, N)];
    for (let n = 0; n < N; n++) Y[n] = softCap(X[n]!, cap);
  },
  softCapBackward(dx, dy, y, N, cap) {
    const [DX, DY, Y] = [floats(dx, N), floats(dy, N), floats(y, N)];
    // y = cap * tanh(x / cap)
    for (let n = 0; n < N; n++) DX[n]! += DY[n]! * softCapDerivative(Y[n]!, cap);
  },

  dropoutForward(y, x, N, rate, key0, key1) {
    const [Y, X] = [floats(y, N), floats(x, N)];
    for (let n = 0; n < N; n++) {
      const factor = dropoutFactor(n, rate, key0, key1);
      Y[n] = factor === 0 ? 0 : X[n]! * factor; // a dropped infinity is 0, not NaN
    }
  },
  dropoutBackward(dx, dy, N, rate, key0, key1) {
    const [DX, DY] = [floats(dx, N), floats(dy, N)];
    for (let n = 0; n < N; n++) {
      // y = keep ? x / (1 - rate) : 0
      const factor = dropoutFactor(n, rate, key0, key1);
      if (factor !== 0) DX[n]! += DY[n]! * factor;
    }
  },

  sumForward(y, x, N, scale) {
    const [Y, X] = [floats(y, 1), floats(x, N)];
    let sum = 0;
    for (let n = 0; n < N; n++) sum += X[n]!;
    Y[0] = scale * sum;
  },
  sumBackward(dx, dy, N, scale) {
    const [DX, DY] = [floats(dx, N), floats(dy, 1)];
    // y = scale * sum x
    for (let n = 0; n < N; n++) DX[n]! += scale * DY[0]!;
  },
} satisfies Partial<Kernels>;
