/**
 * @file Reference kernels of Linformer attention: keys and values of a document projected along its steps onto R rows,
 * over which every step attends.
 */
import type { Kernels } from '../kernels.js';
import { floats, ints, optionalFloats } from './buffer.js';

interface Sizes {
  readonly T: number;
  readonly NH: number;
  readonly R: number;
  readonly P: number;
}

/** body(first step, end) for the documents of a row. */
function forDocuments(positions: Int32Array, b: number, T: number, body: (from: number, to: number) => void): void {
  let from = 0;
  for (let t = 1; t <= T; t++) {
    if (t < T && positions[b * T + t] === positions[b * T + t - 1]! + 1) continue;
    body(from, t);
    from = t;
  }
}

/** The document's sum over steps of E[position,r] x[t,head,d]: [R,width]. */
function projected(
  { T, NH, R, P }: Sizes,
  E: Float64Array,
  x: Float64Array,
  positions: Int32Array,
  [b, head, from, to, width]: readonly [number, number, number, number, number],
): Float64Array {
  const sum = new Float64Array(R * width);
  for (let t = from; t < to; t++) {
    const position = positions[b * T + t]!;
    if (position >= P) throw new RangeError(`linformer: position ${position} lies outside of the ${P} of E`);
    for (let r = 0; r < R; r++) {
      const factor = E[position * R + r]!;
      for (let d = 0; d < width; d++) sum[r * width + d]! += factor * x[((b * T + t) * NH + head) * width + d]!;
    }
  }
  return sum;
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, e) => sum + x * b[e]!, 0);
const rowOf = (data: Float64Array, row: number, width: number): Float64Array =>
  data.subarray(row * width, (row + 1) * width);

/** softmax(scale q K'^T) for one query. */
function weightsOf(q: Float64Array, keys: Float64Array, R: number, DK: number, scale: number): Float64Array {
  const logits = Float64Array.from({ length: R }, (_, r) => scale * dot(q, rowOf(keys, r, DK)));
  const largest = Math.max(...logits);
  const terms = logits.map((x) => Math.exp(x - largest));
  const sum = terms.reduce((a, x) => a + x, 0);
  return terms.map((x) => x / sum);
}

/** to += factor * from */
function addScaled(to: Float64Array, factor: number, from: Float64Array): void {
  for (let e = 0; e < to.length; e++) to[e]! += factor * from[e]!;
}

export const linformer = {
  linformerForward(y, q, k, v, E, positions, B, T, NH, DK, DV, P, R, scale) {
    const [Y, Q, K] = [floats(y, B * T * NH * DV), floats(q, B * T * NH * DK), floats(k, B * T * NH * DK)];
    const [V, Rows, Positions] = [floats(v, B * T * NH * DV), floats(E, P * R), ints(positions, B * T)];
    const sizes = { T, NH, R, P };
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < NH && T > 0; head++) {
        forDocuments(Positions, b, T, (from, to) => {
          const keys = projected(sizes, Rows, K, Positions, [b, head, from, to, DK]);
          const values = projected(sizes, Rows, V, Positions, [b, head, from, to, DV]);
          for (let t = from; t < to; t++) {
            const row = (b * T + t) * NH + head;
            const weights = weightsOf(rowOf(Q, row, DK), keys, R, DK, scale);
            const out = rowOf(Y, row, DV).fill(0);
            for (let r = 0; r < R; r++) addScaled(out, weights[r]!, rowOf(values, r, DV));
          }
        });
      }
    }
  },

  linformerBackward(dq, dk, dv, dE, dy, q, k, v, E, positions, B, T, NH, DK, DV, P, R, scale) {
    const [DQ, DKeys] = [optionalFloats(dq, B * T * NH * DK), optionalFloats(dk, B * T * NH * DK)];
    const [DValues, DE] = [optionalFloats(dv, B * T * NH * DV), optionalFloats(dE, P * R)];
    const [DY, Q, K] = [floats(dy, B * T * NH * DV), floats(q, B * T * NH * DK), floats(k, B * T * NH * DK)];
    const [V, Rows, Positions] = [floats(v, B * T * NH * DV), floats(E, P * R), ints(positions, B * T)];
    const sizes = { T, NH, R, P };
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < NH && T > 0; head++) {
        forDocuments(Positions, b, T, (from, to) => {
          const keys = projected(sizes, Rows, K, Positions, [b, head, from, to, DK]);
          const values = projected(sizes, Rows, V, Positions, [b, head, from, to, DV]);
          const [dkeys, dvalues] = [new Float64Array(R * DK), new Float64Array(R * DV)];
          for (let t = from; t < to; t++) {
            const row = (b * T + t) * NH + head;
            const [query, dout] = [rowOf(Q, row, DK), rowOf(DY, row, DV)];
            const weights = weightsOf(query, keys, R, DK, scale);
            // y = sum_r p_r V'_r;  dlogit_r = p_r (dy . V'_r - sum_s p_s dy . V'_s)
            const dp = weights.map((_, r) => dot(dout, rowOf(values, r, DV)));
            const mean = dot(weights, dp);
            for (let r = 0; r < R; r++) {
              const dlogit = weights[r]! * (dp[r]! - mean);
              addScaled(rowOf(dvalues, r, DV), weights[r]!, dout);
              addScaled(rowOf(dkeys, r, DK), scale * dlogit, query);
              if (DQ) addScaled(rowOf(DQ, row, DK), scale * dlogit, rowOf(keys, r, DK));
            }
          }
          for (let t = from; t < to; t++) {
            const row = (b * T + t) * NH + head;
            for (let r = 0; r < R; r++) {
              // K'_r = sum_t E[t,r] k_t, and V' likewise
              const at = Positions[b * T + t]! * R + r;
              if (DKeys) addScaled(rowOf(DKeys, row, DK), Rows[at]!, rowOf(dkeys, r, DK));
              if (DValues) addScaled(rowOf(DValues, row, DV), Rows[at]!, rowOf(dvalues, r, DV));
              if (!DE) continue;
              DE[at]! += dot(rowOf(K, row, DK), rowOf(dkeys, r, DK)) + dot(rowOf(V, row, DV), rowOf(dvalues, r, DV));
            }
          }
        });
      }
    }
  },
} satisfies Partial<Kernels>;
