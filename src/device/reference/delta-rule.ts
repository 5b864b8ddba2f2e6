/**
 * @file Reference kernels of the gated delta rule: its step form, walked over batches, heads and time. There is no chunk
 * here: `L` changes how other devices compute, not what.
 */
import type { DeviceBuffer, Kernels } from '../kernels.js';
import { addTo, floats, optionalFlags, optionalFloats } from './buffer.js';
import { addOuter, columnTimes, dotOf, rowTimes } from './matrix.js';

/** Inputs of one head at one step. */
interface Input {
  /** [DK] */
  readonly q: Float64Array;
  /** [DK] */
  readonly k: Float64Array;
  /** [DV] */
  readonly v: Float64Array;
  readonly beta: number;
  /** exp(g) */
  readonly decay: number;
}

/** One step: delta = v - decay S^T k, S' = decay S + beta k delta^T, which is the rule of the contract multiplied out. */
function step(S: Float64Array, { k, v, beta, decay }: Input): { delta: Float64Array; next: Float64Array } {
  const delta = rowTimes(k, S).map((memory, e) => v[e]! - decay * memory);
  const next = S.map((x) => decay * x);
  addOuter(next, k, delta, beta);
  return { delta, next };
}

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly DK: number;
  readonly DV: number;
}

function inputReader(
  q: DeviceBuffer,
  k: DeviceBuffer,
  v: DeviceBuffer,
  beta: DeviceBuffer,
  g: DeviceBuffer | null,
  sizes: Sizes,
) {
  const { B, T, NH, DK, DV } = sizes;
  const rows = B * T * NH;
  const [Q, K, V] = [floats(q, rows * DK), floats(k, rows * DK), floats(v, rows * DV)];
  const [Beta, G] = [floats(beta, rows), optionalFloats(g, rows)];
  return (row: number): Input => ({
    q: Q.slice(row * DK, (row + 1) * DK),
    k: K.slice(row * DK, (row + 1) * DK),
    v: V.slice(row * DV, (row + 1) * DV),
    beta: Beta[row]!,
    decay: Math.exp(G?.[row] ?? 0),
  });
}

export const deltaRule = {
  deltaRuleForward(o, stateOut, q, k, v, beta, g, stateIn, reset, B, T, NH, DK, DV, _L, scale) {
    const read = inputReader(q, k, v, beta, g, { B, T, NH, DK, DV });
    const [O, Sout] = [floats(o, B * T * NH * DV), optionalFloats(stateOut, B * NH * DK * DV)];
    const [Sin, R] = [optionalFloats(stateIn, B * NH * DK * DV), optionalFlags(reset, B * T)];
    for (let unit = 0; unit < B * NH; unit++) {
      const [b, head] = [Math.floor(unit / NH), unit % NH];
      let S: Float64Array = Sin?.slice(unit * DK * DV, (unit + 1) * DK * DV) ?? new Float64Array(DK * DV);
      for (let t = 0; t < T; t++) {
        if (R?.[b * T + t]) S = new Float64Array(DK * DV);
        const row = (b * T + t) * NH + head;
        const input = read(row);
        S = step(S, input).next;
        O.set(
          rowTimes(input.q, S).map((x) => scale * x),
          row * DV,
        );
      }
      Sout?.set(S, unit * DK * DV);
    }
  },

  deltaRuleBackward(
    dq,
    dk,
    dv,
    dbeta,
    dg,
    dstateIn,
    do_,
    dstateOut,
    q,
    k,
    v,
    beta,
    g,
    stateIn,
    reset,
    B,
    T,
    NH,
    DK,
    DV,
    _L,
    scale,
  ) {
    const rows = B * T * NH;
    const read = inputReader(q, k, v, beta, g, { B, T, NH, DK, DV });
    const [DQ, DKeys, DVal] = [
      optionalFloats(dq, rows * DK),
      optionalFloats(dk, rows * DK),
      optionalFloats(dv, rows * DV),
    ];
    const [DBeta, DG, DO] = [optionalFloats(dbeta, rows), optionalFloats(dg, rows), floats(do_, rows * DV)];
    const [DSin, DSout] = [optionalFloats(dstateIn, B * NH * DK * DV), optionalFloats(dstateOut, B * NH * DK * DV)];
    const [Sin, R] = [optionalFloats(stateIn, B * NH * DK * DV), optionalFlags(reset, B * T)];
    for (let unit = 0; unit < B * NH; unit++) {
      const [b, head] = [Math.floor(unit / NH), unit % NH];
      const range = [unit * DK * DV, (unit + 1) * DK * DV] as const;
      const rowOf = (t: number): number => (b * T + t) * NH + head;
      // The state before each step, a reset applied, and at the end the last one.
      const states: Float64Array[] = [Sin?.slice(...range) ?? new Float64Array(DK * DV)];
      for (let t = 0; t < T; t++) {
        if (R?.[b * T + t]) states[t] = new Float64Array(DK * DV);
        states.push(step(states[t]!, read(rowOf(t))).next);
      }
      let dS: Float64Array = DSout?.slice(...range) ?? new Float64Array(DK * DV);
      for (let t = T - 1; t >= 0; t--) {
        const row = rowOf(t);
        const input = read(row);
        const { delta, next } = step(states[t]!, input);
        // o = scale q^T S'
        const dout = DO.slice(row * DV, (row + 1) * DV).map((x) => scale * x);
        addTo(DQ, row, columnTimes(next, dout));
        addOuter(dS, input.q, dout, 1);
        // S' = decay S + beta k delta^T
        const dkOuter = columnTimes(dS, delta);
        const ddelta = rowTimes(input.k, dS).map((x) => input.beta * x);
        addTo(DBeta, row, [dotOf(input.k, dkOuter)]);
        // delta = v - decay S^T k
        addTo(DVal, row, ddelta);
        const dkMemory = columnTimes(states[t]!, ddelta);
        addTo(
          DKeys,
          row,
          dkOuter.map((x, d) => input.beta * x - input.decay * dkMemory[d]!),
        );
        const through = input.decay * (dotOf(dS, states[t]!) - dotOf(input.k, dkMemory));
        addTo(DG, row, [through]);
        dS = dS.map((x) => input.decay * x);
        addOuter(dS, input.k, ddelta, -input.decay);
        if (R?.[b * T + t]) dS = new Float64Array(DK * DV);
      }
      addTo(DSin, unit, dS);
    }
  },
} satisfies Partial<Kernels>;
