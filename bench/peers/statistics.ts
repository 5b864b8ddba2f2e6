/** @file The arithmetic of a comparison: medians, paired ratios, agreement. It runs and prints nothing. */
import { median } from '../table.js';

export interface Timing {
  /** Median over the processes of each one's median call. */
  readonly median: number;
  /** The fastest call of all. */
  readonly best: number;
}

/** @param processes  seconds of the calls of each process, none of them empty */
export function timingOf(processes: readonly (readonly number[])[]): Timing {
  return { median: median(processes.map(median)), best: Math.min(...processes.flat()) };
}

/**
 * Share of the bandwidth at which calls that read or write `bytes` each did so: median over the processes of each one's
 * median.
 * @param bandwidth  bytes per second: one for all, or what was measured right before each call in `seconds`, since a
 *                   shared machine changes its speed within seconds
 */
export function bandwidthShare(
  bytes: number,
  seconds: readonly (readonly number[])[],
  bandwidth: number | readonly (readonly number[])[],
): number {
  const beside = (process: number, call: number): number =>
    typeof bandwidth === 'number' ? bandwidth : bandwidth[process]![call]!;
  return median(seconds.map((calls, process) => median(calls.map((taken, k) => bytes / taken / beside(process, k)))));
}

export interface Ratio {
  /** The peer's median over ours: above 1 we are faster. */
  readonly ofMedians: number;
  /** Smallest and largest of the ratios of processes that ran one after the other. */
  readonly range: readonly [number, number];
}

/** @throws RangeError when the two have not run equally often. */
export function ratioOf(ours: readonly (readonly number[])[], peer: readonly (readonly number[])[]): Ratio {
  if (ours.length !== peer.length || ours.length === 0) {
    throw new RangeError(
      `ratioOf: pairs are needed, got ${ours.length} processes of ours and ${peer.length} of the peer`,
    );
  }
  const pairs = ours.map((mine, round) => median(peer[round]!) / median(mine));
  return {
    ofMedians: timingOf(peer).median / timingOf(ours).median,
    range: [Math.min(...pairs), Math.max(...pairs)],
  };
}

type Outputs = Readonly<Record<string, readonly number[]>>;

/**
 * The largest RMS(difference) / RMS(expected) over the outputs.
 * @throws RangeError when an output is missing on one side, or the two are of different lengths.
 */
export function disagreement(expected: Outputs, found: Outputs): number {
  const names = new Set([...Object.keys(expected), ...Object.keys(found)]);
  return Math.max(
    0,
    ...[...names].map((name) => {
      const [right, values] = [expected[name], found[name]];
      if (right === undefined || values === undefined || right.length !== values.length) {
        throw new RangeError(
          `${name}: ${right?.length ?? 'no'} numbers of ours, ${values?.length ?? 'no'} of the peer`,
        );
      }
      const error = right.reduce((sum, x, k) => sum + (values[k]! - x) ** 2, 0);
      const size = right.reduce((sum, x) => sum + x ** 2, 0);
      const relative = error === 0 ? 0 : Math.sqrt(error / size);
      return Number.isNaN(relative) ? Infinity : relative;
    }),
  );
}
