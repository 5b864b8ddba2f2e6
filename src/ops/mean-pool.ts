/** @file The mean of each sequence over its steps: a sequence of vectors as one vector. */
import { Activation } from '../device/kernels.js';
import { isRecorded, record } from '../tensor/tape.js';
import { formatShape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * y[b] = mean of x[b,t] over t < lengths[b]; 0 for an empty sequence.
 * @param x        [B,T,D]
 * @param lengths  B whole numbers from 0 to T
 * @returns        [B,D]
 * @throws RangeError when the lengths do not fit.
 */
export function meanPool(x: Tensor, lengths: ArrayLike<number>): Tensor {
  if (x.shape.length !== 3) throw new RangeError(`meanPool: x must be [B,T,D], got ${formatShape(x.shape)}`);
  const [B, T, D] = x.shape as [number, number, number];
  if (lengths.length !== B || Array.from(lengths).some((n) => !(Number.isInteger(n) && n >= 0 && n <= T))) {
    throw new RangeError(`meanPool: lengths must be ${B} whole numbers from 0 to ${T}`);
  }
  const { device } = x;
  const { kernels } = device;
  const y = Tensor.output(device, [B, D]);
  const weights = Tensor.from(device, weightsOf(lengths, B, T), [B, T]);
  const row = (tensor: Tensor, b: number, of: number) => device.view(tensor.buffer, b * of, of);
  for (let b = 0; b < B; b++) {
    const [to, w, from] = [row(y, b, D), row(weights, b, T), row(x, b, T * D)];
    kernels.matmul(to, w, from, null, 1, D, T, false, false, T, D, D, false, Activation.none);
  }
  if (isRecorded([x])) {
    record('meanPool', [y], [], ([dy]) => {
      for (let b = 0; b < B; b++) {
        // y[b] = w[b] x[b], so dx[b,t] = w[b,t] dy[b]
        const [to, w, from] = [device.view(x.grad, b * T * D, T * D), row(weights, b, T), device.view(dy!, b * D, D)];
        kernels.matmul(to, w, from, null, T, D, 1, false, false, 1, D, D, true, Activation.none);
      }
    });
  }
  return y;
}

function weightsOf(lengths: ArrayLike<number>, B: number, T: number): Float32Array {
  const weights = new Float32Array(B * T);
  for (let b = 0; b < B; b++) weights.fill(1 / lengths[b]!, b * T, b * T + lengths[b]!);
  return weights;
}
