/**
 * @file Reference kernels of gated linear attention: the step form, head by head. There is no chunk here: `L` changes how
 * other devices compute, not what. The normaliser is one more column: values end in a 1, the state [DK,W] in z.
 */
import type { DeviceBuffer } from '../kernels.js';
import { Decay, type Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';

type Opt = DeviceBuffer | null;

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly NG: number;
  readonly DK: number;
  readonly DV: number;
  /** Width of the values with the column of the normaliser. */
  readonly W: number;
}

/** Where what belongs to a head at a step lies. */
interface Place {
  /** Row of q and k. */
  readonly group: number;
  /** Row of v, o and the denominator. */
  readonly row: number;
  /** First element of its decay, and how many there are. */
  readonly decayAt: number;
  readonly decays: number;
}

interface Step extends Place {
  /** [DK], scaled */
  readonly q: Float64Array;
  /** [DK] */
  readonly k: Float64Array;
  /** [W] */
  readonly v: Float64Array;
  /** [DK], the factors of the state */
  readonly a: Float64Array;
}

function place({ T, NH, NG, DK }: Sizes, decay: Decay, b: number, t: number, head: number): Place {
  const row = (b * T + t) * NH + head;
  const isVector = decay === Decay.vector || decay === Decay.constantVector;
  const isConstant = decay === Decay.constantScalar || decay === Decay.constantVector;
  const decays = isVector ? DK : 1;
  const group = (b * T + t) * NG + Math.floor((head * NG) / NH);
  return { group, row, decayAt: (isConstant ? head : row) * decays, decays };
}

function decayLength({ B, T, NH, DK }: Sizes, decay: Decay): number {
  const isConstant = decay === Decay.constantScalar || decay === Decay.constantVector;
  const isVector = decay === Decay.vector || decay === Decay.constantVector;
  return (isConstant ? 1 : B * T) * NH * (isVector ? DK : 1);
}

/** Reads a step of a head, its query scaled. */
function stepReader(
  q: DeviceBuffer,
  k: DeviceBuffer,
  v: DeviceBuffer,
  logDecay: Opt,
  sizes: Sizes,
  scale: number,
  decay: Decay,
) {
  const { B, T, NH, NG, DK, DV, W } = sizes;
  const [Q, K, V] = [floats(q, B * T * NG * DK), floats(k, B * T * NG * DK), floats(v, B * T * NH * DV)];
  const A = optionalFloats(logDecay, decayLength(sizes, decay));
  return (b: number, t: number, head: number): Step => {
    const at = place(sizes, decay, b, t, head);
    const value = new Float64Array(W).fill(1);
    value.set(V.subarray(at.row * DV, (at.row + 1) * DV));
    return {
      ...at,
      q: Q.slice(at.group * DK, (at.group + 1) * DK).map((x) => scale * x),
      k: K.slice(at.group * DK, (at.group + 1) * DK),
      v: value,
      a: Float64Array.from({ length: DK }, (_, i) => (A ? Math.exp(A[at.decayAt + (at.decays === 1 ? 0 : i)]!) : 1)),
    };
  };
}

/** The state of head `at` out of [B,NH,DK,DV] and [B,NH,DK], as [DK,W]; what is absent is zero. */
function readState(S: Opt, z: Opt, at: number, { B, NH, DK, DV, W }: Sizes): Float64Array {
  const [Sdata, zdata] = [optionalFloats(S, B * NH * DK * DV), optionalFloats(z, B * NH * DK)];
  return Float64Array.from({ length: DK * W }, (_, e) => {
    const [i, j] = [Math.floor(e / W), e % W];
    return (j < DV ? Sdata?.[(at * DK + i) * DV + j] : zdata?.[at * DK + i]) ?? 0;
  });
}

/** Writes a state back, or with `add` adds it. */
function putState(S: Opt, z: Opt, at: number, state: Float64Array, { B, NH, DK, DV, W }: Sizes, add = false): void {
  const [Sdata, zdata] = [optionalFloats(S, B * NH * DK * DV), optionalFloats(z, B * NH * DK)];
  for (let i = 0; i < DK; i++) {
    for (let j = 0; j < W; j++) {
      const [data, e] = j < DV ? [Sdata, (at * DK + i) * DV + j] : [zdata, at * DK + i];
      if (data) data[e] = state[i * W + j]! + (add ? data[e]! : 0);
    }
  }
}

