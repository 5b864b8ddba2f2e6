/**
 * @file S4: a state-space model per channel whose matrix is diagonal plus rank one, as a recurrence with its state and as a
 * kernel for `longConv`. Complex tensors are [2,N,D]: real parts, then imaginary parts; each of the N modes stands for
 * itself and its conjugate.
 */
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

/** x' = A x + Bm u, y = 2 Re(C x), A = diag(Lambda) - P P*, with steps exp(logDt) by the bilinear transform. */
export interface S4Model {
  /** [2,N,D]: log(-Re Lambda), and Im Lambda. */
  readonly A: Tensor;
  /** [2,N,D] */
  readonly P: Tensor;
  /** [2,N,D] */
  readonly Bm: Tensor;
  /** [2,N,D]: of the model itself, not the C (I - A_bar^L) that S4 stores for one length L. */
  readonly C: Tensor;
  /** [D] */
  readonly logDt: Tensor;
}

export interface S4ScanOptions {
  /** [D]: y gets skip[d] x[b,t,d] too. Default none. */
  readonly skip?: Tensor | null;
  /** [B,2,N,D]; null for zeros. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * The model as a recurrence (arXiv 2111.00396 eq. 3): diagonal plus rank one, so a step costs O(N) per channel.
 * @param x  [B,T,D]
 * @returns  y [B,T,D] and the state after the last step [B,2,N,D]
 * @throws RangeError when the shapes do not fit.
 */
export function s4Scan(x: Tensor, model: S4Model, options: S4ScanOptions = {}): [Tensor, Tensor] {
  const { skip = null, state = null, reset = null } = options;
  if (x.shape.length !== 3) throw new RangeError(`s4Scan: x must be [B,T,D], got ${formatShape(x.shape)}`);
  const [B, T, D] = x.shape as [number, number, number];
  const N = model.A.shape[1] ?? 0;
  const { A, P, Bm, C, logDt } = model;
  for (const [name, array] of Object.entries({ A, P, Bm, C })) checkShape(`s4Scan: ${name}`, array.shape, [2, N, D]);
  checkShape('s4Scan: logDt', logDt.shape, [D]);
  if (skip !== null) checkShape('s4Scan: skip', skip.shape, [D]);
  if (state !== null) checkShape('s4Scan: state', state.shape, [B, 2, N, D]);
  checkReset('s4Scan', reset, B, T);

  const { device } = x;
  const y = Tensor.output(device, x.shape);
  const last = Tensor.output(device, [B, 2, N, D]);
  const parameters = [A.buffer, P.buffer, Bm.buffer, C.buffer, logDt.buffer] as const;
  const optional = [skip?.buffer ?? null, state?.buffer ?? null, reset?.buffer ?? null] as const;
  const rest = [x.buffer, ...parameters, ...optional, B, T, N, D] as const;
  device.kernels.s4ScanForward(y.buffer, last.buffer, ...rest);
  if (isRecorded([x, A, P, Bm, C, logDt, skip, state])) {
    const grad = (t: Tensor | null) => (t?.requiresGrad ? t.grad : null);
    record('s4Scan', [y, last], [], ([, dlast]) => {
      const dparameters = [grad(A), grad(P), grad(Bm), grad(C), grad(logDt)] as const;
      const gradients = [grad(x), ...dparameters, grad(skip), grad(state)] as const;
      device.kernels.s4ScanBackward(...gradients, y.grad, dlast!, ...rest);
    });
  }
  return [y, last];
}

/**
 * The model's kernel for `longConv`, its answer to an impulse: kernel[l] = 2 Re(C A_bar^l B_bar), l < L. On a processor
 * whose vectors run along the channels the recurrence costs as much as the generating function of arXiv 2111.00396 alg. 1,
 * is exact for every L, and needs no C that is made for one length.
 * @returns [L,D]
 */
export function s4Kernel(model: S4Model, L: number): Tensor {
  const D = model.logDt.size;
  const { device } = model.logDt;
  const impulse = Tensor.full(device, [1, L, D], 0);
  if (L > 0) device.kernels.fill(device.view(impulse.buffer, 0, D), 1, D);
  return s4Scan(impulse, model)[0].reshape([L, D]);
}
