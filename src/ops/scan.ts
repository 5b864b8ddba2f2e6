/** @file The diagonal linear recurrence over a whole sequence, with carried state and resets at document borders. */
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { checkSameShape, Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface ScanOptions {
  /** [B,D]: the state that an earlier stretch returned; null to start from zero. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * h_t = a_t h_{t-1} + x_t for every channel.
 * @param a  [B,T,D]
 * @param x  [B,T,D]
 * @returns  h [B,T,D] and the state after the last step [B,D]
 * @throws RangeError when the shapes do not fit.
 */
export function scan(a: Tensor, x: Tensor, { state = null, reset = null }: ScanOptions = {}): [Tensor, Tensor] {
  if (a.shape.length !== 3) throw new RangeError(`scan: a must be [B,T,D], got ${formatShape(a.shape)}`);
  const [B, T, D] = a.shape as [number, number, number];
  checkSameShape('scan: x', a, x);
  if (state !== null) checkShape('scan: state', state.shape, [B, D]);
  checkReset('scan', reset, B, T);

  const { kernels } = a.device;
  const h = Tensor.outputLike(a);
  const last = Tensor.output(a.device, [B, D]);
  const before = [state?.buffer ?? null, reset?.buffer ?? null] as const;
  kernels.scanForward(h.buffer, last.buffer, a.buffer, x.buffer, ...before, B, T, D);
  if (isRecorded([a, x, state])) {
    record('scan', [h, last], [], ([dh, dlast]) => {
      const dstate = state?.requiresGrad ? state.grad : null;
      const cotangents = [dh ?? h.grad, dlast ?? null] as const;
      kernels.scanBackward(a.grad, x.grad, dstate, ...cotangents, h.buffer, a.buffer, ...before, B, T, D);
    });
  }
  return [h, last];
}