/** state + k v^T, each row of the state first multiplied by its factor. */
function advance(state: Float64Array, k: Float64Array, v: Float64Array, factors: Float64Array | null): Float64Array {
  const W = v.length;
  const next = new Float64Array(state.length);
  for (let i = 0; i < k.length; i++) {
    const factor = factors?.[i] ?? 1;
    for (let j = 0; j < W; j++) next[i * W + j] = factor * state[i * W + j]! + k[i]! * v[j]!;
  }
  return next;
}

/** x^T M for M [DK,W]. */
function fromLeft(x: Float64Array, M: Float64Array): Float64Array {
  const W = M.length / x.length;
  const y = new Float64Array(W);
  for (let i = 0; i < x.length; i++) for (let j = 0; j < W; j++) y[j]! += x[i]! * M[i * W + j]!;
  return y;
}

/** M y for M [DK,W]. */
function fromRight(M: Float64Array, y: Float64Array): Float64Array {
  const W = y.length;
  const x = new Float64Array(M.length / W);
  for (let i = 0; i < x.length; i++) for (let j = 0; j < W; j++) x[i]! += M[i * W + j]! * y[j]!;
  return x;
}

/** The first steps of the documents of row b, then T. */
const documents = (reset: Uint8Array | null, b: number, T: number): number[] => [
  ...Array.from({ length: T }, (_, t) => t).filter((t) => t === 0 || reset?.[b * T + t] === 1),
  T,
];

