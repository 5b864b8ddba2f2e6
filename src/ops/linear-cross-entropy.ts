/**
 * @file Output layer and cross-entropy in one op, so that the logits of all tokens never exist at once; and both with the
 * backward pass, so that they are computed once.
 */
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, propagate, record, type BackwardOptions } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Cross-entropy in nats of softmax(logits) against the targets, logits = x weight^T or, with a soft cap, softCap *
 * tanh(x weight^T / softCap); a target of -1 is ignored (loss 0).
 * @param x        [...,D]
 * @param weight   [V,D]
 * @param targets  int32 [...], -1 or 0..V-1
 * @param softCap  0: none
 * @returns        loss per token [...]
 * @throws RangeError or TypeError when shapes, types or softCap do not fit; the device reports a target out of range.
 */
export function linearCrossEntropy(x: Tensor, weight: Tensor, targets: Tensor, softCap = 0): Tensor {
  const { device } = x;
  const { sizes, matrix } = checked(x, weight, targets, softCap);
  const loss = Tensor.output(device, targets.shape);
  const logsumexp = currentScope(device).alloc('float', targets.size);
  const inputs = [x.buffer, matrix, targets.buffer] as const;
  device.kernels.linearCrossEntropyForward(loss.buffer, logsumexp, ...inputs, ...sizes);
  if (isRecorded([x, weight])) {
    record('linearCrossEntropy', [loss], [logsumexp], ([dloss]) =>
      device.kernels.linearCrossEntropyBackward(x.grad, weight.grad, dloss!, ...inputs, logsumexp, ...sizes),
    );
  }
  return loss;
}

/**
 * The same losses, and the backward pass from scale * (their sum) through all that the current scope has recorded, with
 * the logits computed once: a training step ends so. `options` are those of `backward`.
 * @param scale  a scalar []: 1 / (number of targets) for the mean
 * @returns      loss per token [...]; nothing is recorded of it
 * @throws RangeError or TypeError as `linearCrossEntropy`.
 */
export function linearCrossEntropyBackward(
  x: Tensor,
  weight: Tensor,
  targets: Tensor,
  scale: Tensor,
  { softCap = 0, ...options }: { readonly softCap?: number } & BackwardOptions = {},
): Tensor {
  const { device } = x;
  const { sizes, matrix } = checked(x, weight, targets, softCap);
  checkShape('linearCrossEntropyBackward: scale', scale.shape, []);
  const loss = Tensor.output(device, targets.shape);
  const scope = currentScope(device);
  const dloss = scope.alloc('float', targets.size);
  device.kernels.fill(dloss, 0, targets.size);
  device.kernels.sumBackward(dloss, scale.buffer, targets.size, 1);
  const inputs = [dloss, x.buffer, matrix, targets.buffer] as const;
  device.kernels.linearCrossEntropyForwardBackward(x.grad, weight.grad, loss.buffer, ...inputs, ...sizes);
  propagate(scope, options);
  return loss;
}

/** The sizes N, D, V and softCap of a call, and the weight in the type of x. */
function checked(x: Tensor, weight: Tensor, targets: Tensor, softCap: number) {
  const D = x.extent(-1);
  if (weight.shape.length !== 2 || weight.extent(1) !== D) {
    throw new RangeError(`linearCrossEntropy: weight must be [V,${D}], got ${formatShape(weight.shape)}`);
  }
  if (targets.dtype !== 'int32') throw new TypeError(`linearCrossEntropy: targets must be int32, got ${targets.dtype}`);
  checkShape('linearCrossEntropy: targets', targets.shape, x.shape.slice(0, -1));
  if (!(softCap >= 0 && softCap < Infinity)) {
    throw new RangeError(`linearCrossEntropy: softCap must be 0 (none) or above and finite, got ${softCap}`);
  }
  const sizes = [targets.size, D, weight.extent(0), softCap] as const;
  return { sizes, matrix: x.dtype === 'bf16' ? weight.asBf16() : weight.buffer };
}
