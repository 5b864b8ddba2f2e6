/** @file Sum of all elements, scaled: how per-token losses become one number. */
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** scale * sum of all elements of x, as a scalar []. */
export function sum(x: Tensor, scale = 1): Tensor {
  const { device } = x;
  const y = Tensor.output(device, []);
  device.kernels.sumForward(y.buffer, x.buffer, x.size, scale);
  if (isRecorded([x])) record('sum', [y], [], ([dy]) => device.kernels.sumBackward(x.grad, dy!, x.size, scale));
  return y;
}
