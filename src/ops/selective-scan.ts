/** @file The selective scan of Mamba over a whole sequence, with carried state and resets at document borders. */
import { SCAN_STEPS } from '../device/kernels.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { checkSameShape, Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface SelectiveScanInputs {
  /** [B,T,D] */
  readonly u: Tensor;
  /** Step sizes [B,T,D], not negative. */
  readonly delta: Tensor;
  /** Rates of decay [D,N], negative. */
  readonly A: Tensor;
  /** What u adds to each of the N states [B,T,N]. */
  readonly B: Tensor;
  /** How the N states are read [B,T,N]. */
  readonly C: Tensor;
  /** Part of u that passes by [D]; null for none. */
  readonly skip?: Tensor | null;
}

export interface SelectiveScanOptions {
  /** [B,D,N]: the state that an earlier stretch returned; null to start from zero. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * h = exp(delta A) h + delta B u, y = C . h + skip u (arXiv 2312.00752 algorithm 2), N states for every channel.
 * @returns y [B,T,D] and the state after the last step [B,D,N]
 * @throws RangeError when the shapes do not fit.
 */
export function selectiveScan(inputs: SelectiveScanInputs, options: SelectiveScanOptions = {}): [Tensor, Tensor] {
  const { u, delta, A, B: Bm, C, skip = null } = inputs;
  const { state = null, reset = null } = options;
  if (u.shape.length !== 3) throw new RangeError(`selectiveScan: u must be [B,T,D], got ${formatShape(u.shape)}`);
  const [B, T, D] = u.shape as [number, number, number];
  const N = A.extent(-1);
  checkSameShape('selectiveScan: delta', u, delta);
  checkShape('selectiveScan: A', A.shape, [D, N]);
  checkShape('selectiveScan: B', Bm.shape, [B, T, N]);
  checkShape('selectiveScan: C', C.shape, [B, T, N]);
  if (skip !== null) checkShape('selectiveScan: skip', skip.shape, [D]);
  if (state !== null) checkShape('selectiveScan: state', state.shape, [B, D, N]);
  checkReset('selectiveScan', reset, B, T);

  const { device } = u;
  const recorded = isRecorded([u, delta, A, Bm, C, skip, state]);
  const y = Tensor.output(device, u.shape);
  const last = Tensor.output(device, [B, D, N]);
  const saved = recorded ? currentScope(device).alloc('float', B * Math.ceil(T / SCAN_STEPS) * D * N) : null;
  const data = [u.buffer, delta.buffer, A.buffer, Bm.buffer, C.buffer, skip?.buffer ?? null] as const;
  const before = [state?.buffer ?? null, reset?.buffer ?? null] as const;
  device.kernels.selectiveScanForward(y.buffer, last.buffer, saved, ...data, ...before, B, T, D, N);
  if (recorded) {
    record('selectiveScan', [y, last], [saved!], ([dy, dlast]) => {
      const [dA, dskip, dstate] = [A, skip, state].map((t) => (t?.requiresGrad ? t.grad : null));
      device.kernels.selectiveScanBackward(
        u.grad,
        delta.grad,
        dA!,
        Bm.grad,
        C.grad,
        dskip!,
        dstate!,
        dy ?? y.grad,
        dlast ?? null,
        saved!,
        ...data,
        ...before,
        B,
        T,
        D,
        N,
      );
    });
  }
  return [y, last];
}
