/**
 * @file Output layer and cross-entropy in one op, so that the logits of all tokens never exist at once; and with their
 * gradients where a backward pass begins, so that they are computed once.
 */
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { mul } from './elementwise.js';
import { sum } from './sum.js';

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
  const { loss, inputs, sizes } = callOf(x, weight, targets, softCap);
  const logsumexp = currentScope(device).alloc('float', targets.size);
  device.kernels.linearCrossEntropyForward(loss.buffer, logsumexp, ...inputs, ...sizes);
  if (isRecorded([x, weight])) {
    record('linearCrossEntropy', [loss], [logsumexp], ([dloss]) =>
      device.kernels.linearCrossEntropyBackward(x.grad, weight.grad, dloss!, ...inputs, logsumexp, ...sizes),
    );
  }
  return loss;
}

/**
 * scale * the sum of `linearCrossEntropy`, to begin `backward` with: while gradients are recorded they are made at once,
 * for the cotangent 1 of the result, with the logits computed once.
 * @param scale  []
 * @returns      []
 * @throws RangeError or TypeError as `linearCrossEntropy`, and where scale is no scalar.
 */
export function rootCrossEntropy(x: Tensor, weight: Tensor, targets: Tensor, scale: Tensor, softCap = 0): Tensor {
  const { device } = x;
  const { kernels } = device;
  if (!isRecorded([x, weight])) return mul(sum(linearCrossEntropy(x, weight, targets, softCap)), scale);
  checkShape('rootCrossEntropy: scale', scale.shape, []);
  const { loss, inputs, sizes } = callOf(x, weight, targets, softCap);
  // The result is scale * the sum of losses, so each loss has the cotangent `scale`.
  const dloss = Tensor.full(device, targets.shape, 0);
  kernels.sumBackward(dloss.buffer, scale.buffer, dloss.size, 1);
  const gradients = [x.grad, weight.grad] as const;
  kernels.linearCrossEntropyForwardBackward(...gradients, loss.buffer, dloss.buffer, ...inputs, ...sizes);
  const total = mul(sum(loss), scale);
  record('rootCrossEntropy', [total], [dloss.buffer, loss.buffer], () => {});
  return total;
}

/** What every call takes. @throws RangeError or TypeError as `linearCrossEntropy`. */
function callOf(x: Tensor, weight: Tensor, targets: Tensor, softCap: number) {
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
  const [N, V] = [targets.size, weight.extent(0)];
  return {
    loss: Tensor.output(device, targets.shape),
    inputs: [x.buffer, x.dtype === 'bf16' ? weight.asBf16() : weight.buffer, targets.buffer] as const,
    sizes: [N, D, V, softCap] as const,
  };
}
