/**
 * @file Softmax attention over the steps of a document, causal within a window or over all of it, and the ring of keys or
 * values that a causal one carries. Positions and their rotary embedding are in `positions.ts`.
 */
import type { DeviceBuffer } from '../device/kernels.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkPositions } from './positions.js';

export interface AttentionInputs {
  /** [B,T,NH*DK]; null, as k, where the logits are the bias alone. */
  readonly q: Tensor | null;
  /** [B,T,NKV*DK] */
  readonly k: Tensor | null;
  /** [B,T,NKV*DV] */
  readonly v: Tensor;
  /**
   * [NH,P,P]: added to the logit of head, position of the query, position of the key; [NH,1,P] for the same bias for all
   * queries; null for none.
   */
  readonly bias?: Tensor | null;
}

/** Keys and values of the last W positions before the call; position p lies in row p mod W. */
export interface AttentionCache {
  /** [B,W,NKV*DK]; null where there are no keys. */
  readonly k: Tensor | null;
  /** [B,W,NKV*DV] */
  readonly v: Tensor;
}

export interface AttentionOptions {
  /** Query heads NH. */
  readonly heads: number;
  /** Heads of keys and values NKV, a divisor of `heads`, which share them in groups; default as many. */
  readonly keyHeads?: number;
  /** A causal query sees this many positions W, its own included; default all of the document. */
  readonly window?: number;
  /** Default true; otherwise a step sees all steps of its document in this call. */
  readonly causal?: boolean;
  /** Factor of q . k; default 1/sqrt(DK). */
  readonly scale?: number;
  readonly cache?: AttentionCache | null;
}

/** Larger than every document. */
const NO_WINDOW = 2 ** 30;

const bufferOf = (x: Tensor | null): DeviceBuffer | null => x?.buffer ?? null;
const gradOf = (x: Tensor | null): DeviceBuffer | null => (x?.requiresGrad ? x.grad : null);

/**
 * softmax(scale q k^T + bias) v over the keys of the same document that each query sees; T x T is never in memory.
 * @param positions  int32 [B,T], of `positions()`
 * @returns          [B,T,NH*DV]
 * @throws RangeError when the shapes do not fit; the device reports a position beyond the bias.
 * @see Vaswani et al. 2017, arXiv 1706.03762 eq. 1; grouped heads: arXiv 2305.13245
 */
export function attention(inputs: AttentionInputs, positions: Tensor, options: AttentionOptions): Tensor {
  const { q, k, v, bias = null } = inputs;
  const { cache = null, causal = true } = options;
  const { B, T, NH, NKV, DK, DV } = checkInputs(inputs, options);
  checkPositions('attention', positions, B, T);
  const W = cache === null ? (options.window ?? NO_WINDOW) : cache.v.extent(1);
  if (!Number.isInteger(W) || W < 1) throw new RangeError(`attention: window must be at least 1, got ${W}`);
  if (cache !== null) checkCache(cache, options.window, [B, W, NKV * DK], [B, W, NKV * DV]);
  const [Q, P] = [bias?.extent(-2) ?? 0, bias?.extent(-1) ?? 0];
  const scale = options.scale ?? 1 / Math.sqrt(Math.max(DK, 1));

  const { device } = v;
  const y = Tensor.output(device, [B, T, NH * DV]);
  const lse = currentScope(device).alloc('float', B * T * NH * 2);
  const [ck, cv] = [cache?.k ?? null, cache?.v ?? null];
  const sizes = [B, T, NH, NKV, DK, DV, W, Q, P, scale, causal] as const;
  const operands = [
    bufferOf(q),
    bufferOf(k),
    v.buffer,
    bufferOf(bias),
    bufferOf(ck),
    bufferOf(cv),
    positions.buffer,
  ] as const;
  device.kernels.attentionForward(y.buffer, lse, ...operands, ...sizes);
  if (isRecorded([q, k, v, bias, ck, cv])) {
    record('attention', [y], [lse], ([dy]) => {
      const gradients = [gradOf(q), gradOf(k), gradOf(v), gradOf(bias), gradOf(ck), gradOf(cv)] as const;
      device.kernels.attentionBackward(...gradients, dy!, y.buffer, lse, ...operands, ...sizes);
    });
  } else {
    currentScope(device).release(lse);
  }
  return y;
}

