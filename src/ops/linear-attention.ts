/** @file Gated linear attention over a whole sequence; with T = 1 it is a step. The mixers around it are in `mixers/`. */
import { Decay } from '../device/kernels.js';
import { currentScope } from '../tensor/scope.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

/** The memory of the heads, and the sum of their keys where outputs are normalised. */
export interface LinearAttentionState {
  /** [B,NH,DK,DV] */
  readonly S: Tensor;
  /** [B,NH,DK] */
  readonly z?: Tensor;
}

export interface LinearAttentionInputs {
  /** [B,T,NG*DK]; heads are dealt out to the groups in order. */
  readonly q: Tensor;
  /** [B,T,NG*DK] */
  readonly k: Tensor;
  /** [B,T,NH*DV] */
  readonly v: Tensor;
  /**
   * Logarithm of what the memory keeps of itself at each step, at most 0: [B,T,NH] or, for each key channel, [B,T,NH*DK];
   * the same at all steps: [NH] or [NH,DK]. Absent: it keeps everything.
   */
  readonly logDecay?: Tensor | null;
  /** Bonus of the current step [NH,DK]: it is read beside the memory as it was before, as in RWKV-5 and RWKV-6. */
  readonly bonus?: Tensor | null;
}

export interface LinearAttentionOptions {
  readonly heads: number;
  /** Groups of queries and keys; divides `heads`. Default `heads`. */
  readonly groups?: number;
  /** Factor of the outputs. Default 1. */
  readonly scale?: number;
  /** Divide by q . z + eps. Default false. */
  readonly normalize?: boolean;
  /** Default 1e-6. */
  readonly eps?: number;
  /** False: every step reads the sums over its whole document; then without decay, bonus and state. Default true. */
  readonly causal?: boolean;
  /** Steps that a device may work on as one block; the result does not depend on it. Default 64. */
  readonly chunkSize?: number;
  readonly state?: LinearAttentionState | null;
  readonly reset?: Reset;
  /** Let the next state take the memory of `state`; not while gradients are recorded. Default false. */
  readonly inPlace?: boolean;
  /** False where nobody looks at the state after the last step: it is null then. Default true. */
  readonly wantState?: boolean;
}

type OutputState = LinearAttentionState | null;

/**
 * S_t = a_t S_{t-1} + k_t v_t^T, o_t = scale q_t^T S_t: linear attention (arXiv 2006.16236), with decay a that of RetNet
 * (2307.08621), Mamba-2 (2405.21060) and GLA (2312.06635), with bonus that of RWKV-5 and RWKV-6 (2404.05892).
 * @returns o [B,T,NH*DV] and the state after the last step; null without `causal` or `wantState`
 * @throws RangeError when the shapes or options do not fit. Error for `inPlace` while gradients are recorded.
 */
export function linearAttention(inputs: LinearAttentionInputs, options: LinearAttentionOptions): [Tensor, OutputState] {
  const { q, k, v, logDecay = null, bonus = null } = inputs;
  const { state = null, reset = null, normalize = false, causal = true, wantState = true } = options;
  const sizes = checkInputs(inputs, options);
  const { B, T, NH, NG, DK, DV, decay } = sizes;
  const { scale = 1, eps = 1e-6, chunkSize = 64 } = options;
  const [S0, z0] = [state?.S ?? null, (normalize ? state?.z : null) ?? null];
  const isTaped = isRecorded([q, k, v, logDecay, bonus, S0, z0]);
  if (options.inPlace && isTaped) {
    throw new Error('linearAttention: the state cannot be overwritten while gradients are recorded; leave out inPlace');
  }

  const { device } = q;
  const o = Tensor.output(device, v.shape);
  const denominator = normalize ? currentScope(device).alloc('float', B * T * NH) : null;
  const last = causal && wantState ? lastState(sizes, device, options) : null;
  const data = [q.buffer, k.buffer, v.buffer, logDecay?.buffer ?? null, bonus?.buffer ?? null] as const;
  const before = [S0?.buffer ?? null, z0?.buffer ?? null, reset?.buffer ?? null] as const;
  const numbers = [B, T, NH, NG, DK, DV, chunkSize, scale, eps, decay, normalize, causal] as const;
  const [S, z] = [last?.S.buffer ?? null, last?.z?.buffer ?? null];
  device.kernels.linearAttentionForward(o.buffer, S, z, denominator, ...data, ...before, ...numbers);

  if (isTaped) {
    const outputs = [o, ...(last === null ? [] : [last.S, ...(last.z ? [last.z] : [])])];
    const gradient = (x: Tensor | null) => (x?.requiresGrad ? x.grad : null);
    record('linearAttention', outputs, denominator === null ? [] : [denominator], ([dy, dS, dz]) =>
      device.kernels.linearAttentionBackward(
        gradient(q),
        gradient(k),
        gradient(v),
        gradient(logDecay),
        gradient(bonus),
        gradient(S0),
        gradient(z0),
        dy ?? o.grad,
        dS ?? null,
        dz ?? null,
        ...data,
        ...before,
        o.buffer,
        denominator,
        ...numbers,
      ),
    );
  }
  return [o, last];
}

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly NG: number;
  readonly DK: number;
  readonly DV: number;
  readonly decay: Decay;
}

