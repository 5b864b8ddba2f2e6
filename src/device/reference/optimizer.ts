/**
 * @file Reference kernels of the optimizer: AdamW and the sum of squares for the global norm.
 */
import type { Kernels } from '../kernels.js';
import { floats } from './buffer.js';

export const optimizer = {
  sumOfSquares(y, x, N) {
    const [Y, X] = [floats(y, 1), floats(x, N)];
    let sum = 0;
    for (let n = 0; n < N; n++) sum += X[n]! ** 2;
    Y[0] = sum;
  },

  adamw(parameter, m, v, gradient, N, gradScale, lr, beta1, beta2, eps, weightDecay, correction1, correction2) {
    const [P, M, V, G] = [floats(parameter, N), floats(m, N), floats(v, N), floats(gradient, N)];
    for (let n = 0; n < N; n++) {
      const g = gradScale * G[n]!;
      M[n] = beta1 * M[n]! + (1 - beta1) * g;
      V[n] = beta2 * V[n]! + (1 - beta2) * g * g;
      const update = M[n]! / correction1 / (Math.sqrt(V[n]! / correction2) + eps);
      P[n]! -= lr * (update + weightDecay * P[n]!);
    }
  },
} satisfies Partial<Kernels>;
