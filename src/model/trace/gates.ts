/**
 * @file The input and forget gates of a cell over time, in float64 on the host: what they make of a write and for how long it
 * stands. mLSTM has one pair per head, sLSTM one per unit. It knows nothing of what is written.
 */
import { logSigmoid } from '../../device/reference/functions.js';
import type { MlstmOptions } from '../../ops/mlstm.js';

/** Steps after which a forget gate f, kept as it is, leaves half of what is stored: ln 2 / -ln f; infinite for f >= 1. */
export const halfLife = (logForget: number): number => (logForget < 0 ? Math.LN2 / -logForget : Infinity);

/**
 * Gates of T steps and `lanes` cells, every array [T,lanes]. With b the running sum of ln f and m the stabiliser
 * (arXiv 2405.04517 eq. 15-17, appendix A):
 *
 *     m_t = max(ln f_t + m', ln i_t)      i'_t = exp(ln i_t - m_t)      f'_t = exp(ln f_t + m' - m_t)
 *     weight(s,t) = exp(ln i_s + b_t - b_s - m_t)          what is left at t of a write at s, on the scale of the state at t
 *
 * With the sigmoid input gate m is 0 throughout.
 */
export class GateTrace {
  readonly lanes: number;
  /** Pre-activations i~ and f~. */
  readonly iPre: Float64Array;
  readonly fPre: Float64Array;
  /** ln of the gates themselves: i~, or logsig(i~) of a sigmoid gate; logsig(f~). */
  readonly logInput: Float64Array;
  readonly logForget: Float64Array;
  /** b: ln f summed from the first step on. */
  readonly logForgetSum: Float64Array;
  /** The gates as they act on the stabilised state: i' and f'. */
  readonly i: Float64Array;
  readonly f: Float64Array;
  /** The stabiliser. */
  readonly m: Float64Array;
  readonly #before: ArrayLike<number>;

  /** @param before  [lanes]: m before the first step */
  constructor(
    iPre: Float64Array,
    fPre: Float64Array,
    before: ArrayLike<number>,
    inputGate: NonNullable<MlstmOptions['inputGate']>,
  ) {
    const lanes = before.length;
    this.lanes = lanes;
    this.iPre = iPre;
    this.fPre = fPre;
    this.logInput = inputGate === 'exponential' ? iPre : iPre.map(logSigmoid);
    this.logForget = fPre.map(logSigmoid);
    this.logForgetSum = new Float64Array(iPre.length);
    [this.i, this.f, this.m] = [this.logForgetSum.slice(), this.logForgetSum.slice(), this.logForgetSum.slice()];
    this.#before = before;
    for (let at = 0; at < iPre.length; at++) {
      const [logI, logF] = [this.logInput[at]!, this.logForget[at]!];
      const mPrev = at < lanes ? before[at]! : this.m[at - lanes]!;
      const m = inputGate === 'exponential' ? Math.max(logF + mPrev, logI) : 0;
      this.logForgetSum[at] = logF + (at < lanes ? 0 : this.logForgetSum[at - lanes]!);
      this.i[at] = Math.exp(logI - m);
      this.f[at] = Math.exp(logF + mPrev - m);
      this.m[at] = m;
    }
  }

  /** Number of steps T. */
  get steps(): number {
    return this.iPre.length / this.lanes;
  }

  /** The forget gates themselves, between 0 and 1. */
  get forget(): Float64Array {
    return this.logForget.map(Math.exp);
  }

  /** Half-life in steps that the forget gate of each step implies. */
  get halfLives(): Float64Array {
    return this.logForget.map(halfLife);
  }

  /** What is left of the write at step s in the state after step t; 0 for s > t. */
  weight(s: number, t: number, lane = 0): number {
    if (s > t) return 0;
    const [from, to] = [s * this.lanes + lane, t * this.lanes + lane];
    return Math.exp(this.logInput[from]! + this.logForgetSum[to]! - this.logForgetSum[from]! - this.m[to]!);
  }

  /** The factor with which the state before the first step is part of the one after step t. */
  weightBefore(t: number, lane = 0): number {
    const to = t * this.lanes + lane;
    return Math.exp(this.#before[lane]! + this.logForgetSum[to]! - this.m[to]!);
  }
}
