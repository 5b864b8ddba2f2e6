/** @file How the benches of the CPU device time a call. Medians and tables are in `table.ts`. */
import { createCpuDevice } from '../src/device/cpu/cpu.js';

/** Seconds of one sample; the machine is shared, so that many short ones find a quiet moment sooner than a long one. */
const SAMPLE = 0.02;

/** Seconds of a call, the best of `rounds` samples for each number of threads, interleaved. */
export function bestTimes(run: () => void, threads: readonly number[], rounds: number): number[] {
  const best = threads.map(() => Infinity);
  run();
  const start = performance.now();
  run();
  const calls = Math.max(1, Math.round((SAMPLE * 1e3) / (performance.now() - start)));
  for (let round = 0; round < rounds; round++) {
    threads.forEach((count, k) => {
      createCpuDevice({ threads: count });
      run();
      const begin = performance.now();
      for (let call = 0; call < calls; call++) run();
      best[k] = Math.min(best[k]!, (performance.now() - begin) / 1e3 / calls);
    });
  }
  return best;
}
