/** @file The matrix state with a diagonal decay and a rank one change, as RWKV-7 has it: a sequence or one step. */
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface DplrInputs {
  /** What is read, [B,T,NH*DK]. */
  readonly q: Tensor;
  /** What is written, [B,T,NH*DK]. */
  readonly k: Tensor;
  /** [B,T,NH*DV] */
  readonly v: Tensor;
  /** Where what b finds is added, [B,T,NH*DK]; for a delta rule b times minus its rate. */
  readonly a: Tensor;
  /** [B,T,NH*DK] */
  readonly b: Tensor;
  /** Logarithm of the decay of each key channel [B,T,NH*DK], finite and at most 0. */
  readonly g: Tensor;
}

export interface DplrOptions {
  /** Heads NH. */
  readonly heads: number;
  /** [B,NH,DK,DV]; null for zeros. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
  /** Overwrite the state instead of making a new one, where no gradients are recorded. Default false. */
  readonly inPlace?: boolean;
}

/**
 * S_t = diag(exp(g_t)) S_{t-1} + a_t (b_t^T S_{t-1}) + k_t v_t^T, o_t = S_t^T q_t for each head. Inputs without the
 * axis T are one step.
 * @returns o [B,T,NH*DV] (or [B,NH*DV]) and the state after the last step [B,NH,DK,DV]
 * @throws RangeError when the shapes do not fit. Error for `inPlace` where gradients are recorded.
 * @see Peng et al. 2025, arXiv 2503.14456 (RWKV-7)
 */
export function dplr(inputs: DplrInputs, options: DplrOptions): [Tensor, Tensor] {
  const { q, k, v, a, b, g } = inputs;
  const { heads: NH, state = null, reset = null, inPlace = false } = options;
  const [B, T, DK, DV] = checkInputs(inputs, NH);
  checkReset('dplr', reset, B, T);
  if (state !== null) checkShape('dplr: state', state.shape, [B, NH, DK, DV]);
  const { device } = q;
  const recorded = isRecorded([q, k, v, a, b, g, state]);
  if (recorded && inPlace)
    throw new Error('dplr: a state that gradients need cannot be overwritten; leave out inPlace');

  const o = Tensor.output(device, v.shape);
  const last = inPlace && state !== null ? state : Tensor.output(device, [B, NH, DK, DV]);
  const data = [q.buffer, k.buffer, v.buffer, a.buffer, b.buffer, g.buffer] as const;
  const before = [state?.buffer ?? null, reset?.buffer ?? null] as const;
  device.kernels.dplrForward(o.buffer, last.buffer, ...data, ...before, B, T, NH, DK, DV);
  if (recorded) {
    record('dplr', [o, last], [], ([dout, dlast]) => {
      const gradients = [q, k, v, a, b, g, state].map((x) => (x?.requiresGrad ? x.grad : null));
      const [dq, dk, dv, da, db, dg, dstate] = gradients;
      const all = [dq!, dk!, dv!, da!, db!, dg!, dstate!] as const;
      device.kernels.dplrBackward(...all, dout ?? o.grad, dlast!, ...data, ...before, B, T, NH, DK, DV);
    });
  }
  return [o, last];
}

/** Checks the inputs and reads B, T, DK, DV from them. */
function checkInputs({ q, k, v, a, b, g }: DplrInputs, NH: number): [number, number, number, number] {
  if (q.shape.length !== 2 && q.shape.length !== 3) {
    throw new RangeError(`dplr: q must be [B,T,NH*DK] or, for one step, [B,NH*DK], got ${formatShape(q.shape)}`);
  }
  const lead = q.shape.slice(0, -1);
  const [keys, values] = [q.extent(-1), v.extent(-1)];
  if (!(NH >= 1) || keys % NH !== 0 || values % NH !== 0) {
    throw new RangeError(`dplr: widths of q (${keys}) and v (${values}) must be multiples of heads (${NH})`);
  }
  for (const [name, x] of Object.entries({ k, a, b, g })) checkShape(`dplr: ${name}`, x.shape, q.shape);
  checkShape('dplr: v', v.shape, [...lead, values]);
  return [lead[0]!, lead[1] ?? 1, keys / NH, values / NH];
}
