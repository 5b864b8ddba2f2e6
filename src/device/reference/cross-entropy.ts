/**
 * @file Reference kernels of the two ends of a language model: the embedding, and the output layer with its loss.
 */
import type { Kernels } from '../kernels.js';
import { floats, ints } from './buffer.js';
import { softCap, softCapDerivative } from './functions.js';

/** The token at position n. @throws RangeError outside of 0..V-1, or of -1..V-1 with `ignorable`. */
export function tokenAt(tokens: Int32Array, n: number, V: number, kernel: string, ignorable = false): number {
  const token = tokens[n]!;
  if (token >= V || token < (ignorable ? -1 : 0)) {
    throw new RangeError(`${kernel}: token ${token} at position ${n} lies outside of the vocabulary 0..${V - 1}`);
  }
  return token;
}

/** logits[v] = x[n] . weight[v] for one row n, capped where `cap` is not 0. */
function logitsOf(X: Float64Array, W: Float64Array, n: number, D: number, V: number, cap: number): Float64Array {
  const logits = new Float64Array(V);
  for (let v = 0; v < V; v++) for (let d = 0; d < D; d++) logits[v]! += X[n * D + d]! * W[v * D + d]!;
  return cap === 0 ? logits : logits.map((logit) => softCap(logit, cap));
}

/** log(sum exp(x)), shifted by the maximum so that nothing overflows. */
function logSumExp(x: Float64Array): number {
  const top = x.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  for (const value of x) sum += Math.exp(value - top);
  return top + Math.log(sum);
}

/** dloss * the gradient of one row's loss with respect to x . weight[v], from its logits [V]. */
function logitGradients(logits: Float64Array, logsumexp: number, target: number, dloss: number, cap: number) {
  return logits.map((logit, v) => {
    // loss = logsumexp(logits) - logits[target]
    const dlogit = dloss * (Math.exp(logit - logsumexp) - (v === target ? 1 : 0));
    // logits[v] = cap * tanh(x . weight[v] / cap)
    return cap === 0 ? dlogit : dlogit * softCapDerivative(logit, cap);
  });
}

/** Backward of the products x[n] . weight[v] of one row n. */
function addProducts(
  DX: Float64Array,
  DW: Float64Array,
  dlogits: Float64Array,
  X: Float64Array,
  W: Float64Array,
  n: number,
  D: number,
): void {
  for (const [v, dlogit] of dlogits.entries()) {
    for (let d = 0; d < D; d++) {
      DX[n * D + d]! += dlogit * W[v * D + d]!;
      DW[v * D + d]! += dlogit * X[n * D + d]!;
    }
  }
}

export const languageModel = {
  embeddingForward(y, tokens, table, N, D, V) {
    const [Y, I, W] = [floats(y, N * D), ints(tokens, N), floats(table, V * D)];
    for (let n = 0; n < N; n++) {
      const token = tokenAt(I, n, V, 'embeddingForward');
      for (let d = 0; d < D; d++) Y[n * D + d] = W[token * D + d]!;
    }
  },
  embeddingBackward(dtable, dy, tokens, N, D, V) {
    const [DW, DY, I] = [floats(dtable, V * D), floats(dy, N * D), ints(tokens, N)];
    for (let n = 0; n < N; n++) {
      const token = tokenAt(I, n, V, 'embeddingBackward');
      // y[n] = table[tokens[n]]
      for (let d = 0; d < D; d++) DW[token * D + d]! += DY[n * D + d]!;
    }
  },

  linearCrossEntropyForward(loss, logsumexp, x, weight, targets, N, D, V, cap) {
    const [L, E, X] = [floats(loss, N), floats(logsumexp, N), floats(x, N * D)];
    const [W, I] = [floats(weight, V * D), ints(targets, N)];
    for (let n = 0; n < N; n++) {
      const target = tokenAt(I, n, V, 'linearCrossEntropyForward', true);
      const logits = logitsOf(X, W, n, D, V, cap);
      E[n] = logSumExp(logits); // of an ignored row too
      L[n] = target < 0 ? 0 : E[n]! - logits[target]!;
    }
  },
  linearCrossEntropyBackward(dx, dweight, dloss, x, weight, targets, logsumexp, N, D, V, cap) {
    const [DX, DW, DL] = [floats(dx, N * D), floats(dweight, V * D), floats(dloss, N)];
    const [X, W, I, E] = [floats(x, N * D), floats(weight, V * D), ints(targets, N), floats(logsumexp, N)];
    for (let n = 0; n < N; n++) {
      const target = tokenAt(I, n, V, 'linearCrossEntropyBackward', true);
      if (target < 0) continue;
      const logits = logitsOf(X, W, n, D, V, cap);
      const dlogits = logitGradients(logits, E[n]!, target, DL[n]!, cap);
      addProducts(DX, DW, dlogits, X, W, n, D);
    }
  },
  linearCrossEntropyForwardBackward(dx, dweight, loss, dloss, x, weight, targets, N, D, V, cap) {
    const [DX, DW, L, DL] = [floats(dx, N * D), floats(dweight, V * D), floats(loss, N), floats(dloss, N)];
    const [X, W, I] = [floats(x, N * D), floats(weight, V * D), ints(targets, N)];
    for (let n = 0; n < N; n++) {
      const target = tokenAt(I, n, V, 'linearCrossEntropyForwardBackward', true);
      L[n] = 0;
      if (target < 0) continue;
      const logits = logitsOf(X, W, n, D, V, cap);
      const logsumexp = logSumExp(logits);
      L[n] = logsumexp - logits[target]!;
      addProducts(DX, DW, logitGradients(logits, logsumexp, target, DL[n]!, cap), X, W, n, D);
    }
  },
} satisfies Partial<Kernels>;
