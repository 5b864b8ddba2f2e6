/**
 * @file Reference kernels of the LSTM over a sequence (arXiv 2405.04517 eq. 28-33), step by step.
 */
import type { Kernels } from '../kernels.js';
import { LSTM_SAVED } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';
import { sigmoid } from './functions.js';
import { GATES, gateBuffers, headState, Recurrence, RecurrenceGradient } from './recurrence.js';

export const lstm = {
  lstmForward(h, stateOut, saved, i, f, z, o, recurrent, bias, stateIn, reset, B, T, NH, DH) {
    const sizes = { B, T, NH, DH };
    const units = B * T * NH * DH;
    const [H, Sout, Saved] = [
      floats(h, units),
      optionalFloats(stateOut, 2 * B * NH * DH),
      optionalFloats(saved, LSTM_SAVED * units),
    ];
    const [I, F, Z, O] = gateBuffers([i, f, z, o], sizes) as [Float64Array, Float64Array, Float64Array, Float64Array];
    const recurrence = new Recurrence(recurrent, bias, sizes);
    const [Sin, R] = [optionalFloats(stateIn, 2 * B * NH * DH), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let k = 0; k < NH; k++) {
        const c = headState(Sin, 0, b, k, sizes, 0);
        let hPrev = headState(Sin, 1, b, k, sizes, 0);
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) {
            c.fill(0);
            hPrev = new Float64Array(DH);
          }
          const hNext = new Float64Array(DH);
          for (let j = 0; j < DH; j++) {
            const at = ((b * T + t) * NH + k) * DH + j;
            const iValue = sigmoid(I[at]! + recurrence.term(0, k, j, hPrev));
            const fValue = sigmoid(F[at]! + recurrence.term(1, k, j, hPrev));
            const zValue = Math.tanh(Z[at]! + recurrence.term(2, k, j, hPrev));
            const oValue = sigmoid(O[at]! + recurrence.term(3, k, j, hPrev));
            c[j] = fValue * c[j]! + iValue * zValue;
            hNext[j] = oValue * Math.tanh(c[j]!);
            H[at] = hNext[j]!;
            Saved?.set([iValue, fValue, zValue, oValue, c[j]!, Math.tanh(c[j]!)], at * LSTM_SAVED);
          }
          hPrev = hNext;
        }
        Sout?.set(c, (b * NH + k) * DH);
        Sout?.set(hPrev, ((B + b) * NH + k) * DH);
      }
    }
  },

  lstmBackward(
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
    const [DSin, DSout] = [optionalFloats(dstateIn, 2 * B * NH * DH), optionalFloats(dstateOut, 2 * B * NH * DH)];
    const [DH_, H, Saved] = [floats(dh, units), floats(h, units), floats(saved, LSTM_SAVED * units)];
    const recurrence = new Recurrence(recurrent, null, sizes);
    const [Sin, R] = [optionalFloats(stateIn, 2 * B * NH * DH), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let k = 0; k < NH; k++) {
        const initialC = headState(Sin, 0, b, k, sizes, 0);
        const initialH = headState(Sin, 1, b, k, sizes, 0);
        const carriedC = headState(DSout, 0, b, k, sizes, 0);
        let carriedH = headState(DSout, 1, b, k, sizes, 0);
        for (let t = T - 1; t >= 0; t--) {
          const isReset = Boolean(R?.[b * T + t]);
          const row = ((b * T + t) * NH + k) * DH;
          const rowBefore = ((b * T + t - 1) * NH + k) * DH;
          const hPrev = isReset ? new Float64Array(DH) : t > 0 ? H.slice(rowBefore, rowBefore + DH) : initialH;
          const dhPrev = new Float64Array(DH);
          for (let j = 0; j < DH; j++) {
            const [i, f, z, o, , tanhC] = Saved.subarray((row + j) * LSTM_SAVED) as unknown as [
              number,
              number,
              number,
              number,
              number,
              number,
            ];
            const cPrev = isReset ? 0 : t > 0 ? Saved[(rowBefore + j) * LSTM_SAVED + 4]! : initialC[j]!;
            const dhHere = DH_[row + j]! + carriedH[j]!;
            // h = o tanh(c)
            const dOutput = dhHere * tanhC;
            const dc = carriedC[j]! + dhHere * o * (1 - tanhC * tanhC);
            // c = f c' + i z
            carriedC[j] = dc * f;
            const dgate = [dc * z * i * (1 - i), dc * cPrev * f * (1 - f), dc * i * (1 - z * z), dOutput * o * (1 - o)];
            // gate g = input + bias + sum_i R[g,j,i] h'[i]
            for (let g = 0; g < GATES; g++) {
              dgates[g]![row + j]! += dgate[g]!;
              gradient.add(g, k, j, dgate[g]!, hPrev);
              recurrence.addToState(dhPrev, g, k, j, dgate[g]!);
            }
          }
          carriedH = dhPrev;
          if (isReset) [carriedC, carriedH].forEach((carried) => carried.fill(0));
        }
        [carriedC, carriedH].forEach((carried, s) => {
          for (let j = 0; j < DH; j++) if (DSin) DSin[((s * B + b) * NH + k) * DH + j]! += carried[j]!;
        });
      }
    }
  },
} satisfies Partial<Kernels>;
