/** @file The gated delta rule over a whole sequence (chunkwise), or as a single step. */
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface DeltaRuleInputs {
  /** [B,T,NH*DK] */
  readonly q: Tensor;
  /** [B,T,NH*DK]; each head's of length one, or the state may grow. */
  readonly k: Tensor;
  /** [B,T,NH*DV] */
  readonly v: Tensor;
  /** How much of what a key holds is replaced, [B,T,NH]: 0 nothing, 1 all of it, 2 turns it around. */
  readonly beta: Tensor;
  /** Logarithm of the decay [B,T,NH], finite and at most 0; null for none. */
  readonly g: Tensor | null;
}

export interface DeltaRuleOptions {
  /** Factor of the queries. Default 1 / sqrt(DK). */
  readonly scale?: number;
  /** Steps that are worked on as one block of matrix products; the result does not depend on it. Default 64. */
  readonly chunkSize?: number;
  /** [B,NH,DK,DV]; null for zeros. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
  /** Overwrite the state instead of making a new one, where no gradients are recorded. Default false. */
  readonly inPlace?: boolean;
}

/**
 * S_t = exp(g_t) (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, o_t = scale q_t^T S_t for each head. Inputs without
 * the axis T are one step.
 * @returns o [B,T,NH*DV] (or [B,NH*DV]) and the state after the last step [B,NH,DK,DV]
 * @throws RangeError when the shapes do not fit. Error for `inPlace` where gradients are recorded.
 * @see Yang et al. 2024, arXiv 2406.06484 (DeltaNet) and arXiv 2412.06464 (Gated DeltaNet)
 */
export function deltaRule(inputs: DeltaRuleInputs, options: DeltaRuleOptions = {}): [Tensor, Tensor] {
  const { q, k, v, beta, g } = inputs;
  const { state = null, reset = null, chunkSize = 64, inPlace = false } = options;
  const [B, T, NH, DK, DV] = checkInputs(inputs);
  checkReset('deltaRule', reset, B, T);
  if (state !== null) checkShape('deltaRule: state', state.shape, [B, NH, DK, DV]);
  if (!(chunkSize >= 1)) throw new RangeError(`deltaRule: chunkSize must be at least 1, got ${chunkSize}`);
  const { device } = q;
  const recorded = isRecorded([q, k, v, beta, g, state]);
  if (recorded && inPlace)
    throw new Error('deltaRule: a state that gradients need cannot be overwritten; leave out inPlace');

  const o = Tensor.output(device, v.shape);
  const last = inPlace && state !== null ? state : Tensor.output(device, [B, NH, DK, DV]);
  const data = [q.buffer, k.buffer, v.buffer, beta.buffer, g?.buffer ?? null] as const;
  const before = [state?.buffer ?? null, reset?.buffer ?? null] as const;
  const sizes = [B, T, NH, DK, DV, chunkSize, options.scale ?? 1 / Math.sqrt(DK)] as const;
  device.kernels.deltaRuleForward(o.buffer, last.buffer, ...data, ...before, ...sizes);
  if (recorded) {
    record('deltaRule', [o, last], [], ([dout, dlast]) => {
      const [dq, dk, dv, dbeta, dg, dstate] = [q, k, v, beta, g, state].map((x) => (x?.requiresGrad ? x.grad : null));
      const gradients = [dq!, dk!, dv!, dbeta!, dg!, dstate!] as const;
      device.kernels.deltaRuleBackward(...gradients, dout ?? o.grad, dlast!, ...data, ...before, ...sizes);
    });
  }
  return [o, last];
}

/** Checks the inputs and reads B, T, NH, DK, DV from them. */
function checkInputs({ q, k, v, beta, g }: DeltaRuleInputs): [number, number, number, number, number] {
  if (q.shape.length !== 2 && q.shape.length !== 3) {
    throw new RangeError(`deltaRule: q must be [B,T,NH*DK] or, for one step, [B,NH*DK], got ${formatShape(q.shape)}`);
  }
  const lead = q.shape.slice(0, -1);
  const NH = beta.extent(-1);
  const [keys, values] = [q.extent(-1), v.extent(-1)];
  if (keys % NH !== 0 || values % NH !== 0) {
    throw new RangeError(
      `deltaRule: widths of q (${keys}) and v (${values}) must be multiples of the ${NH} heads of beta`,
    );
  }
  checkShape('deltaRule: k', k.shape, q.shape);
  checkShape('deltaRule: v', v.shape, [...lead, values]);
  checkShape('deltaRule: beta', beta.shape, [...lead, NH]);
  if (g !== null) checkShape('deltaRule: g', g.shape, beta.shape);
  return [lead[0]!, lead[1] ?? 1, NH, keys / NH, values / NH];
}
