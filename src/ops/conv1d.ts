/** @file Causal depthwise convolution over time, with carried state and resets at document borders. */
import { Activation } from '../device/kernels.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface Conv1dOptions {
  /** Applied to the result. Default none. */
  readonly activation?: 'none' | 'silu';
  /** [B,K-1,D]: the inputs before the first step, oldest first; null for zeros. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * y[b,t,d] = activation(bias[d] + sum_j weight[d,j] x[b, t-(K-1)+j, d]); a document sees no input from before its reset.
 * @param x       [B,T,D]
 * @param weight  [D,K]
 * @param bias    [D] or null
 * @returns       y [B,T,D] and the state after the last step [B,K-1,D]
 * @throws RangeError when the shapes do not fit.
 */
export function conv1d(x: Tensor, weight: Tensor, bias: Tensor | null, options: Conv1dOptions = {}): [Tensor, Tensor] {
  const { state = null, reset = null } = options;
  const activation = Activation[options.activation ?? 'none'];
  if (x.shape.length !== 3) throw new RangeError(`conv1d: x must be [B,T,D], got ${formatShape(x.shape)}`);
  const [B, T, D] = x.shape as [number, number, number];
  const K = weight.extent(-1);
  checkShape('conv1d: weight', weight.shape, [D, K]);
  if (bias !== null) checkShape('conv1d: bias', bias.shape, [D]);
  if (state !== null) checkShape('conv1d: state', state.shape, [B, K - 1, D]);
  checkReset('conv1d', reset, B, T);

  const { device } = x;
  const y = Tensor.outputLike(x);
  const last = Tensor.output(device, [B, K - 1, D]);
  const [b, s, r] = [bias?.buffer ?? null, state?.buffer ?? null, reset?.buffer ?? null];
  device.kernels.conv1dForward(y.buffer, last.buffer, x.buffer, weight.buffer, b, s, r, B, T, D, K, activation);
  if (isRecorded([x, weight, bias, state])) {
    record('conv1d', [y, last], [], ([dy, dlast]) => {
      const dbias = bias?.requiresGrad ? bias.grad : null;
      const dstate = state?.requiresGrad ? state.grad : null;
      device.kernels.conv1dBackward(
        x.grad,
        weight.grad,
        dbias,
        dstate,
        dy ?? y.grad,
        dlast ?? null,
        x.buffer,
        weight.buffer,
        b,
        s,
        r,
        B,
        T,
        D,
        K,
        activation,
      );
    });
  }
  return [y, last];
}
