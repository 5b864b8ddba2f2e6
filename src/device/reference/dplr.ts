/**
 * @file Reference kernels of the matrix state with a diagonal decay and a rank one change (RWKV-7), step by step over
 * batches, heads and time.
 */
import type { DeviceBuffer, Kernels } from '../kernels.js';
import { addTo, floats, optionalFlags, optionalFloats } from './buffer.js';
import { addOuter, columnTimes, dotOf, matrixRow, rowTimes } from './matrix.js';

/** Inputs of one head at one step: vectors over DK, and v over DV. */
interface Input {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly a: Float64Array;
  readonly b: Float64Array;
  /** exp(g) */
  readonly decay: Float64Array;
}

/** One step: known = S^T b, S' = diag(decay) S + a known^T + k v^T. */
function step(S: Float64Array, { k, v, a, b, decay }: Input): { known: Float64Array; next: Float64Array } {
  const known = rowTimes(b, S);
  const next = scaleRows(S, decay);
  addOuter(next, a, known, 1);
  addOuter(next, k, v, 1);
  return { known, next };
}

/** factor[r] M[r,c] */
const scaleRows = (M: Float64Array, factor: Float64Array): Float64Array =>
  M.map((x, at) => factor[Math.floor(at / (M.length / factor.length))]! * x);

interface Sizes {
  readonly rows: number;
  readonly DK: number;
  readonly DV: number;
}

function inputReader(
  buffers: Readonly<Record<'q' | 'k' | 'v' | 'a' | 'b' | 'g', DeviceBuffer>>,
  { rows, DK, DV }: Sizes,
) {
  const { q, k, v, a, b, g } = buffers;
  const [Q, K, A, Bv, G] = [q, k, a, b, g].map((buffer) => floats(buffer, rows * DK));
  const V = floats(v, rows * DV);
  return (row: number): Input => {
    const vector = (data: Float64Array): Float64Array => data.slice(row * DK, (row + 1) * DK);
    const value = V.slice(row * DV, (row + 1) * DV);
    return { q: vector(Q!), k: vector(K!), v: value, a: vector(A!), b: vector(Bv!), decay: vector(G!).map(Math.exp) };
  };
}

export const dplr = {
  dplrForward(o, stateOut, q, k, v, a, b, g, stateIn, reset, B, T, NH, DK, DV) {
    const read = inputReader({ q, k, v, a, b, g }, { rows: B * T * NH, DK, DV });
    const [O, Sout] = [floats(o, B * T * NH * DV), optionalFloats(stateOut, B * NH * DK * DV)];
    const [Sin, R] = [optionalFloats(stateIn, B * NH * DK * DV), optionalFlags(reset, B * T)];
    for (let unit = 0; unit < B * NH; unit++) {
      const [sequence, head] = [Math.floor(unit / NH), unit % NH];
      let S: Float64Array = Sin?.slice(unit * DK * DV, (unit + 1) * DK * DV) ?? new Float64Array(DK * DV);
      for (let t = 0; t < T; t++) {
        if (R?.[sequence * T + t]) S = new Float64Array(DK * DV);
        const row = (sequence * T + t) * NH + head;
        const input = read(row);
        S = step(S, input).next;
        O.set(rowTimes(input.q, S), row * DV);
      }
      Sout?.set(S, unit * DK * DV);
    }
  },

  dplrBackward(dq, dk, dv, da, db, dg, dstateIn, do_, dstateOut, q, k, v, a, b, g, stateIn, reset, B, T, NH, DK, DV) {
    const rows = B * T * NH;
    const read = inputReader({ q, k, v, a, b, g }, { rows, DK, DV });
    const [DQ, DKeys, DA, DB, DG] = [dq, dk, da, db, dg].map((buffer) => optionalFloats(buffer, rows * DK));
    const [DVal, DO] = [optionalFloats(dv, rows * DV), floats(do_, rows * DV)];
    const [DSin, DSout] = [optionalFloats(dstateIn, B * NH * DK * DV), optionalFloats(dstateOut, B * NH * DK * DV)];
    const [Sin, R] = [optionalFloats(stateIn, B * NH * DK * DV), optionalFlags(reset, B * T)];
    for (let unit = 0; unit < B * NH; unit++) {
      const [sequence, head] = [Math.floor(unit / NH), unit % NH];
      const range = [unit * DK * DV, (unit + 1) * DK * DV] as const;
      const rowOf = (t: number): number => (sequence * T + t) * NH + head;
      // The state before each step, a reset applied, and at the end the last one.
      const states: Float64Array[] = [Sin?.slice(...range) ?? new Float64Array(DK * DV)];
      for (let t = 0; t < T; t++) {
        if (R?.[sequence * T + t]) states[t] = new Float64Array(DK * DV);
        states.push(step(states[t]!, read(rowOf(t))).next);
      }
      let dS: Float64Array = DSout?.slice(...range) ?? new Float64Array(DK * DV);
      for (let t = T - 1; t >= 0; t--) {
        const [row, before] = [rowOf(t), states[t]!];
        const input = read(row);
        const { known, next } = step(before, input);
        // o = S'^T q
        const dout = DO.slice(row * DV, (row + 1) * DV);
        addTo(DQ!, row, columnTimes(next, dout));
        addOuter(dS, input.q, dout, 1);
        // S' = diag(decay) S + a known^T + k v^T
        addTo(DKeys!, row, columnTimes(dS, input.v));
        addTo(DVal, row, rowTimes(input.k, dS));
        addTo(DA!, row, columnTimes(dS, known));
        const dknown = rowTimes(input.a, dS);
        addTo(
          DG!,
          row,
          input.decay.map((w, d) => w * dotOf(matrixRow(dS, d, DV), matrixRow(before, d, DV))),
        );
        // known = S^T b
        addTo(DB!, row, columnTimes(before, dknown));
        dS = scaleRows(dS, input.decay);
        addOuter(dS, input.b, dknown, 1);
        if (R?.[sequence * T + t]) dS = new Float64Array(DK * DV);
      }
      addTo(DSin, unit, dS);
    }
  },
} satisfies Partial<Kernels>;
