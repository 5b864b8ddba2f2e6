/** @file Vectors of length one: the last axis, whole or per head, divided by its Euclidean norm. */
import { Tensor } from '../tensor/tensor.js';
import { rmsnorm } from './norms.js';

/**
 * x / sqrt(sum(x^2) + eps) over each of `groups` parts of the last axis. It is the RMS norm of a constant weight.
 * @param x  [...,D]
 * @returns  [...,D]
 * @throws RangeError when groups does not divide D.
 */
export function l2norm(x: Tensor, { groups = 1, eps = 1e-6 }: { groups?: number; eps?: number } = {}): Tensor {
  const width = x.extent(-1) / groups;
  // sum(x^2) + eps = width (mean(x^2) + eps / width)
  const weight = Tensor.full(x.device, [x.extent(-1)], 1 / Math.sqrt(width));
  return rmsnorm(x, weight, { groups, eps: eps / width });
}
