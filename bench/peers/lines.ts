/** @file What was measured as lines of a table: one for each case, number of threads and peer. It prints nothing. */
import type { MeasuredRow } from './measure-row.js';
import { ODD_SHARE, type Row } from './row.js';
import { bandwidthShare, ratioOf, timingOf } from './statistics.js';

/** A row with what was measured of it, at each number of threads. */
export interface Result {
  readonly row: Pick<Row, 'id' | 'title' | 'targets' | 'bandwidth' | 'near'>;
  readonly measured: readonly MeasuredRow[];
  /** Why it could not be measured further: our own side failed, or its weights could not be written. */
  readonly failure?: string;
}

export const HEAD = [
  'case',
  'threads',
  'ours',
  'best',
  'of FLOP/s',
  'of bandwidth',
  'peer',
  'its time',
  'best',
  'ratio',
  'range',
  'target',
  'agree to',
] as const;

/** Seconds, in the unit that suits them. */
export function formatSeconds(seconds: number): string {
  if (seconds >= 1) return `${seconds.toPrecision(3)} s`;
  return seconds >= 1e-3 ? `${(1e3 * seconds).toPrecision(3)} ms` : `${(1e6 * seconds).toPrecision(3)} us`;
}

export const formatThreads = (threads: number): string => `${threads} ${threads === 1 ? 'thread' : 'threads'}`;

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

/** The ratio that is asked for, or null. */
function targetOf({ targets }: Result['row'], peer: string, name: string, threads: number): number | null {
  const target = targets.find(
    (one) => peer.startsWith(one.peer ?? '') && name.startsWith(one.case ?? '') && (one.threads ?? threads) === threads,
  );
  return target?.ratio ?? null;
}

/** The cells of a row, one line for each case, number of threads and peer. */
export function linesOf({ row, measured }: Result): string[][] {
  return measured.flatMap(({ threads, peak, ours, peers, work }) =>
    Object.entries(ours.seconds).flatMap(([name, mine]) => {
      const own = timingOf(mine);
      const { flops, bytes } = work[name] ?? {};
      const share = bytes === undefined ? '' : percent(bandwidthShare(bytes, mine, ours.bandwidth ?? peak.bandwidth));
      const first = [
        name,
        String(threads),
        formatSeconds(own.median),
        formatSeconds(own.best),
        flops === undefined ? '' : percent(flops / own.median / peak.flops),
        row.bandwidth === undefined ? share : `${share} (${percent(row.bandwidth)})`,
      ];
      const others = peers.map((peer) => {
        const agree =
          peer.disagreement === null
            ? ''
            : `${peer.disagreement.toExponential(1)} (${peer.tolerance.toExponential(0)})`;
        const seconds = peer.seconds[name];
        if (peer.failure !== null || seconds === undefined) return [peer.name, 'not timed', '', '', '', '', agree];
        const timing = timingOf(seconds);
        const { ofMedians, range } = ratioOf(mine, seconds);
        const target = targetOf(row, peer.name, name, threads);
        return [
          peer.name,
          formatSeconds(timing.median),
          formatSeconds(timing.best),
          ofMedians.toFixed(2),
          range.map((ratio) => ratio.toFixed(2)).join(' - '),
          target === null ? '' : String(target),
          agree,
        ];
      });
      const lines = others.length === 0 ? [['', '', '', '', '', '', '']] : others;
      return lines.map((line, k) => [...(k === 0 ? first : first.map(() => '')), ...line]);
    }),
  );
}

/** Operations per second of ours, at each number of threads. */
function ratesOf({ measured }: Result): Map<number, number> {
  return new Map(
    measured.flatMap(({ threads, ours, work }) => {
      const [name, mine] = Object.entries(ours.seconds)[0] ?? [];
      const flops = work[name ?? '']?.flops;
      return mine === undefined || flops === undefined ? [] : [[threads, flops / timingOf(mine).median] as const];
    }),
  );
}

/** How a row of odd sizes does beside its neighbour; empty where one of the two was not measured. */
export function oddLines(results: readonly Result[]): string[][] {
  return results.flatMap((result) => {
    const near = results.find(({ row }) => row.id === result.row.near);
    if (near === undefined) return [];
    const rates = ratesOf(near);
    return [...ratesOf(result)].flatMap(([threads, rate]) => {
      const other = rates.get(threads);
      if (other === undefined) return [];
      const names = [result.row.id, near.row.id, String(threads)];
      return [
        [...names, (rate / 1e9).toFixed(1), (other / 1e9).toFixed(1), (rate / other).toFixed(2), String(ODD_SHARE)],
      ];
    });
  });
}

export const ODD_HEAD = ['row', 'beside', 'threads', 'GFLOP/s', 'its GFLOP/s', 'share', 'asked'] as const;

/** What went wrong, a sentence each. */
export const failuresOf = ({ row, measured, failure }: Result): string[] => [
  ...(failure === undefined ? [] : [`${row.id}: ${failure}`]),
  ...measured.flatMap(({ threads, peers }) =>
    peers.flatMap((peer) =>
      peer.failure === null ? [] : [`${row.id} with ${formatThreads(threads)}, ${peer.name}: ${peer.failure}`],
    ),
  ),
];
