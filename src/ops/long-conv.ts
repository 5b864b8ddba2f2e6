/** @file Long convolution over time: one filter per channel, as long as the sequence. It carries no state. */
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface LongConvOptions {
  /** [D]: y gets skip[d] x[b,t,d] too. Default none. */
  readonly skip?: Tensor | null;
  /** Documents apart, exactly. */
  readonly reset?: Reset;
  /** Anti-causal: step t sees x[b,t+j,d], up to the end of its document. Default false. */
  readonly reversed?: boolean;
}

/**
 * y[b,t,d] = skip[d] x[b,t,d] + sum_j kernel[j,d] x[b,t-j,d], j from 0 to K-1 within the document of t.
 * @param x       [B,T,D]
 * @param kernel  [K,D]; K may be shorter or longer than T
 * @returns       [B,T,D]
 * @throws RangeError when the shapes do not fit.
 */
export function longConv(x: Tensor, kernel: Tensor, options: LongConvOptions = {}): Tensor {
  const { skip = null, reset = null, reversed = false } = options;
  if (x.shape.length !== 3) throw new RangeError(`longConv: x must be [B,T,D], got ${formatShape(x.shape)}`);
  const [B, T, D] = x.shape as [number, number, number];
  const K = kernel.extent(0);
  checkShape('longConv: kernel', kernel.shape, [K, D]);
  if (skip !== null) checkShape('longConv: skip', skip.shape, [D]);
  checkReset('longConv', reset, B, T);

  const { device } = x;
  const y = Tensor.output(device, x.shape);
  const inputs = [x.buffer, kernel.buffer, skip?.buffer ?? null, reset?.buffer ?? null] as const;
  const sizes = [B, T, D, K, reversed] as const;
  device.kernels.longConvForward(y.buffer, ...inputs, ...sizes);
  if (isRecorded([x, kernel, skip])) {
    record('longConv', [y], [], () => {
      const [dx, dkernel, dskip] = [x, kernel, skip].map((t) => (t?.requiresGrad ? t.grad : null));
      device.kernels.longConvBackward(dx!, dkernel!, dskip!, y.grad, ...inputs, ...sizes);
    });
  }
  return y;
}
