/**
 * @file Reference kernels of the sLSTM over a sequence (arXiv 2405.04517 eq. 8-17), stabilised, step by step.
 */
import type { Kernels } from '../kernels.js';
import { SLSTM_SAVED } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';
import { logSigmoid, sigmoid } from './functions.js';
import { GATES, gateBuffers, headState, Recurrence, RecurrenceGradient } from './recurrence.js';

/** The state of one unit. */
interface UnitState {
  readonly c: number;
  readonly n: number;
  readonly m: number;
}

/** c, n and m before the first step and after a reset; h is 0. */
const EMPTY: UnitState = { c: 0, n: 0, m: -Infinity };

/** What `slstmForward` keeps of a unit at a step: pre-activations of i and f, values of z and o, the new state. */
interface SavedUnit extends UnitState {
  readonly iPre: number;
  readonly fPre: number;
  readonly z: number;
  readonly o: number;
}

/** One step of one unit. `forget` = logsigmoid(f~) + m of the last step: what m becomes if the forget gate wins. */
function gates(iPre: number, fPre: number, mPrev: number): { i: number; f: number; m: number; inputWins: boolean } {
  const forget = logSigmoid(fPre) + mPrev;
  const m = Math.max(forget, iPre);
  return { i: Math.exp(iPre - m), f: Math.exp(forget - m), m, inputWins: iPre >= forget };
}

/** Cotangents that a unit hands to the step before. */
interface UnitGradient {
  c: number;
  n: number;
  m: number;
}

/** Gradients of the four pre-activations, in the order i f z o. */
type GateGradient = readonly [number, number, number, number];

/**
 * Backward of one step of one unit. `carried` holds the cotangents of c, n, m from later steps and becomes those of
 * the state before; `dh` is the whole cotangent of h.
 */
function unitBackward(unit: SavedUnit, previous: UnitState, dh: number, carried: UnitGradient): GateGradient {
  const { iPre, fPre, z, o, c, n } = unit;
  const { i, f, inputWins } = gates(iPre, fPre, previous.m);
  // h = o c / n
  const dOutput = (dh * c) / n;
  const dc = carried.c + (dh * o) / n;
  const dn = carried.n - (dh * o * c) / (n * n);
  // c = f c' + i z;  n = f n' + i
  const di = dc * z + dn;
  const df = dc * previous.c + dn * previous.n;
  const dz = dc * i;
  // i = exp(i~ - m);  f = exp(forget - m)
  let diPre = di * i;
  let dforget = df * f;
  const dm = carried.m - di * i - df * f;
  // m = max(forget, i~), a tie goes to i~
  if (inputWins) diPre += dm;
  else dforget += dm;
  // forget = logsigmoid(f~) + m'
  carried.c = dc * f;
  carried.n = dn * f;
  carried.m = dforget;
  return [diPre, dforget * sigmoid(-fPre), dz * (1 - z * z), dOutput * o * (1 - o)];
}