function lastState(
  { B, NH, DK, DV }: Sizes,
  device: Tensor['device'],
  { inPlace = false, normalize = false, state = null }: LinearAttentionOptions,
): LinearAttentionState {
  if (inPlace && state !== null) return state;
  const S = Tensor.output(device, [B, NH, DK, DV]);
  return normalize ? { S, z: Tensor.output(device, [B, NH, DK]) } : { S };
}

function checkInputs(inputs: LinearAttentionInputs, options: LinearAttentionOptions): Sizes {
  const { q, k, v, logDecay = null, bonus = null } = inputs;
  const { heads: NH, groups: NG = NH, chunkSize = 64, state = null, reset = null } = options;
  if (q.shape.length !== 3) throw new RangeError(`linearAttention: q must be [B,T,NG*DK], got ${formatShape(q.shape)}`);
  const [B, T, keys] = q.shape as [number, number, number];
  const values = v.extent(-1);
  if (!(NH >= 1 && NG >= 1) || NH % NG !== 0 || keys % NG !== 0 || values % NH !== 0) {
    throw new RangeError(
      `linearAttention: groups must divide heads and the width of q, heads the width of v; got ${NG} groups, ${NH} ` +
        `heads, widths ${keys} and ${values}`,
    );
  }
  if (!(chunkSize >= 1)) throw new RangeError(`linearAttention: chunkSize must be at least 1, got ${chunkSize}`);
  const [DK, DV] = [keys / NG, values / NH];
  checkShape('linearAttention: k', k.shape, q.shape);
  checkShape('linearAttention: v', v.shape, [B, T, values]);
  if (bonus !== null) checkShape('linearAttention: bonus', bonus.shape, [NH, DK]);
  checkReset('linearAttention', reset, B, T);
  if (state !== null) {
    checkShape('linearAttention: state S', state.S.shape, [B, NH, DK, DV]);
    if (options.normalize) {
      if (!state.z) throw new RangeError('linearAttention: the state of a normalised attention needs z [B,NH,DK]');
      checkShape('linearAttention: state z', state.z.shape, [B, NH, DK]);
    }
  }
  if (options.causal === false && (logDecay !== null || bonus !== null || state !== null)) {
    throw new RangeError('linearAttention: without causal there must be no logDecay, no bonus and no state');
  }
  return { B, T, NH, NG, DK, DV, decay: logDecay === null ? Decay.scalar : decayOf(logDecay, B, T, NH, DK) };
}

/** Which kind of decay a shape is. With DK = 1 there is no difference between a head and its channel. */
function decayOf({ shape }: Tensor, B: number, T: number, NH: number, DK: number): Decay {
  const is = (...extents: number[]) =>
    shape.length === extents.length && shape.every((extent, axis) => extent === extents[axis]);
  if (is(B, T, NH)) return Decay.scalar;
  if (is(B, T, NH * DK)) return Decay.vector;
  if (is(NH)) return Decay.constantScalar;
  if (is(NH, DK)) return Decay.constantVector;
  throw new RangeError(
    `linearAttention: logDecay must be [${B},${T},${NH}], [${B},${T},${NH * DK}], [${NH}] or [${NH},${DK}], got ` +
      formatShape(shape),
  );
}