export const linearAttention = {
  linearAttentionForward(
    o,
    Sout,
    zout,
    denominator,
    q,
    k,
    v,
    logDecay,
    u,
    Sin,
    zin,
    reset,
    B,
    T,
    NH,
    NG,
    DK,
    DV,
    _L,
    scale,
    eps,
    decay,
    normalize,
    causal,
  ) {
    const sizes = { B, T, NH, NG, DK, DV, W: DV + (normalize ? 1 : 0) };
    const [O, Den] = [floats(o, B * T * NH * DV), optionalFloats(denominator, B * T * NH)];
    const [U, R] = [optionalFloats(u, NH * DK), optionalFlags(reset, B * T)];
    const read = stepReader(q, k, v, logDecay, sizes, scale, decay);
    const put = ({ q, row }: Step, seen: Float64Array): void => {
      const y = fromLeft(q, seen);
      const divisor = normalize ? y[DV]! + eps : 1;
      if (Den && normalize) Den[row] = divisor;
      for (let j = 0; j < DV; j++) O[row * DV + j] = y[j]! / divisor;
    };
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < NH; head++) {
        if (!causal) {
          const starts = documents(R, b, T);
          for (let d = 0; d + 1 < starts.length; d++) {
            const steps = stepsOf(starts[d]!, starts[d + 1]!, (t) => read(b, t, head));
            const sums = documentSums(steps, sizes);
            for (const step of steps) put(step, sums);
          }
          continue;
        }
        let state: Float64Array = readState(Sin, zin, b * NH + head, sizes);
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) state.fill(0);
          const step = read(b, t, head);
          const next = advance(state, step.k, step.v, step.a);
          put(step, U ? advance(state, bonusKey(U, head, step), step.v, null) : next);
          state = next;
        }
        putState(Sout, zout, b * NH + head, state, sizes);
      }
    }
  },

  linearAttentionBackward(
    dq,
    dk,
    dv,
    dlogDecay,
    du,
    dSin,
    dzin,
    do_,
    dSout,
    dzout,
    q,
    k,
    v,
    logDecay,
    u,
    Sin,
    zin,
    reset,
    o,
    denominator,
    B,
    T,
    NH,
    NG,
    DK,
    DV,
    _L,
    scale,
    _eps,
    decay,
    normalize,
    causal,
  ) {
    const sizes = { B, T, NH, NG, DK, DV, W: DV + (normalize ? 1 : 0) };
    const [O, DO] = [floats(o, B * T * NH * DV), floats(do_, B * T * NH * DV)];
    const Den = normalize ? floats(denominator!, B * T * NH) : null;
    const [U, R] = [optionalFloats(u, NH * DK), optionalFlags(reset, B * T)];
    const [DQ, DKeys] = [optionalFloats(dq, B * T * NG * DK), optionalFloats(dk, B * T * NG * DK)];
    const [DValues, DU] = [optionalFloats(dv, B * T * NH * DV), optionalFloats(du, NH * DK)];
    const DA = optionalFloats(dlogDecay, logDecay ? decayLength(sizes, decay) : 0);
    const read = stepReader(q, k, v, logDecay, sizes, scale, decay);

    /** The cotangent of the numerator and, behind it, of the denominator: o = numerator / denominator. */
    const cotangent = ({ row }: Step): Float64Array => {
      const g = new Float64Array(sizes.W);
      for (let j = 0; j < DV; j++) {
        g[j] = DO[row * DV + j]! / (Den?.[row] ?? 1);
        if (Den) g[DV]! -= g[j]! * O[row * DV + j]!;
      }
      return g;
    };
    const add = (to: Float64Array | null, at: number, values: Float64Array, factor = 1): void =>
      values.forEach((x, i) => to && (to[at + i]! += factor * x));
    const addValue = ({ row }: Step, gradient: Float64Array): void => add(DValues, row * DV, gradient.subarray(0, DV));

    for (let b = 0; b < B; b++) {
      for (let head = 0; head < NH; head++) {
        if (!causal) {
          const starts = documents(R, b, T);
          for (let d = 0; d + 1 < starts.length; d++) {
            const steps = stepsOf(starts[d]!, starts[d + 1]!, (t) => read(b, t, head));
            const sums = documentSums(steps, sizes);
            // y = q^T S with S = sum k v^T
            let dS: Float64Array = new Float64Array(sums.length);
            for (const step of steps) {
              const dy = cotangent(step);
              add(DQ, step.group * DK, fromRight(sums, dy), scale);
              dS = advance(dS, step.q, dy, null);
            }
            for (const step of steps) {
              add(DKeys, step.group * DK, fromRight(dS, step.v));
              addValue(step, fromLeft(step.k, dS));
            }
          }
          continue;
        }
        // The states before all steps again, this time kept.
        const before: Float64Array[] = [];
        let state: Float64Array = readState(Sin, zin, b * NH + head, sizes);
        for (let t = 0; t < T; t++) {
          before[t] = R?.[b * T + t] ? new Float64Array(state.length) : state;
          const { k: key, v: value, a } = read(b, t, head);
          state = advance(before[t]!, key, value, a);
        }
        let carried = readState(dSout, dzout, b * NH + head, sizes);
        for (let t = T - 1; t >= 0; t--) {
          const step = read(b, t, head);
          const [S, dy] = [before[t]!, cotangent(step)];
          const none = new Float64Array(S.length);
          // y = q^T M, M = S + (u k) v^T or the next state
          const dM = advance(none, step.q, dy, null);
          const bonus = U ? bonusKey(U, head, step) : null;
          const M = bonus ? advance(S, bonus, step.v, null) : advance(S, step.k, step.v, step.a);
          add(DQ, step.group * DK, fromRight(M, dy), scale);
          const dnext = bonus ? carried : carried.map((x, e) => x + dM[e]!);
          if (bonus) {
            const dbonus = fromRight(dM, step.v);
            add(
              DKeys,
              step.group * DK,
              dbonus.map((x, i) => x * U![head * DK + i]!),
            ); // bonus = u k
            add(
              DU,
              head * DK,
              dbonus.map((x, i) => x * step.k[i]!),
            );
            addValue(step, fromLeft(bonus, dM));
          }
          // next = a S + k v^T
          add(DKeys, step.group * DK, fromRight(dnext, step.v));
          addValue(step, fromLeft(step.k, dnext));
          const previous = new Float64Array(S.length);
          for (let e = 0, i = 0; e < S.length; i = Math.floor(++e / sizes.W)) {
            const through = step.a[i]! * dnext[e]!;
            if (DA) DA[step.decayAt + (step.decays === 1 ? 0 : i)]! += through * S[e]!;
            previous[e] = through + (bonus ? dM[e]! : 0);
          }
          carried = R?.[b * T + t] ? none : previous;
        }
        putState(dSin, dzin, b * NH + head, carried, sizes, true);
      }
    }
  },
} satisfies Partial<Kernels>;

const stepsOf = (from: number, to: number, read: (t: number) => Step): Step[] =>
  Array.from({ length: to - from }, (_, n) => read(from + n));

/** sum k v^T of some steps. */
const documentSums = (steps: readonly Step[], { DK, W }: Sizes): Float64Array =>
  steps.reduce<Float64Array>((sum, { k, v }) => advance(sum, k, v, null), new Float64Array(DK * W));

/** u k of a step. */
const bonusKey = (U: Float64Array, head: number, { k }: Step): Float64Array =>
  k.map((x, i) => x * U[head * k.length + i]!);