export const slstm = {
  slstmForward(h, stateOut, saved, i, f, z, o, recurrent, bias, stateIn, reset, B, T, NH, DH) {
    const sizes = { B, T, NH, DH };
    const units = B * T * NH * DH;
    const [H, Sout, Saved] = [
      floats(h, units),
      optionalFloats(stateOut, 4 * B * NH * DH),
      optionalFloats(saved, SLSTM_SAVED * units),
    ];
    const [I, F, Z, O] = gateBuffers([i, f, z, o], sizes) as [Float64Array, Float64Array, Float64Array, Float64Array];
    const recurrence = new Recurrence(recurrent, bias, sizes);
    const [Sin, R] = [optionalFloats(stateIn, 4 * B * NH * DH), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let k = 0; k < NH; k++) {
        const [c, n, m] = [
          headState(Sin, 0, b, k, sizes, EMPTY.c),
          headState(Sin, 1, b, k, sizes, EMPTY.n),
          headState(Sin, 2, b, k, sizes, EMPTY.m),
        ];
        let hPrev = headState(Sin, 3, b, k, sizes, 0);
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) {
            c.fill(EMPTY.c);
            n.fill(EMPTY.n);
            m.fill(EMPTY.m);
            hPrev = new Float64Array(DH);
          }
          const hNext = new Float64Array(DH);
          for (let j = 0; j < DH; j++) {
            const at = ((b * T + t) * NH + k) * DH + j;
            const iPre = I[at]! + recurrence.term(0, k, j, hPrev);
            const fPre = F[at]! + recurrence.term(1, k, j, hPrev);
            const zValue = Math.tanh(Z[at]! + recurrence.term(2, k, j, hPrev));
            const oValue = sigmoid(O[at]! + recurrence.term(3, k, j, hPrev));
            const gate = gates(iPre, fPre, m[j]!);
            c[j] = gate.f * c[j]! + gate.i * zValue;
            n[j] = gate.f * n[j]! + gate.i;
            m[j] = gate.m;
            hNext[j] = (oValue * c[j]!) / n[j]!;
            H[at] = hNext[j]!;
            Saved?.set([iPre, fPre, zValue, oValue, c[j]!, n[j]!, m[j]!], at * SLSTM_SAVED);
          }
          hPrev = hNext;
        }
        [c, n, m, hPrev].forEach((state, s) => Sout?.set(state, ((s * B + b) * NH + k) * DH));
      }
    }
  },

  slstmBackward(
    di,
    df,
    dz,
    do_,
    drecurrent,
    dbias,
    dstateIn,
    dh,
    dstateOut,
    h,
    saved,
    recurrent,
    stateIn,
    reset,
    B,
    T,
    NH,
    DH,
  ) {
    const sizes = { B, T, NH, DH };
    const units = B * T * NH * DH;
    const dgates = gateBuffers([di, df, dz, do_], sizes);
    const gradient = new RecurrenceGradient(drecurrent, dbias, sizes);
    const [DSin, DSout] = [optionalFloats(dstateIn, 4 * B * NH * DH), optionalFloats(dstateOut, 4 * B * NH * DH)];
    const [DH_, H, Saved] = [floats(dh, units), floats(h, units), floats(saved, SLSTM_SAVED * units)];
    const recurrence = new Recurrence(recurrent, null, sizes);
    const [Sin, R] = [optionalFloats(stateIn, 4 * B * NH * DH), optionalFlags(reset, B * T)];

    const savedUnit = (at: number): SavedUnit => {
      const [iPre, fPre, z, o, c, n, m] = Saved.subarray(at * SLSTM_SAVED) as unknown as number[];
      return { iPre: iPre!, fPre: fPre!, z: z!, o: o!, c: c!, n: n!, m: m! };
    };
    for (let b = 0; b < B; b++) {
      for (let k = 0; k < NH; k++) {
        const initial = [0, 1, 2, 3].map((s) => headState(Sin, s, b, k, sizes, s === 2 ? EMPTY.m : 0));
        const carriedC = headState(DSout, 0, b, k, sizes, 0);
        const carriedN = headState(DSout, 1, b, k, sizes, 0);
        const carriedM = headState(DSout, 2, b, k, sizes, 0);
        let carriedH = headState(DSout, 3, b, k, sizes, 0);
        for (let t = T - 1; t >= 0; t--) {
          const isReset = Boolean(R?.[b * T + t]);
          const row = ((b * T + t) * NH + k) * DH;
          const rowBefore = ((b * T + t - 1) * NH + k) * DH;
          const hPrev = isReset ? new Float64Array(DH) : t > 0 ? H.slice(rowBefore, rowBefore + DH) : initial[3]!;
          const dhPrev = new Float64Array(DH);
          for (let j = 0; j < DH; j++) {
            const previous = isReset
              ? EMPTY
              : t > 0
                ? savedUnit(rowBefore + j)
                : { c: initial[0]![j]!, n: initial[1]![j]!, m: initial[2]![j]! };
            const carried = { c: carriedC[j]!, n: carriedN[j]!, m: carriedM[j]! };
            const dgate = unitBackward(savedUnit(row + j), previous, DH_[row + j]! + carriedH[j]!, carried);
            [carriedC[j], carriedN[j], carriedM[j]] = [carried.c, carried.n, carried.m];
            // gate g = input + bias + sum_i R[g,j,i] h'[i]
            for (let g = 0; g < GATES; g++) {
              dgates[g]![row + j]! += dgate[g]!;
              gradient.add(g, k, j, dgate[g]!, hPrev);
              recurrence.addToState(dhPrev, g, k, j, dgate[g]!);
            }
          }
          carriedH = dhPrev;
          if (isReset) [carriedC, carriedN, carriedM, carriedH].forEach((carried) => carried.fill(0));
        }
        [carriedC, carriedN, carriedM, carriedH].forEach((carried, s) => {
          for (let j = 0; j < DH; j++) if (DSin) DSin[((s * B + b) * NH + k) * DH + j]! += carried[j]!;
        });
      }
    }
  },
} satisfies Partial<Kernels>;
