/**
 * @file Reference kernels of softmax attention: query by query over a list of the keys that it sees, and the ring of
 * keys or values that is carried on. It knows nothing of tiles.
 */
import type { DeviceBuffer, Kernels } from '../kernels.js';
import { floats, ints, optionalFloats } from './buffer.js';

/** A key that a query sees: its row in the call [B*T] or in the cache [B*W], and its position. */
interface SeenKey {
  readonly row: number;
  readonly cached: boolean;
  readonly position: number;
}

interface Reach {
  readonly positions: Int32Array;
  readonly T: number;
  readonly W: number;
  readonly causal: boolean;
  readonly hasCache: boolean;
}

/** The keys that query (b,t) sees, oldest first. */
function seenKeys({ positions, T, W, causal, hasCache }: Reach, b: number, t: number): SeenKey[] {
  const p = positions[b * T + t]!;
  const start = t - p; // where position 0 of the document lies; before this call if negative
  const seen: SeenKey[] = [];
  if (!causal) {
    for (let s = Math.max(start, 0); s < T && start === s - positions[b * T + s]!; s++) {
      seen.push({ row: b * T + s, cached: false, position: s - start });
    }
    return seen;
  }
  for (let position = Math.max(0, p - W + 1); position <= p; position++) {
    const s = start + position;
    if (s >= 0) seen.push({ row: b * T + s, cached: false, position });
    else if (hasCache) seen.push({ row: b * W + (position % W), cached: true, position });
  }
  return seen;
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, e) => sum + x * b[e]!, 0);

/** to += factor * from */
function addScaled(to: Float64Array | undefined, factor: number, from: Float64Array): void {
  if (to) for (let e = 0; e < to.length; e++) to[e]! += factor * from[e]!;
}

/** Rows of `width` numbers. */
const rowOf = (data: Float64Array, row: number, width: number): Float64Array =>
  data.subarray(row * width, (row + 1) * width);

/** Everything that query (b,t,head) meets, by name of the contract. */
interface Operands {
  readonly q: Float64Array | null;
  readonly k: Float64Array | null;
  readonly v: Float64Array;
  readonly bias: Float64Array | null;
  readonly kCache: Float64Array | null;
  readonly vCache: Float64Array | null;
}

interface Sizes {
  readonly NH: number;
  readonly NKV: number;
  readonly DK: number;
  readonly DV: number;
  readonly Q: number;
  readonly P: number;
  readonly scale: number;
}

/** The index of bias (head, query position, key position). */
function biasAt({ Q, P }: Sizes, head: number, query: number, key: number): number {
  if (query >= P || key >= P) {
    throw new RangeError(`attention: position ${Math.max(query, key)} lies outside of the ${P} positions of the bias`);
  }
  return (head * Q + (Q === 1 ? 0 : query)) * P + key;
}

/** Row of a key head in [rows,NKV,width]. */
const keyRow = ({ NH, NKV }: Sizes, key: SeenKey, head: number): number =>
  key.row * NKV + Math.floor(head / (NH / NKV));

function logit(of: Operands, sizes: Sizes, queryRow: number, head: number, query: number, key: SeenKey): number {
  const { DK, scale } = sizes;
  let sum = of.bias === null ? 0 : of.bias[biasAt(sizes, head, query, key.position)]!;
  if (of.q && of.k) {
    const keys = key.cached ? of.kCache! : of.k;
    sum += scale * dot(rowOf(of.q, queryRow, DK), rowOf(keys, keyRow(sizes, key, head), DK));
  }
  return sum;
}

const valueOf = (of: Operands, sizes: Sizes, key: SeenKey, head: number): Float64Array =>
  rowOf(key.cached ? of.vCache! : of.v, keyRow(sizes, key, head), sizes.DV);

/** body(b, t, head, row of the query) for all queries. */
function forQueries(
  [B, T, NH]: readonly [number, number, number],
  body: (b: number, t: number, head: number, row: number) => void,
): void {
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++) for (let head = 0; head < NH; head++) body(b, t, head, (b * T + t) * NH + head);
}

/** body(slot of the ring, row of the call) for the steps that stay in the ring, and whether what was there goes on. */
function forRing(
  positions: Int32Array,
  [b, T, W]: readonly [number, number, number],
  body: (slot: number, row: number) => void,
): { goesOn: boolean } {
  if (T === 0) return { goesOn: true };
  const start = T - 1 - positions[b * T + T - 1]!;
  for (let t = Math.max(0, start, T - W); t < T; t++) body(b * W + ((t - start) % W), b * T + t);
  return { goesOn: start < 0 };
}

