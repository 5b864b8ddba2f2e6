/** @file One case of the bench of WebGPU: proves the contenders right, then times them in turns. */
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { disagreement } from '../peers/statistics.js';
import type { Case } from './cases.js';
import { prepare } from './contender.js';
import { contenderOn } from './ours.js';
import type { Bench, Outcome } from './page/page.js';

export interface Measured {
  readonly name: string;
  /** RMS(error) / RMS; null where it did not run. */
  readonly error: number | null;
  /** Why it was not timed; null where it was. */
  readonly failure: string | null;
  /** Seconds of a call, one for each round. */
  readonly seconds: readonly number[];
}

export interface MeasuredCase {
  readonly of: Case;
  /** Ours first. A contender that cannot do the case is not there. */
  readonly measured: readonly Measured[];
}

/** Most RMS(error) / RMS: of products in float32, and of losses after some steps. */
const TOLERANCE = 1e-5;

export interface Measuring {
  readonly rounds: number;
  /** Of the calls of a sample, about. */
  readonly seconds: number;
  readonly timeout: number;
  readonly onProgress: (what: string) => void;
}

export const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n').slice(0, 3).join(' ');

/** @throws Error when a promise takes longer. */
export async function within<T>(seconds: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${seconds} s`)), 1000 * seconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Losses of the reference device, which is float64 and sums as the formulas say. */
async function referenceLosses(of: Case): Promise<readonly number[]> {
  const prepared = (await prepare(contenderOn(createReferenceDevice()), of))!;
  return Array.from(await prepared.outputs());
}

/** @param names  ours first */
export async function measureCase(
  bench: Bench,
  of: Case,
  names: readonly string[],
  { rounds, seconds, timeout, onProgress }: Measuring,
): Promise<MeasuredCase> {
  const expected = of.kind === 'matmul' ? [] : await referenceLosses(of);
  const errorOf = (outcome: Outcome): number =>
    'error' in outcome ? outcome.error : disagreement({ losses: expected }, { losses: outcome.losses });
  const entries: { name: string; error: number | null; failure: string | null; calls: number; seconds: number[] }[] =
    [];
  for (const name of names) {
    onProgress(`${of.id}: checking ${name}`);
    const entry = { name, error: null as number | null, failure: null as string | null, calls: 1, seconds: [] };
    try {
      const outcome = await within(timeout, bench.prove(name, of));
      if (outcome === null) continue;
      entry.error = errorOf(outcome);
      if (!(entry.error <= TOLERANCE)) entry.failure = `its result is off by ${entry.error}`;
      // The first call compiles what outputs did not.
      await within(timeout, bench.time(name, 1));
      entry.calls = Math.max(1, Math.round(seconds / (await within(timeout, bench.time(name, 1)))));
    } catch (error) {
      entry.failure = messageOf(error);
    }
    entries.push(entry);
  }
  for (let round = 0; round < rounds; round++) {
    for (const entry of entries.filter(({ failure }) => failure === null)) {
      onProgress(`${of.id}: round ${round + 1} of ${rounds}, ${entry.name}, ${entry.calls} calls`);
      try {
        entry.seconds.push(await within(timeout, bench.time(entry.name, entry.calls)));
      } catch (error) {
        entry.failure = messageOf(error);
      }
    }
  }
  for (const { name } of entries) {
    // What was given up may not let go either.
    await within(timeout, bench.close(name)).catch((error: unknown) => onProgress(`${name}: ${messageOf(error)}`));
  }
  return { of, measured: entries };
}
