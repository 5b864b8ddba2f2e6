/** @file One row at one number of threads: proves that the contenders agree, then times them in turns. */
import type { Peak } from '../peak.js';
import { median } from '../table.js';
import { formatThreads } from './lines.js';
import { runContender, type Places } from './process.js';
import type { Answer, Contender, Row, Prepared } from './row.js';
import { disagreement } from './statistics.js';

export interface Measuring {
  readonly places: Places;
  readonly rounds: number;
  readonly seconds: number;
  readonly timeout: number;
  /** Smaller inputs, where that changes no meaning. */
  readonly quick: boolean;
  /** Told what is being done. */
  readonly onProgress: (what: string) => void;
}

export interface Measured {
  readonly name: string;
  /** RMS(difference) / RMS(ours), the largest of the outputs; null where it did not run, and for ours. */
  readonly disagreement: number | null;
  readonly tolerance: number;
  /** Why it was not timed; null where it was. */
  readonly failure: string | null;
  readonly versions: Readonly<Record<string, string>>;
  /** Seconds of the calls, by case and process. */
  readonly seconds: Readonly<Record<string, readonly (readonly number[])[]>>;
  /** Bytes per second that memory was read at right before each of the calls, by process; of ours, where these wait for it. */
  readonly bandwidth?: readonly (readonly number[])[];
}

export interface MeasuredRow {
  readonly threads: number;
  readonly peak: Peak;
  readonly ours: Measured;
  readonly peers: readonly Measured[];
  readonly work: NonNullable<Answer['work']>;
}

const PEAK: Contender = { name: 'peak of the machine', needs: 'nothing', program: 'ours/peak.ts' };

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** @throws Error when our own contender fails. */
export async function measureRow(
  row: Row,
  prepared: Prepared,
  threads: number,
  { places, rounds, seconds, timeout, onProgress }: Measuring,
): Promise<MeasuredRow> {
  const run = async (contender: Contender, check: boolean): Promise<Answer> => {
    onProgress(`${row.id}, ${formatThreads(threads)}: ${check ? 'checking' : 'timing'} ${contender.name}`);
    const finished = await runContender(contender, { ...prepared, check, seconds }, { threads, places, timeout });
    const answer = finished.answer as Answer;
    if (check || row.wholeProcess !== true) return answer;
    return { ...answer, seconds: { '': [finished.seconds] } };
  };
  const peakOf = async (): Promise<Peak> => {
    return (await runContender(PEAK, {}, { threads, places, timeout })).answer as Peak;
  };

  const expected = await run(row.ours, true);
  const entries = [
    { contender: row.ours, answers: [expected], failure: null as string | null, found: null as number | null },
  ];
  for (const contender of row.peers.filter(({ threads: able }) => able?.includes(threads) ?? true)) {
    const entry = { contender, answers: [] as Answer[], failure: null as string | null, found: null as number | null };
    entries.push(entry);
    try {
      const answer = await run(contender, true);
      entry.answers.push(answer);
      entry.found = disagreement(expected.outputs, answer.outputs);
      if (entry.found > toleranceOf(row, contender)) entry.failure = 'it does not agree';
    } catch (error) {
      entry.failure = messageOf(error);
    }
  }

  const peaks = [await peakOf()];
  const timed = entries.filter(({ failure }) => failure === null).map((entry) => ({ entry, samples: [] as Answer[] }));
  for (let round = 0; round < rounds; round++) {
    for (const { entry, samples } of timed) {
      if (entry.failure !== null) continue;
      try {
        samples.push(await run(entry.contender, false));
      } catch (error) {
        if (entry.contender === row.ours) throw error;
        entry.failure = messageOf(error);
      }
    }
    peaks.push(await peakOf());
  }

  const measured = entries.map((entry): Measured => {
    const samples = entry.failure === null ? timed.find((one) => one.entry === entry)!.samples : [];
    return {
      name: entry.contender.name,
      disagreement: entry.found,
      tolerance: toleranceOf(row, entry.contender),
      failure: entry.failure,
      versions: entry.answers[0]?.versions ?? {},
      seconds: Object.fromEntries(
        Object.keys(samples[0]?.seconds ?? {}).map((name) => [name, samples.map(({ seconds }) => seconds[name]!)]),
      ),
      ...(samples[0]?.bandwidth !== undefined && { bandwidth: samples.map(({ bandwidth }) => bandwidth!) }),
    };
  });
  return {
    threads,
    peak: overall(peaks),
    ours: measured[0]!,
    peers: measured.slice(1),
    work: expected.work ?? {},
  };
}

/** The fastest multiply-adds; of the reading of memory the median. */
const overall = (peaks: readonly Peak[]): Peak => ({
  flops: Math.max(...peaks.map(({ flops }) => flops)),
  bandwidth: median(peaks.map(({ bandwidth }) => bandwidth)),
});

const toleranceOf = (row: Row, { tolerance }: Contender): number => tolerance ?? row.tolerance;