export const attention = {
  attentionForward(y, lse, q, k, v, bias, kCache, vCache, positions, B, T, NH, NKV, DK, DV, W, Q, P, scale, causal) {
    const [Y, Lse, Positions] = [floats(y, B * T * NH * DV), floats(lse, B * T * NH * 2), ints(positions, B * T)];
    const sizes = { NH, NKV, DK, DV, Q, P, scale };
    const of = operands(q, k, v, bias, kCache, vCache, B, T, W, sizes);
    const reach = { positions: Positions, T, W, causal, hasCache: vCache !== null };
    forQueries([B, T, NH], (b, t, head, row) => {
      const keys = seenKeys(reach, b, t);
      const logits = keys.map((key) => logit(of, sizes, row, head, Positions[b * T + t]!, key));
      const largest = logits.reduce((a, x) => Math.max(a, x), -Infinity);
      const sum = logits.reduce((total, x) => total + Math.exp(x - largest), 0);
      const out = rowOf(Y, row, DV).fill(0);
      keys.forEach((key, e) => addScaled(out, Math.exp(logits[e]! - largest) / sum, valueOf(of, sizes, key, head)));
      Lse[2 * row] = largest;
      Lse[2 * row + 1] = Math.log(sum);
    });
  },

  attentionBackward(
    dq,
    dk,
    dv,
    dbias,
    dkCache,
    dvCache,
    dy,
    y,
    lse,
    q,
    k,
    v,
    bias,
    kCache,
    vCache,
    positions,
    B,
    T,
    NH,
    NKV,
    DK,
    DV,
    W,
    Q,
    P,
    scale,
    causal,
  ) {
    const [DQ, DK_] = [optionalFloats(dq, B * T * NH * DK), optionalFloats(dk, B * T * NKV * DK)];
    const [DV_, DBias] = [optionalFloats(dv, B * T * NKV * DV), optionalFloats(dbias, NH * Q * P)];
    const DKCache = optionalFloats(dkCache, B * W * NKV * DK);
    const DVCache = optionalFloats(dvCache, B * W * NKV * DV);
    const [DY, Y] = [floats(dy, B * T * NH * DV), floats(y, B * T * NH * DV)];
    const [Lse, Positions] = [floats(lse, B * T * NH * 2), ints(positions, B * T)];
    const sizes = { NH, NKV, DK, DV, Q, P, scale };
    const of = operands(q, k, v, bias, kCache, vCache, B, T, W, sizes);
    const reach = { positions: Positions, T, W, causal, hasCache: vCache !== null };
    forQueries([B, T, NH], (b, t, head, row) => {
      const [position, out] = [Positions[b * T + t]!, rowOf(DY, row, DV)];
      // With y = sum p_s v_s: dp_s = dy . v_s, and dlogit_s = p_s (dp_s - sum_r p_r dp_r) = p_s (dp_s - dy . y).
      const mean = dot(out, rowOf(Y, row, DV));
      for (const key of seenKeys(reach, b, t)) {
        const keyAt = keyRow(sizes, key, head);
        const p = Math.exp(logit(of, sizes, row, head, position, key) - Lse[2 * row]! - Lse[2 * row + 1]!);
        const dlogit = p * (dot(out, valueOf(of, sizes, key, head)) - mean);
        const [dkeys, dvalues] = key.cached ? [DKCache, DVCache] : [DK_, DV_];
        if (dvalues) addScaled(rowOf(dvalues, keyAt, DV), p, out);
        if (DBias) DBias[biasAt(sizes, head, position, key.position)]! += dlogit;
        if (!of.q || !of.k) continue;
        const keys = key.cached ? of.kCache! : of.k;
        if (DQ) addScaled(rowOf(DQ, row, DK), scale * dlogit, rowOf(keys, keyAt, DK));
        if (dkeys) addScaled(rowOf(dkeys, keyAt, DK), scale * dlogit, rowOf(of.q, row, DK));
      }
    });
  },

  attentionCache(kOut, kIn, k, positions, B, T, W, R) {
    const [Out, In] = [floats(kOut, B * W * R), optionalFloats(kIn, B * W * R)];
    const [K, Positions] = [floats(k, B * T * R), ints(positions, B * T)];
    for (let b = 0; b < B; b++) {
      const { goesOn } = forRing(Positions, [b, T, W], () => {});
      const ring = Out.subarray(b * W * R, (b + 1) * W * R);
      if (goesOn && In) ring.set(In.subarray(b * W * R, (b + 1) * W * R));
      else ring.fill(0);
      forRing(Positions, [b, T, W], (slot, row) => rowOf(Out, slot, R).set(rowOf(K, row, R)));
    }
  },

  attentionCacheBackward(dk, dkIn, dkOut, positions, B, T, W, R) {
    const [DK, DIn] = [optionalFloats(dk, B * T * R), optionalFloats(dkIn, B * W * R)];
    const [DOut, Positions] = [floats(dkOut, B * W * R), ints(positions, B * T)];
    for (let b = 0; b < B; b++) {
      const written = new Set<number>();
      const { goesOn } = forRing(Positions, [b, T, W], (slot, row) => {
        if (DK) addScaled(rowOf(DK, row, R), 1, rowOf(DOut, slot, R));
        written.add(slot);
      });
      for (let slot = b * W; slot < (b + 1) * W; slot++) {
        if (DIn && goesOn && !written.has(slot)) addScaled(rowOf(DIn, slot, R), 1, rowOf(DOut, slot, R));
      }
    }
  },
} satisfies Partial<Kernels>;

function operands(
  q: DeviceBuffer | null,
  k: DeviceBuffer | null,
  v: DeviceBuffer,
  bias: DeviceBuffer | null,
  kCache: DeviceBuffer | null,
  vCache: DeviceBuffer | null,
  B: number,
  T: number,
  W: number,
  { NH, NKV, DK, DV, Q, P }: Sizes,
): Operands {
  return {
    q: optionalFloats(q, B * T * NH * DK),
    k: optionalFloats(k, B * T * NKV * DK),
    v: floats(v, B * T * NKV * DV),
    bias: optionalFloats(bias, NH * Q * P),
    kCache: optionalFloats(kCache, B * W * NKV * DK),
    vCache: optionalFloats(vCache, B * W * NKV * DV),
  };
}
