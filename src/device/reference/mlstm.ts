/**
 * @file Reference kernels of the mLSTM: the step form of `mlstm-cell.ts`, walked over batches, heads and time. There is
 * no chunk here: `L` changes how other devices compute, not what.
 */
import type { DeviceBuffer, InputGate, Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';
import type { CellOptions, HeadInput, HeadState, HeadStateGradient, HeadStep } from './mlstm-cell.js';
import { emptyState, step, stepBackward } from './mlstm-cell.js';

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly DK: number;
  readonly DV: number;
}

type Opt = DeviceBuffer | null;

/** Reads the inputs of head k of sequence b at step t, the query scaled by 1/sqrt(DK). */
function inputReader(
  q: DeviceBuffer,
  k: DeviceBuffer,
  v: DeviceBuffer,
  i: DeviceBuffer,
  f: DeviceBuffer,
  sizes: Sizes,
) {
  const { B, T, NH, DK, DV } = sizes;
  const rows = B * T * NH;
  const [Q, K, V, I, F] = [
    floats(q, rows * DK),
    floats(k, rows * DK),
    floats(v, rows * DV),
    floats(i, rows),
    floats(f, rows),
  ];
  return (b: number, t: number, head: number): HeadInput => {
    const row = (b * T + t) * NH + head;
    return {
      q: Q.slice(row * DK, (row + 1) * DK).map((x) => x / Math.sqrt(DK)),
      k: K.slice(row * DK, (row + 1) * DK),
      v: V.slice(row * DV, (row + 1) * DV),
      iPre: I[row]!,
      fPre: F[row]!,
    };
  };
}

/** The state of a head out of buffers [B,NH,DK,DV], [B,NH,DK], [B,NH]; each absent one is empty. */
function initialState(
  C: Opt,
  n: Opt,
  m: Opt,
  { B, NH, DK, DV }: Sizes,
  b: number,
  head: number,
  gate: InputGate,
): HeadState {
  const empty = emptyState(DK, DV, gate);
  const at = b * NH + head;
  const [Cdata, ndata, mdata] = [
    optionalFloats(C, B * NH * DK * DV),
    optionalFloats(n, B * NH * DK),
    optionalFloats(m, B * NH),
  ];
  return {
    C: Cdata?.slice(at * DK * DV, (at + 1) * DK * DV) ?? empty.C,
    n: ndata?.slice(at * DK, (at + 1) * DK) ?? empty.n,
    m: mdata?.[at] ?? empty.m,
  };
}

/** Writes (or with `add`, adds) a head's state to the buffers that are wanted. */
function putState(
  C: Opt,
  n: Opt,
  m: Opt,
  state: HeadState,
  { B, NH, DK, DV }: Sizes,
  b: number,
  head: number,
  add = false,
): void {
  const at = b * NH + head;
  const put = (buffer: Opt, values: ArrayLike<number>, total: number): void => {
    const data = optionalFloats(buffer, total);
    const first = at * values.length;
    for (let e = 0; e < values.length; e++) if (data) data[first + e] = values[e]! + (add ? data[first + e]! : 0);
  };
  put(C, state.C, B * NH * DK * DV);
  put(n, state.n, B * NH * DK);
  put(m, [state.m], B * NH);
}

