/**
 * @file One head of an mLSTM over a text, in float64 on the host: its gates, its memory at any step, and what each read gave
 * back of each write. Everything comes from the inputs of the cell; the device is not asked again.
 */
import type { MlstmRecord } from '../../mixers/cell-record.js';
import { GateTrace } from './gates.js';

/** What goes into a head over T steps. */
export interface MlstmHeadData {
  /** [T,DK], already divided by sqrt(DK) */
  readonly q: Float64Array;
  /** [T,DK] */
  readonly k: Float64Array;
  /** [T,DV] */
  readonly v: Float64Array;
  /** [T] */
  readonly iPre: Float64Array;
  /** [T] */
  readonly fPre: Float64Array;
  /** [T,DV], as the device computed it */
  readonly h: Float64Array;
  /** C [DK,DV], n [DK] and m [1] before the first step; null at the start of a text. */
  readonly before: { readonly C: Float64Array; readonly n: Float64Array; readonly m: Float64Array } | null;
}

/**
 * The memory C_t = f' C + i' k v^T, n_t = f' n + i' k of a head (arXiv 2405.04517 eq. 19-27), unrolled over its writes:
 *
 *     C_t = sum over s <= t of weight(s,t) k_s v_s^T  (+ what is left of the state before)
 *     reads(t)[s] = weight(s,t) k_s . q^_t / denominator_t        h_t = sum over s <= t of reads(t)[s] v_s  (+ readBefore(t))
 *     denominator_t = max(|n_t . q^_t|, exp(-m_t)) + eps
 *
 * so `reads` is to a head what the weights of attention are, but signed and without a sum of 1.
 */
export class MlstmHeadTrace {
  readonly steps: number;
  readonly DK: number;
  readonly DV: number;
  /** One lane: arrays [T]. */
  readonly gates: GateTrace;
  /** What the result of each read is divided by [T]; ones where the model does not normalise. */
  readonly denominator: Float64Array;
  /** n after each step [T,DK]. */
  readonly n: Float64Array;
  /** What the cell gave, as the device computed it [T,DV]. */
  readonly h: Float64Array;
  readonly #data: MlstmHeadData;
  #norms: Float64Array | null = null;

  constructor(data: MlstmHeadData, { inputGate, normalize, eps }: MlstmRecord['options']) {
    const { q, k, v, iPre, before } = data;
    const T = iPre.length;
    const DK = k.length / T;
    this.#data = data;
    [this.steps, this.DK, this.DV, this.h] = [T, DK, v.length / T, data.h];
    const first = before === null ? [inputGate === 'exponential' ? -Infinity : 0] : before.m;
    this.gates = new GateTrace(iPre, data.fPre, first, inputGate);
    this.n = new Float64Array(T * DK);
    this.denominator = new Float64Array(T).fill(1);
    const n = before?.n.slice() ?? new Float64Array(DK);
    for (let t = 0; t < T; t++) {
      let qn = 0;
      for (let d = 0; d < DK; d++) {
        n[d] = this.gates.f[t]! * n[d]! + this.gates.i[t]! * k[t * DK + d]!;
        qn += n[d]! * q[t * DK + d]!;
      }
      this.n.set(n, t * DK);
      if (normalize) this.denominator[t] = Math.max(Math.abs(qn), Math.exp(-this.gates.m[t]!)) + eps;
    }
  }

  /** The key that step s wrote under [DK]. */
  key(s: number): Float64Array {
    return this.#data.k.subarray(s * this.DK, (s + 1) * this.DK);
  }

  /** The value that step s wrote [DV]. */
  value(s: number): Float64Array {
    return this.#data.v.subarray(s * this.DV, (s + 1) * this.DV);
  }

  /** C after step t [DK,DV]: t DK DV multiply-adds. */
  C(t: number): Float64Array {
    const C = new Float64Array(this.DK * this.DV);
    const { before } = this.#data;
    if (before !== null) addScaled(C, this.gates.weightBefore(t), before.C);
    for (let s = 0; s <= t; s++) this.#addWrite(C, s, this.gates.weight(s, t));
    return C;
  }

  /** Frobenius norm of C after each step [T]. */
  get memoryNorms(): Float64Array {
    if (this.#norms !== null) return this.#norms;
    const C = this.#data.before?.C.slice() ?? new Float64Array(this.DK * this.DV);
    this.#norms = Float64Array.from({ length: this.steps }, (_, t) => {
      const f = this.gates.f[t]!;
      for (let at = 0; at < C.length; at++) C[at]! *= f;
      this.#addWrite(C, t, this.gates.i[t]!);
      return norm(C);
    });
    return this.#norms;
  }

  /** Euclidean norm of n after each step [T]. */
  get normaliserNorms(): Float64Array {
    const { DK } = this;
    return Float64Array.from({ length: this.steps }, (_, t) => norm(this.n.subarray(t * DK, (t + 1) * DK)));
  }

  /** Norm of what each step added to the memory, i' |k| |v|, on the scale of the memory after it [T]. */
  get writeNorms(): Float64Array {
    return this.gates.i.map((i, s) => i * norm(this.key(s)) * norm(this.value(s)));
  }

  /** The weight with which the read at step t returned the value of each step s [T]; 0 for s > t. */
  reads(t: number): Float64Array {
    return Float64Array.from({ length: this.steps }, (_, s) => this.#read(s, t));
  }

  /** The weight with which the read at each later step t returned the value that step s wrote [T]; 0 for t < s. */
  readsOf(s: number): Float64Array {
    return Float64Array.from({ length: this.steps }, (_, t) => this.#read(s, t));
  }

  /** What the read at step t returned of the state before the first step [DV]. */
  readBefore(t: number): Float64Array {
    const y = new Float64Array(this.DV);
    const { q, before } = this.#data;
    const weight = this.gates.weightBefore(t) / this.denominator[t]!;
    if (before === null || weight === 0) return y;
    for (let d = 0; d < this.DK; d++) {
      addScaled(y, weight * q[t * this.DK + d]!, before.C.subarray(d * this.DV, (d + 1) * this.DV));
    }
    return y;
  }

  #read(s: number, t: number): number {
    const weight = this.gates.weight(s, t);
    if (weight === 0) return 0;
    const { q, k } = this.#data;
    let kq = 0;
    for (let d = 0; d < this.DK; d++) kq += k[s * this.DK + d]! * q[t * this.DK + d]!;
    return (weight * kq) / this.denominator[t]!;
  }

  /** C += weight k_s v_s^T */
  #addWrite(C: Float64Array, s: number, weight: number): void {
    if (weight === 0) return;
    const [key, value] = [this.key(s), this.value(s)];
    for (let d = 0; d < this.DK; d++) {
      addScaled(C.subarray(d * this.DV, (d + 1) * this.DV), weight * key[d]!, value);
    }
  }
}

/** y += a x */
function addScaled(y: Float64Array, a: number, x: Float64Array): void {
  for (let e = 0; e < y.length; e++) y[e]! += a * x[e]!;
}

function norm(x: Float64Array): number {
  let squares = 0;
  for (let e = 0; e < x.length; e++) squares += x[e]! * x[e]!;
  return Math.sqrt(squares);
}
