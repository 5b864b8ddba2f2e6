/** @file How a process of ours takes its job, times its calls and answers; contenders/common.py is the same for peers. */
import type { Answer } from '../row.js';

/** What every job has; the fields of rows and contenders come on top. */
export interface Job {
  readonly threads: number;
  /** Whether outputs are to be made; otherwise calls are timed. */
  readonly check: boolean;
  /** Calls are timed for so long, and three times at least. */
  readonly seconds: number;
}

export const readJob = <Fields>(): Job & Fields => JSON.parse(process.argv[2]!) as Job & Fields;

/** Seconds of each call, after one that is not counted. */
export async function time({ seconds, check }: Job, call: () => unknown): Promise<number[]> {
  if (check) return [];
  await call();
  const taken: number[] = [];
  const end = performance.now() + 1000 * seconds;
  while (taken.length < 3 || performance.now() < end) {
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

export function answer(found: Omit<Answer, 'versions'>): void {
  process.stdout.write(`${JSON.stringify({ ...found, versions: { node: process.versions.node } })}\n`);
}
