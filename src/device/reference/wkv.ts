/**
 * @file Reference kernels of the wkv of RWKV-4 (arXiv 2305.13048 eq. 16 and its appendix on numerical stability),
 * channel by channel and step by step. A and B stand for the sums over what came before,
 *   A = sum_s e^(-(t-1-s) w + k_s) v_s,  B = sum_s e^(-(t-1-s) w + k_s),
 * which are held as a e^m and b e^m.
 */
import type { Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';

interface State {
  readonly a: number;
  readonly b: number;
  readonly m: number;
}

const EMPTY: State = { a: 0, b: 0, m: -Infinity };

/** The next sums: e^-w A + e^k v and e^-w B + e^k. */
function next({ a, b, m }: State, k: number, v: number, w: number): State {
  const max = Math.max(m - w, k);
  const [decay, weight] = [Math.exp(m - w - max), Math.exp(k - max)];
  return { a: decay * a + weight * v, b: decay * b + weight, m: max };
}

/** y = (A + e^(u+k) v) / (B + e^(u+k)), with numerator and denominator scaled by e^-max. */
function read({ a, b, m }: State, k: number, v: number, u: number) {
  const max = Math.max(m, u + k);
  const [past, weight] = [Math.exp(m - max), Math.exp(u + k - max)];
  const denominator = past * b + weight;
  return { y: (past * a + weight * v) / denominator, denominator, weight, max };
}

export const wkv = {
  wkvForward(y, stateOut, _saved, k, v, w, u, stateIn, reset, B, T, D) {
    const [Y, Sout] = [floats(y, B * T * D), optionalFloats(stateOut, 3 * B * D)];
    const [K, V, W, U] = [floats(k, B * T * D), floats(v, B * T * D), floats(w, D), floats(u, D)];
    const [Sin, R] = [optionalFloats(stateIn, 3 * B * D), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let d = 0; d < D; d++) {
        const [at, units] = [b * D + d, B * D];
        let state: State = Sin ? { a: Sin[at]!, b: Sin[units + at]!, m: Sin[2 * units + at]! } : EMPTY;
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) state = EMPTY;
          const row = (b * T + t) * D + d;
          Y[row] = read(state, K[row]!, V[row]!, U[d]!).y;
          state = next(state, K[row]!, V[row]!, W[d]!);
        }
        [state.a, state.b, state.m].forEach((value, s) => {
          if (Sout) Sout[s * units + at] = value;
        });
      }
    }
  },

  wkvBackward(dk, dv, dw, du, dstateIn, dy, dstateOut, _saved, k, v, w, u, stateIn, reset, B, T, D) {
    const [DK, DV] = [floats(dk, B * T * D), floats(dv, B * T * D)];
    const [DW, DU, DSin] = [optionalFloats(dw, D), optionalFloats(du, D), optionalFloats(dstateIn, 3 * B * D)];
    const [DY, DSout] = [floats(dy, B * T * D), optionalFloats(dstateOut, 3 * B * D)];
    const [K, V, W, U] = [floats(k, B * T * D), floats(v, B * T * D), floats(w, D), floats(u, D)];
    const [Sin, R] = [optionalFloats(stateIn, 3 * B * D), optionalFlags(reset, B * T)];
    for (let b = 0; b < B; b++) {
      for (let d = 0; d < D; d++) {
        const [at, units] = [b * D + d, B * D];
        let dwHere = 0;
        let duHere = 0;
        // states[t] is what step t reads: empty where a document begins.
        const states: State[] = [Sin ? { a: Sin[at]!, b: Sin[units + at]!, m: Sin[2 * units + at]! } : EMPTY];
        for (let t = 0; t < T; t++) {
          const row = (b * T + t) * D + d;
          if (R?.[b * T + t]) states[t] = EMPTY;
          states.push(next(states[t]!, K[row]!, V[row]!, W[d]!));
        }
        // Gradients of A and B after step t are dA e^q and dB e^q. The last state is a = A e^-m and b = B e^-m: m takes
        // part in y in no way, so its gradient is that of the last state alone, and goes where the maximum came from.
        const last = states[T]!;
        let [dA, dB, dm] = [DSout?.[at] ?? 0, DSout?.[units + at] ?? 0, DSout?.[2 * units + at] ?? 0];
        let q = DSout && last.m !== -Infinity ? -last.m : -Infinity;
        if (T > 0) dm -= dA * last.a + dB * last.b;
        for (let t = T - 1; t >= 0; t--) {
          const row = (b * T + t) * D + d;
          const { a, b: bHere, m } = states[t]!;
          const [kHere, vHere] = [K[row]!, V[row]!];
          // A' = e^-w A + e^k v;  B' = e^-w B + e^k
          const weight = Math.exp(kHere + q);
          DV[row]! += weight * dA;
          DK[row]! += weight * (dA * vHere + dB);
          dwHere -= Math.exp(m - W[d]! + q) * (dA * a + dB * bHere);
          // m' = max(m - w, k)
          if (kHere >= m - W[d]!) {
            DK[row]! += dm;
            dm = 0;
          } else dwHere -= dm;
          // y = (A + e^(u+k) v) / (B + e^(u+k))
          const out = read(states[t]!, kHere, vHere, U[d]!);
          const dnumerator = DY[row]! / out.denominator;
          DV[row]! += out.weight * dnumerator;
          const dbonus = out.weight * dnumerator * (vHere - out.y);
          DK[row]! += dbonus;
          duHere += dbonus;
          const qNext = Math.max(q - W[d]!, -out.max);
          const [later, here] = [Math.exp(q - W[d]! - qNext), Math.exp(-out.max - qNext)];
          dA = later * dA + here * dnumerator;
          dB = later * dB - here * dnumerator * out.y;
          q = qNext;
          if (R?.[b * T + t]) [dA, dB, dm, q] = [0, 0, 0, -Infinity];
        }
        if (DW) DW[d]! += dwHere;
        if (DU) DU[d]! += duHere;
        if (DSin) {
          const first = states[0]!;
          // Of no steps the gradients are those of a and b as they are.
          const scale = T === 0 ? 1 : Math.exp(q + first.m);
          DSin[at]! += scale * dA;
          DSin[units + at]! += scale * dB;
          DSin[2 * units + at]! += dm + (T === 0 ? 0 : scale * (first.a * dA + first.b * dB));
        }
      }
    }
  },
} satisfies Partial<Kernels>;
