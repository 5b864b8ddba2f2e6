/** @file Small helpers of the benches: timing, medians and tables. */
import { createCpuDevice } from '../src/device/cpu/cpu.js';

/** Seconds of one sample; the machine is shared, so that many short ones find a quiet moment sooner than a long one. */
const SAMPLE = 0.02;

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

/** Prints rows as aligned columns, the first to the left, the others to the right. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, k) => Math.max(title.length, ...rows.map((row) => row[k]!.length)));
  const line = (row: readonly string[]) =>
    `  ${row.map((cell, k) => (k === 0 ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!))).join('  ')}`;
  console.log([line(head), ...rows.map(line)].join('\n'));
}

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
