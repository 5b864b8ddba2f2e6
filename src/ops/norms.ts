/** @file Layer norm and RMS norm over the last axis, whole or per head. */
import { formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

export interface NormOptions {
  /** Groups (heads) that the last axis is cut into; each is normalised alone. Default 1. */
  readonly groups?: number;
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
  /** Added to the weight: 1 where the weight is stored as its difference from 1. Default 0. */
  readonly weightOffset?: number;
}

/**
 * (x - mean) / sqrt(variance + eps) * (weightOffset + weight) + bias over the last axis or each of its groups.
 * @param x       [...,D]
 * @param weight  [D]
 * @param bias    [D] or null
 * @returns       [...,D]
 * @throws RangeError when weight or bias is not [D], or groups does not divide D.
 * @see Ba et al. 2016, arXiv 1607.06450; per head: Wu & He 2018, arXiv 1803.08494
 */
export function layernorm(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: NormOptions = {}): Tensor {
  const { device } = x;
  const { eps = 1e-5, weightOffset = 0 } = options;
  const [N, G, D] = groupsOf('layernorm', x, [weight, bias], options.groups ?? 1);
  const scope = currentScope(device);
  const y = Tensor.outputLike(x);
  const mean = scope.alloc('float', N * G);
  const rstd = scope.alloc('float', N * G);
  const biasBuffer = bias?.buffer ?? null;
  device.kernels.layernormForward(
    y.buffer,
    mean,
    rstd,
    x.buffer,
    weight.buffer,
    biasBuffer,
    N,
    G,
    D,
    eps,
    weightOffset,
  );
  if (isRecorded([x, weight, bias])) {
    record('layernorm', [y], [mean, rstd], ([dy]) => {
      const dbias = bias?.requiresGrad ? bias.grad : null;
      device.kernels.layernormBackward(
        x.grad,
        weight.grad,
        dbias,
        dy!,
        x.buffer,
        weight.buffer,
        mean,
        rstd,
        N,
        G,
        D,
        weightOffset,
      );
    });
  }
  return y;
}

/**
 * x / sqrt(mean(x^2) + eps) * (weightOffset + weight) over the last axis or each of its groups.
 * @param x       [...,D]
 * @param weight  [D]
 * @returns       [...,D]
 * @throws RangeError when weight is not [D], or groups does not divide D.
 * @see Zhang & Sennrich 2019, arXiv 1910.07467
 */
export function rmsnorm(x: Tensor, weight: Tensor, options: NormOptions = {}): Tensor {
  const { device } = x;
  const { eps = 1e-6, weightOffset = 0 } = options;
  const [N, G, D] = groupsOf('rmsnorm', x, [weight], options.groups ?? 1);
  const y = Tensor.outputLike(x);
  const rstd = currentScope(device).alloc('float', N * G);
  device.kernels.rmsnormForward(y.buffer, rstd, x.buffer, weight.buffer, N, G, D, eps, weightOffset);
  if (isRecorded([x, weight])) {
    record('rmsnorm', [y], [rstd], ([dy]) =>
      device.kernels.rmsnormBackward(x.grad, weight.grad, dy!, x.buffer, weight.buffer, rstd, N, G, D, weightOffset),
    );
  }
  return y;
}

function groupsOf(
  name: string,
  x: Tensor,
  parameters: readonly (Tensor | null)[],
  G: number,
): [number, number, number] {
  const width = x.extent(-1);
  if (width % G !== 0) throw new RangeError(`${name}: groups must divide the width, got ${G} groups of ${width}`);
  for (const parameter of parameters) {
    if (parameter === null || (parameter.shape.length === 1 && parameter.size === width)) continue;
    throw new RangeError(
      `${name}: weight and bias must be [${width}] to match x ${formatShape(x.shape)}, got ${formatShape(parameter.shape)}`,
    );
  }
  return [x.size / width, G, width / G];
}
