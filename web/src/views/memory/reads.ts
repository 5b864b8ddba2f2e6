/** @file Who read what of whom, out of the reads of a head [T,T]. */
import type { MlstmSeries, SlstmSeries } from '../../protocol-memory.js';
import { largest } from '../plots/numbers.js';

export interface Weights {
  /** [T]: before the token what its read returned of each; after it what each read returned of the token. */
  readonly weights: Float32Array;
  /** The largest size of a weight, the token's own left out. */
  readonly top: number;
}

export function weightsAround({ reads }: MlstmSeries | SlstmSeries, token: number): Weights {
  const T = Math.sqrt(reads.length);
  const weights = Float32Array.from({ length: T }, (_, other) =>
    other <= token ? reads[token * T + other]! : reads[other * T + token]!,
  );
  const others = weights.slice();
  others[token] = 0;
  return { weights, top: largest(others) };
}

export interface Read {
  readonly token: number;
  readonly weight: number;
}

/** The largest weights before, or after, a token, largest first. */
export function largestReads({ weights }: Weights, from: number, to: number, count: number): Read[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, k) => ({ token: from + k, weight: weights[from + k]! }))
    .filter(({ weight }) => weight !== 0)
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight))
    .slice(0, count);
}
