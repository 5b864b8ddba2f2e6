/** @file How a process of ours takes its job, times its calls and answers; contenders/common.py is the same for peers. */
import { measurePeak } from '../../peak.js';
import type { Answer } from '../row.js';

/** What every job has; the fields of rows and contenders come on top. */
export interface Job {
  readonly threads: number;
  /** Whether outputs are to be made; otherwise calls are timed. */
  readonly check: boolean;
  /** Calls are timed for so long. */
  readonly seconds: number;
}

export const readJob = <Fields>(): Job & Fields => JSON.parse(process.argv[2]!) as Job & Fields;

/** Seconds of each call, of which there are `least` or more, after one that is not counted. */
export async function time({ seconds, check }: Job, call: () => unknown, least = 3): Promise<number[]> {
  if (check) return [];
  await call();
  const taken: number[] = [];
  const end = performance.now() + 1000 * seconds;
  while (taken.length < least || performance.now() < end) {
    const start = performance.now();
    await call();
    taken.push((performance.now() - start) / 1000);
  }
  return taken;
}

/** As `time`, where one call is too short for the clock: the mean of so many that they take 10 ms. */
export async function timeShort(job: Job, call: () => void): Promise<number[]> {
  if (job.check) return [];
  call();
  const start = performance.now();
  call();
  const calls = Math.max(1, Math.round(10 / (performance.now() - start)));
  const samples = await time(job, () => {
    for (let k = 0; k < calls; k++) call();
  });
  return samples.map((sample) => sample / calls);
}

/** A turn of calls takes so many seconds or one call, so that it and the reading before it see the same machine. */
const TURN = 0.05;

/** As `time`, in turns with a loop that reads memory, whose bytes per second are told for each call. */
export async function timeBesideReading(
  job: Job,
  call: () => unknown,
): Promise<{ seconds: number[]; bandwidth: number[] }> {
  const seconds: number[] = [];
  const bandwidth: number[] = [];
  if (job.check) return { seconds, bandwidth };
  for (let spent = 0, turns = 0; turns < 3 || spent < job.seconds; turns++) {
    const read = measurePeak(job.threads, 2 * TURN).bandwidth; // half of that time is multiply-adds
    for (const taken of await time({ ...job, seconds: TURN }, call, 1)) {
      seconds.push(taken);
      bandwidth.push(read);
      spent += taken;
    }
  }
  return { seconds, bandwidth };
}

export function answer(found: Omit<Answer, 'versions'>): void {
  process.stdout.write(`${JSON.stringify({ ...found, versions: { node: process.versions.node } })}\n`);
}
