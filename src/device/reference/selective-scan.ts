/**
 * @file Reference kernels of the selective scan of Mamba (arXiv 2312.00752 algorithm 2), channel by channel and step by
 * step. The state of every step is kept here, which a real device must not do.
 */
import type { Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';

export const selectiveScan = {
  selectiveScanForward(y, stateOut, _saved, u, delta, A, Bm, C, skip, stateIn, reset, B, T, D, N) {
    const [Y, Sout] = [floats(y, B * T * D), optionalFloats(stateOut, B * D * N)];
    const [U, Delta, Rates] = [floats(u, B * T * D), floats(delta, B * T * D), floats(A, D * N)];
    const [In, Out, Skip] = [floats(Bm, B * T * N), floats(C, B * T * N), optionalFloats(skip, D)];
    const [Sin, R] = [optionalFloats(stateIn, B * D * N), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let d = 0; d < D; d++) {
        const h = Float64Array.from({ length: N }, (_, n) => Sin?.[(b * D + d) * N + n] ?? 0);
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) h.fill(0);
          const [at, row] = [(b * T + t) * D + d, (b * T + t) * N];
          let sum = (Skip?.[d] ?? 0) * U[at]!;
          for (let n = 0; n < N; n++) {
            h[n] = Math.exp(Delta[at]! * Rates[d * N + n]!) * h[n]! + Delta[at]! * In[row + n]! * U[at]!;
            sum += Out[row + n]! * h[n]!;
          }
          Y[at] = sum;
        }
        Sout?.set(h, (b * D + d) * N);
      }
    }
  },

  selectiveScanBackward(
    du,
    ddelta,
    dA,
    dBm,
    dC,
    dskip,
    dstateIn,
    dy,
    dstateOut,
    _saved,
    u,
    delta,
    A,
    Bm,
    C,
    skip,
    stateIn,
    reset,
    B,
    T,
    D,
    N,
  ) {
    const [DU, DDelta] = [floats(du, B * T * D), floats(ddelta, B * T * D)];
    const [DA, DIn, DOut] = [optionalFloats(dA, D * N), floats(dBm, B * T * N), floats(dC, B * T * N)];
    const [DSkip, DSin] = [optionalFloats(dskip, D), optionalFloats(dstateIn, B * D * N)];
    const [DY, DSout] = [floats(dy, B * T * D), optionalFloats(dstateOut, B * D * N)];
    const [U, Delta, Rates] = [floats(u, B * T * D), floats(delta, B * T * D), floats(A, D * N)];
    const [In, Out, Skip] = [floats(Bm, B * T * N), floats(C, B * T * N), optionalFloats(skip, D)];
    const [Sin, R] = [optionalFloats(stateIn, B * D * N), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let d = 0; d < D; d++) {
        // before[t] is the state that step t decays: zero where a document begins.
        const before = Array.from({ length: T + 1 }, () => new Float64Array(N));
        for (let n = 0; n < N; n++) before[0]![n] = Sin?.[(b * D + d) * N + n] ?? 0;
        const after = (t: number, n: number): number => {
          const at = (b * T + t) * D + d;
          const decayed = Math.exp(Delta[at]! * Rates[d * N + n]!) * before[t]![n]!;
          return decayed + Delta[at]! * In[(b * T + t) * N + n]! * U[at]!;
        };
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) before[t]!.fill(0);
          for (let n = 0; n < N; n++) before[t + 1]![n] = after(t, n);
        }
        const dh = Float64Array.from({ length: N }, (_, n) => DSout?.[(b * D + d) * N + n] ?? 0);
        for (let t = T - 1; t >= 0; t--) {
          const [at, row] = [(b * T + t) * D + d, (b * T + t) * N];
          // y = C . h + skip u
          DU[at]! += DY[at]! * (Skip?.[d] ?? 0);
          if (DSkip) DSkip[d]! += DY[at]! * U[at]!;
          for (let n = 0; n < N; n++) {
            const decay = Math.exp(Delta[at]! * Rates[d * N + n]!);
            DOut[row + n]! += DY[at]! * after(t, n);
            dh[n]! += DY[at]! * Out[row + n]!;
            // h = exp(delta A) h' + delta B u
            const dexponent = dh[n]! * decay * before[t]![n]!;
            DU[at]! += dh[n]! * Delta[at]! * In[row + n]!;
            DIn[row + n]! += dh[n]! * Delta[at]! * U[at]!;
            DDelta[at]! += dh[n]! * In[row + n]! * U[at]! + dexponent * Rates[d * N + n]!;
            if (DA) DA[d * N + n]! += dexponent * Delta[at]!;
            dh[n] = R?.[b * T + t] ? 0 : dh[n]! * decay;
          }
        }
        for (let n = 0; n < N; n++) if (DSin) DSin[(b * D + d) * N + n]! += dh[n]!;
      }
    }
  },
} satisfies Partial<Kernels>;
