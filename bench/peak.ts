/** @file The limits that kernels are measured against: what this machine's cores can do at most. */
import { loadLibrary } from '../src/device/cpu/library.js';

export interface Peak {
  /** Float32 operations per second of multiply-adds in registers, one counting as two. */
  readonly flops: number;
  /** Bytes per second of reading a memory far larger than the caches. */
  readonly bandwidth: number;
}

/** Measures for `seconds`; `threads` of the pool, 0 for all. @throws Error if the pool has fewer. */
export function measurePeak(threads: number, seconds: number): Peak {
  const rates = new Float64Array(2);
  loadLibrary().call('xl_measure_peak', rates, threads, seconds);
  return { flops: rates[0]!, bandwidth: rates[1]! };
}

export const fasterOf = (a: Peak, b: Peak): Peak => ({
  flops: Math.max(a.flops, b.flops),
  bandwidth: Math.max(a.bandwidth, b.bandwidth),
});
