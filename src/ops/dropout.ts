/** @file Dropout by a counter-based mask: the key decides it, so a recomputed forward pass drops the same elements. */
import type { RandomKey } from '../tensor/random.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Zeroes each element with probability `rate` and scales the others by 1 / (1 - rate) (Srivastava et al. 2014).
 * @param key  null at inference: x is returned as it is
 * @throws RangeError when rate is not in [0,1).
 */
export function dropout(x: Tensor, rate: number, key: RandomKey | null): Tensor {
  if (!(rate >= 0 && rate < 1)) throw new RangeError(`dropout: rate must be in [0,1), got ${rate}`);
  if (rate === 0 || key === null) return x;
  const { device } = x;
  const [key0, key1] = key;
  const y = Tensor.outputLike(x);
  device.kernels.dropoutForward(y.buffer, x.buffer, x.size, rate, key0, key1);
  if (isRecorded([x])) {
    record('dropout', [y], [], ([dy]) => device.kernels.dropoutBackward(x.grad, dy!, x.size, rate, key0, key1));
  }
  return y;
}
