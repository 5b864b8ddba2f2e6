/** @file The soft cap: bends values into an open interval, as xLSTM Large does with gate pre-activations and logits. */
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * cap * tanh(x / cap) of each element: x where it is small against the cap, never beyond it (arXiv 2503.13427).
 * @param x    any shape
 * @param cap  above 0
 * @throws RangeError for a cap that is not above 0 and finite.
 */
export function softCap(x: Tensor, cap: number): Tensor {
  if (!(cap > 0 && cap < Infinity)) throw new RangeError(`softCap: cap must be above 0 and finite, got ${cap}`);
  const { device } = x;
  const y = Tensor.outputLike(x);
  device.kernels.softCapForward(y.buffer, x.buffer, y.size, cap);
  if (isRecorded([x])) {
    record('softCap', [y], [], ([dy]) => device.kernels.softCapBackward(x.grad, dy!, y.buffer, y.size, cap));
  }
  return y;
}
