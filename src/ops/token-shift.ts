/**
 * @file The token shift of RWKV: each channel a mixture of this step and the one before, mu x_t + (1 - mu) x_{t-1}. It is
 * a convolution of two taps, so the state is one row of inputs and a document sees nothing from before its reset.
 */
import { checkShape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { conv1d, type Conv1dOptions } from './conv1d.js';
import { linear } from './linear.js';

/**
 * y[b,t,d] = mu[d] x[b,t,d] + (1 - mu[d]) x[b,t-1,d], with zeros before the first step.
 * @param x   [B,T,D]
 * @param mu  [D]
 * @returns   y [B,T,D] and the last input [B,1,D]
 * @throws RangeError when the shapes do not fit.
 * @see Peng et al. 2023, arXiv 2305.13048 eq. 11-13
 */
export function tokenShift(
  x: Tensor,
  mu: Tensor,
  options: Pick<Conv1dOptions, 'state' | 'reset'> = {},
): [Tensor, Tensor] {
  const D = x.extent(-1);
  checkShape('tokenShift: mu', mu.shape, [D]);
  const { device } = x;
  const factors = Tensor.from(device, Float32Array.of(-1, 1), [2, 1]);
  const offset = Tensor.from(device, Float32Array.of(1, 0), [2]);
  return conv1d(x, linear(mu.reshape([D, 1]), factors, offset), null, options); // taps (1 - mu, mu)
}