/** Checks q, k, v and the bias, and reads the sizes from them. */
function checkInputs({ q, k, v, bias = null }: AttentionInputs, options: AttentionOptions) {
  const { heads: NH, keyHeads: NKV = NH } = options;
  if (v.shape.length !== 3) throw new RangeError(`attention: v must be [B,T,NKV*DV], got ${formatShape(v.shape)}`);
  const [B, T, values] = v.shape as [number, number, number];
  if ((q === null) !== (k === null) || (q === null && bias === null)) {
    throw new RangeError('attention: needs both q and k, or a bias and neither');
  }
  const keys = k?.extent(-1) ?? 0;
  if (NH < 1 || NKV < 1 || NH % NKV !== 0 || values % NKV !== 0 || keys % NKV !== 0) {
    throw new RangeError(
      `attention: key heads must divide heads and the widths of k and v, got ${NKV} for ${NH} heads, ${keys} and ${values}`,
    );
  }
  const [DK, DV] = [keys / NKV, values / NKV];
  if (q !== null) checkShape('attention: q', q.shape, [B, T, NH * DK]);
  if (k !== null) checkShape('attention: k', k.shape, [B, T, keys]);
  if (bias !== null) {
    const P = bias.extent(-1);
    checkShape('attention: bias', bias.shape, [NH, bias.extent(-2) === 1 ? 1 : P, P]);
  }
  return { B, T, NH, NKV, DK, DV };
}

function checkCache(
  cache: AttentionCache,
  window: number | undefined,
  keys: readonly number[],
  values: readonly number[],
): void {
  checkShape('attention: cache of v', cache.v.shape, values);
  if (cache.k !== null) checkShape('attention: cache of k', cache.k.shape, keys);
  if (window !== undefined && window !== values[1]) {
    throw new RangeError(`attention: the cache holds ${values[1]} positions, but the window is ${window}`);
  }
}

export interface AttentionCacheOptions {
  /** [B,W,R] before the call; null for none. */
  readonly cache?: Tensor | null;
  /** Number of positions W that it holds. */
  readonly window: number;
  /** Let the result take the memory of `cache`, which must then not be used otherwise. For inference. */
  readonly inPlace?: boolean;
}

/**
 * The cache of keys, or of values, after the last step: row p mod W holds position p of the last document, zeros where
 * it has none.
 * @param x  [B,T,R]
 * @returns  [B,W,R]
 * @throws RangeError when the shapes do not fit.
 */
export function attentionCache(x: Tensor, positions: Tensor, options: AttentionCacheOptions): Tensor {
  const { cache = null, window: W, inPlace = false } = options;
  if (x.shape.length !== 3) throw new RangeError(`attentionCache: x must be [B,T,R], got ${formatShape(x.shape)}`);
  const [B, T, R] = x.shape as [number, number, number];
  checkPositions('attentionCache', positions, B, T);
  if (cache !== null) checkShape('attentionCache: cache', cache.shape, [B, W, R]);
  const { device } = x;
  const recorded = isRecorded([x, cache]);
  const y = inPlace && cache !== null && !recorded ? cache : Tensor.output(device, [B, W, R]);
  device.kernels.attentionCache(y.buffer, cache?.buffer ?? null, x.buffer, positions.buffer, B, T, W, R);
  if (recorded) {
    record('attentionCache', [y], [], ([dy]) => {
      device.kernels.attentionCacheBackward(gradOf(x), gradOf(cache), dy!, positions.buffer, B, T, W, R);
    });
  }
  return y;
}
