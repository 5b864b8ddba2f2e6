/**
 * @file One step of one mLSTM head, forward and backward, in float64: the definition of the mLSTM. The kernels that
 * walk it over batches, heads and time are in `mlstm.ts`.
 */
import { InputGate } from '../kernels.js';
import { logSigmoid, sigmoid } from './functions.js';

/** What a head carries from step to step. */
export interface HeadState {
  /** [DK,DV] */
  readonly C: Float64Array;
  /** [DK] */
  readonly n: Float64Array;
  readonly m: number;
}

/** Inputs of one head at one step. */
export interface HeadInput {
  /** [DK], already divided by sqrt(DK) */
  readonly q: Float64Array;
  /** [DK] */
  readonly k: Float64Array;
  /** [DV] */
  readonly v: Float64Array;
  readonly iPre: number;
  readonly fPre: number;
}

export interface CellOptions {
  readonly eps: number;
  readonly inputGate: InputGate;
  readonly normalize: boolean;
}

/** All that a step computes; its backward pass reads it. */
export interface HeadStep {
  readonly state: HeadState;
  /** h of this step, [DV] */
  readonly h: Float64Array;
  readonly denominator: number;
  /** The input and the forget gate as they act on C and n. */
  readonly i: number;
  readonly f: number;
  /** Which side made the maximum that is m; a tie goes to the input gate. */
  readonly inputWins: boolean;
  /** q . n */
  readonly qn: number;
}

/** Cotangents of the inputs of one head at one step. */
export interface HeadInputGradient {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly iPre: number;
  readonly fPre: number;
}

/** The state before the first step and after a reset. */
export function emptyState(DK: number, DV: number, inputGate: InputGate): HeadState {
  const m = inputGate === InputGate.exponential ? -Infinity : 0;
  return { C: new Float64Array(DK * DV), n: new Float64Array(DK), m };
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, j) => sum + x * b[j]!, 0);

/** out[e] = sum_d a[d] M[d,e] for M [DK,DV]. */
const rowTimes = (a: Float64Array, M: Float64Array, DV: number): Float64Array =>
  Float64Array.from({ length: DV }, (_, e) => a.reduce((sum, x, d) => sum + x * M[d * DV + e]!, 0));

/** out[d] = sum_e M[d,e] b[e] for M [DK,DV]. */
const timesColumn = (M: Float64Array, b: Float64Array, DK: number): Float64Array =>
  Float64Array.from({ length: DK }, (_, d) => b.reduce((sum, x, e) => sum + x * M[d * b.length + e]!, 0));

/** i, f and m of a step. With the sigmoid gate m is 0 throughout. */
function gates(iPre: number, fPre: number, mPrev: number, inputGate: InputGate) {
  if (inputGate === InputGate.sigmoid) return { i: sigmoid(iPre), f: sigmoid(fPre), m: 0, inputWins: false };
  const forget = logSigmoid(fPre) + mPrev;
  const m = Math.max(forget, iPre);
  return { i: Math.exp(iPre - m), f: Math.exp(forget - m), m, inputWins: iPre >= forget };
}

/** One step: m, then C = f C + i k v^T, n = f n + i k, h = q^T C / (max(|q . n|, exp(-m)) + eps). */
export function step(previous: HeadState, input: HeadInput, options: CellOptions): HeadStep {
  const { q, k, v } = input;
  const DV = v.length;
  const { i, f, m, inputWins } = gates(input.iPre, input.fPre, previous.m, options.inputGate);
  const C = previous.C.map((c, at) => f * c + i * k[Math.floor(at / DV)]! * v[at % DV]!);
  const n = previous.n.map((x, d) => f * x + i * k[d]!);
  const qn = dot(q, n);
  const denominator = options.normalize ? Math.max(Math.abs(qn), Math.exp(-m)) + options.eps : 1;
  const h = rowTimes(q, C, DV).map((numerator) => numerator / denominator);
  return { state: { C, n, m }, h, denominator, i, f, inputWins, qn };
}

/** Cotangents of a state: what later steps hand to the step before. */
export interface HeadStateGradient {
  readonly C: Float64Array;
  readonly n: Float64Array;
  readonly m: number;
}

/**
 * Cotangents of q . n and of m through the denominator, for cotangent `dh` of h = numerator / denominator.
 * A tie between |q . n| and exp(-m) goes to q . n.
 */
function denominatorBackward(done: HeadStep, dh: Float64Array, options: CellOptions): { dqn: number; dm: number } {
  if (!options.normalize) return { dqn: 0, dm: 0 };
  const { qn, state, h, denominator } = done;
  // h = numerator / denominator, so ddenominator = -(dh . h) / denominator
  const dhh = dot(dh, h);
  // denominator = max(|qn|, exp(-m)) + eps
  if (Math.abs(qn) >= Math.exp(-state.m)) return { dqn: (-dhh / denominator) * Math.sign(qn), dm: 0 };
  // dm = -exp(-m) ddenominator = (dh . h) exp(-m) / (exp(-m) + eps), written so that an infinite exp(-m) is no NaN.
  // With the sigmoid gate m is the constant 0 and this cotangent ends there.
  return { dqn: 0, dm: dhh / (1 + options.eps * Math.exp(state.m)) };
}

/**
 * Backward of `step`. `after` is the cotangent of the state that the step made.
 *
 * @returns the cotangents of the inputs and of the state before.
 */
export function stepBackward(
  previous: HeadState,
  input: HeadInput,
  done: HeadStep,
  dh: Float64Array,
  after: HeadStateGradient,
  options: CellOptions,
): { input: HeadInputGradient; previous: HeadStateGradient } {
  const { q, k, v, iPre, fPre } = input;
  const { state, denominator, i, f } = done;
  const [DK, DV] = [k.length, v.length];

  // h = q^T C / denominator;  qn = q . n
  const dnumerator = dh.map((x) => x / denominator);
  const through = denominatorBackward(done, dh, options);
  const dC = after.C.map((x, at) => x + q[Math.floor(at / DV)]! * dnumerator[at % DV]!);
  const dn = after.n.map((x, d) => x + through.dqn * q[d]!);
  const dq = timesColumn(state.C, dnumerator, DK).map((x, d) => x + through.dqn * state.n[d]!);

  // C = f C' + i k v^T;  n = f n' + i k
  const dCv = timesColumn(dC, v, DK);
  const di = dot(k, dCv) + dot(dn, k);
  const df = dot(dC, previous.C) + dot(dn, previous.n);
  const dk = dCv.map((x, d) => i * (x + dn[d]!));
  const dv = rowTimes(k, dC, DV).map((x) => i * x);
  const before = { C: dC.map((x) => f * x), n: dn.map((x) => f * x) };

  if (options.inputGate === InputGate.sigmoid) {
    // i = sigmoid(i~);  f = sigmoid(f~)
    const gradient = { q: dq, k: dk, v: dv, iPre: di * i * sigmoid(-iPre), fPre: df * f * sigmoid(-fPre) };
    return { input: gradient, previous: { ...before, m: 0 } };
  }
  // i = exp(i~ - m);  f = exp(forget - m)
  const dm = after.m + through.dm - di * i - df * f;
  // m = max(forget, i~);  forget = logsigmoid(f~) + m'
  const diPre = di * i + (done.inputWins ? dm : 0);
  const dforget = df * f + (done.inputWins ? 0 : dm);
  const gradient = { q: dq, k: dk, v: dv, iPre: diPre, fPre: dforget * sigmoid(-fPre) };
  return { input: gradient, previous: { ...before, m: dforget } };
}
