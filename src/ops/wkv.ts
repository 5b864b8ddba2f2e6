/** @file The wkv of RWKV-4 over a whole sequence, with carried state and resets at document borders. */
import { SCAN_STEPS } from '../device/kernels.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { checkSameShape, Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface WkvInputs {
  /** [B,T,D] */
  readonly k: Tensor;
  /** [B,T,D] */
  readonly v: Tensor;
  /** Rates of decay [D], positive: exp(time_decay). */
  readonly w: Tensor;
  /** What the key of a step gains in that step [D]: time_first. */
  readonly u: Tensor;
}

export interface WkvOptions {
  /** [3,B,D]: the state that an earlier stretch returned; null to start from nothing. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * An average of all v so far, weighted by e^k and by age (arXiv 2305.13048 eq. 16).
 * @returns y [B,T,D] and the state after the last step [3,B,D]: numerator, denominator, running maximum
 * @throws RangeError when the shapes do not fit.
 */
export function wkv({ k, v, w, u }: WkvInputs, { state = null, reset = null }: WkvOptions = {}): [Tensor, Tensor] {
  if (k.shape.length !== 3) throw new RangeError(`wkv: k must be [B,T,D], got ${formatShape(k.shape)}`);
  const [B, T, D] = k.shape as [number, number, number];
  checkSameShape('wkv: v', k, v);
  checkShape('wkv: w', w.shape, [D]);
  checkShape('wkv: u', u.shape, [D]);
  if (state !== null) checkShape('wkv: state', state.shape, [3, B, D]);
  checkReset('wkv', reset, B, T);

  const { device } = k;
  const recorded = isRecorded([k, v, w, u, state]);
  const y = Tensor.output(device, k.shape);
  const last = Tensor.output(device, [3, B, D]);
  const saved = recorded ? currentScope(device).alloc('float', 3 * B * Math.ceil(T / SCAN_STEPS) * D) : null;
  const data = [k.buffer, v.buffer, w.buffer, u.buffer, state?.buffer ?? null, reset?.buffer ?? null] as const;
  device.kernels.wkvForward(y.buffer, last.buffer, saved, ...data, B, T, D);
  if (recorded) {
    record('wkv', [y, last], [saved!], ([dy, dlast]) => {
      const [dw, du, dstate] = [w, u, state].map((t) => (t?.requiresGrad ? t.grad : null));
      const gradients = [k.grad, v.grad, dw!, du!, dstate!] as const;
      device.kernels.wkvBackward(...gradients, dy ?? y.grad, dlast ?? null, saved!, ...data, B, T, D);
    });
  }
  return [y, last];
}