export const mlstm = {
  mlstmForward(
    h,
    m,
    denominator,
    Cout,
    nout,
    mout,
    q,
    k,
    v,
    i,
    f,
    Cin,
    nin,
    min,
    reset,
    B,
    T,
    NH,
    DK,
    DV,
    _L,
    eps,
    inputGate,
    normalize,
  ) {
    const sizes = { B, T, NH, DK, DV };
    const options = { eps, inputGate, normalize };
    const [H, M, Den] = [floats(h, B * T * NH * DV), floats(m, B * T * NH), floats(denominator, B * T * NH)];
    const read = inputReader(q, k, v, i, f, sizes);
    const R = optionalFlags(reset, B * T);
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < NH; head++) {
        let state = initialState(Cin, nin, min, sizes, b, head, inputGate);
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) state = emptyState(DK, DV, inputGate);
          const done = step(state, read(b, t, head), options);
          const row = (b * T + t) * NH + head;
          H.set(done.h, row * DV);
          M[row] = done.state.m;
          Den[row] = done.denominator;
          state = done.state;
        }
        putState(Cout, nout, mout, state, sizes, b, head);
      }
    }
  },

  mlstmBackward(
    dq,
    dk,
    dv,
    di,
    df,
    dCin,
    dnin,
    dmin,
    dh,
    dCout,
    dnout,
    dmout,
    q,
    k,
    v,
    i,
    f,
    Cin,
    nin,
    min,
    reset,
    _h,
    _m,
    _denominator,
    B,
    T,
    NH,
    DK,
    DV,
    _L,
    eps,
    inputGate,
    normalize,
  ) {
    const sizes = { B, T, NH, DK, DV };
    const options: CellOptions = { eps, inputGate, normalize };
    const rows = B * T * NH;
    const [DQ, DK_, DV_] = [floats(dq, rows * DK), floats(dk, rows * DK), floats(dv, rows * DV)];
    const [DI, DF, DH] = [floats(di, rows), floats(df, rows), floats(dh, rows * DV)];
    const read = inputReader(q, k, v, i, f, sizes);
    const R = optionalFlags(reset, B * T);
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < NH; head++) {
        // All steps again, this time kept.
        const before: HeadState[] = [];
        const steps: HeadStep[] = [];
        let state = initialState(Cin, nin, min, sizes, b, head, inputGate);
        for (let t = 0; t < T; t++) {
          before[t] = R?.[b * T + t] ? emptyState(DK, DV, inputGate) : state;
          steps[t] = step(before[t]!, read(b, t, head), options);
          state = steps[t]!.state;
        }
        const nothing = { C: new Float64Array(DK * DV), n: new Float64Array(DK), m: 0 };
        let carried: HeadStateGradient = lastCotangent(dCout, dnout, dmout, sizes, b, head);
        for (let t = T - 1; t >= 0; t--) {
          const row = (b * T + t) * NH + head;
          const dhHere = DH.slice(row * DV, (row + 1) * DV);
          const gradient = stepBackward(before[t]!, read(b, t, head), steps[t]!, dhHere, carried, options);
          // q^ = q / sqrt(DK)
          gradient.input.q.forEach((x, d) => (DQ[row * DK + d]! += x / Math.sqrt(DK)));
          gradient.input.k.forEach((x, d) => (DK_[row * DK + d]! += x));
          gradient.input.v.forEach((x, d) => (DV_[row * DV + d]! += x));
          DI[row]! += gradient.input.iPre;
          DF[row]! += gradient.input.fPre;
          carried = R?.[b * T + t] ? nothing : gradient.previous;
        }
        putState(dCin, dnin, dmin, carried, sizes, b, head, true);
      }
    }
  },

  mlstmStep(h, Cout, nout, mout, q, k, v, i, f, Cin, nin, min, B, NH, DK, DV, eps, inputGate, normalize) {
    const sizes = { B, T: 1, NH, DK, DV };
    const H = floats(h, B * NH * DV);
    const read = inputReader(q, k, v, i, f, sizes);
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < NH; head++) {
        const state = initialState(Cin, nin, min, sizes, b, head, inputGate);
        const done = step(state, read(b, 0, head), { eps, inputGate, normalize });
        H.set(done.h, (b * NH + head) * DV);
        putState(Cout, nout, mout, done.state, sizes, b, head);
      }
    }
  },
} satisfies Partial<Kernels>;

/** The cotangent of a head's last state; an absent one is zero. */
function lastCotangent(
  dC: Opt,
  dn: Opt,
  dm: Opt,
  { B, NH, DK, DV }: Sizes,
  b: number,
  head: number,
): HeadStateGradient {
  const at = b * NH + head;
  const slice = (buffer: Opt, width: number): Float64Array =>
    optionalFloats(buffer, B * NH * width)?.slice(at * width, (at + 1) * width) ?? new Float64Array(width);
  return { C: slice(dC, DK * DV), n: slice(dn, DK), m: slice(dm, 1)[0]! };
}
