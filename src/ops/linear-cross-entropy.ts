/** @file Output layer and cross-entropy in one op, so that the logits of all tokens never exist at once. */
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
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
  const D = x.extent(-1);
  if (weight.shape.length !== 2 || weight.extent(1) !== D) {
    throw new RangeError(`linearCrossEntropy: weight must be [V,${D}], got ${formatShape(weight.shape)}`);
  }
  if (targets.dtype !== 'int32') throw new TypeError(`linearCrossEntropy: targets must be int32, got ${targets.dtype}`);
  checkShape('linearCrossEntropy: targets', targets.shape, x.shape.slice(0, -1));
  if (!(softCap >= 0 && softCap < Infinity)) {
    throw new RangeError(`linearCrossEntropy: softCap must be 0 (none) or above and finite, got ${softCap}`);
  }
  const { device } = x;
  const V = weight.extent(0);
  const N = targets.size;
  const loss = Tensor.output(device, targets.shape);
  const logsumexp = currentScope(device).alloc('float', N);
  const matrix = x.dtype === 'bf16' ? weight.asBf16() : weight.buffer;
  const inputs = [x.buffer, matrix, targets.buffer] as const;
  device.kernels.linearCrossEntropyForward(loss.buffer, logsumexp, ...inputs, N, D, V, softCap);
  if (isRecorded([x, weight])) {
    record('linearCrossEntropy', [loss], [logsumexp], ([dloss]) =>
      device.kernels.linearCrossEntropyBackward(x.grad, weight.grad, dloss!, ...inputs, logsumexp, N, D, V, softCap),
    );
  }
  return loss;
}
