/**
 * @file Carries out the runs of a plan, some at a time, and keeps each result the moment it is there: whatever ends the
 * process, what is finished stays finished and what is not begins anew. How one run is carried out is handed in.
 */
import fs from 'node:fs';
import path from 'node:path';
import { cleanLeftovers, explainWriteFailure, makeFolder, removeQuietly, WriteError } from '../model/disk.js';
import { comparePaths, makeRunFolder, readRunResult, writeResultsTable, writeRunResult } from './compare-folder.js';
import { lockFolder } from './folder-lock.js';
import { failedResult, type RunResult, type RunSpec, type TaskProgress, type TrainTask } from './run-spec.js';

export type RunEvent =
  | { readonly kind: 'start'; readonly spec: RunSpec }
  | { readonly kind: 'progress'; readonly spec: RunSpec; readonly progress: TaskProgress }
  | { readonly kind: 'end'; readonly spec: RunSpec; readonly result: RunResult };

export interface RunnerOptions {
  /** Runs at the same time. */
  readonly jobs: number;
  readonly execute: TrainTask;
  /** Which runs of the plan to carry out; the table holds all that are finished. Default: all. */
  readonly only?: (spec: RunSpec) => boolean;
  /** Do failed runs again. Default false: what failed once fails again, mostly. */
  readonly retryFailed?: boolean;
  /** Stops: runs in progress are given up, and begin anew the next time. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: RunEvent) => void;
  /** Called when the folder is there and no other process works in it. */
  readonly onLocked?: () => void;
}

export interface RunnerSummary {
  /** Results of all finished runs of the plan, by the names of the runs; failed ones too. */
  readonly results: ReadonlyMap<string, RunResult>;
  /** Runs that were carried out now. */
  readonly carriedOut: number;
  /** Runs that were finished before. */
  readonly before: number;
  /** Chosen runs that are not finished: the signal came. */
  readonly left: number;
}

/**
 * Carries out what is not finished of a plan.
 * @throws Error when another process works in the folder, WriteError when the disk refuses; finished runs stand.
 */
export async function carryOut(
  folder: string,
  plan: readonly RunSpec[],
  options: RunnerOptions,
): Promise<RunnerSummary> {
  try {
    makeFolder(comparePaths(folder).runs);
  } catch (error) {
    throw explainWriteFailure(error, 'the comparison', folder, undefined, 'nothing was begun');
  }
  const lock = lockFolder(folder, 'this comparison');
  try {
    options.onLocked?.();
    return await carryOutLocked(folder, plan, options);
  } finally {
    lock[Symbol.dispose]();
  }
}

async function carryOutLocked(
  folder: string,
  plan: readonly RunSpec[],
  options: RunnerOptions,
): Promise<RunnerSummary> {
  const { only = () => true, retryFailed = false } = options;
  const chosen = plan.filter(only);
  const chosenNames = new Set(chosen.map(({ name }) => name));
  const results = new Map<string, RunResult>();
  for (const { name } of plan) {
    tidy(folder, name);
    const result = readRunResult(folder, name);
    const again = retryFailed && chosenNames.has(name) && result?.status === 'failed';
    if (result !== null && !again) results.set(name, result);
  }
  const pending = chosen.filter(({ name }) => !results.has(name));
  const before = chosen.length - pending.length;
  const pool = new Pool(folder, plan, results, pending, options);
  await pool.run();
  if (results.size === plan.length) removeQuietly(comparePaths(folder).shared);
  writeResultsTable(folder, plan, results);
  return { results, carriedOut: pool.carriedOut, before, left: pending.length - pool.carriedOut };
}

/** What a killed process left of a run. */
function tidy(folder: string, name: string): void {
  const run = comparePaths(folder).run(name);
  if (fs.existsSync(run)) cleanLeftovers(run);
}

/** The runs in progress. */
class Pool {
  carriedOut = 0;
  readonly #folder: string;
  readonly #plan: readonly RunSpec[];
  readonly #results: Map<string, RunResult>;
  readonly #pending: RunSpec[];
  readonly #options: RunnerOptions;
  /** Ends the other runs when one of them meets a full disk, besides the caller's signal. */
  readonly #stop = new AbortController();

  constructor(
    folder: string,
    plan: readonly RunSpec[],
    results: Map<string, RunResult>,
    pending: readonly RunSpec[],
    options: RunnerOptions,
  ) {
    this.#folder = folder;
    this.#plan = plan;
    this.#results = results;
    this.#pending = [...pending];
    this.#options = options;
  }

  /** @throws the first error that is not a matter of one run, after the others have ended. */
  async run(): Promise<void> {
    const { jobs, signal } = this.#options;
    const onAbort = () => this.#stop.abort(signal!.reason);
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort);
    try {
      const ends = await Promise.allSettled(Array.from({ length: jobs }, () => this.#work()));
      const broken = ends.find((end) => end.status === 'rejected');
      if (broken !== undefined) throw broken.reason;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** One run after the other until there is none left. */
  async #work(): Promise<void> {
    for (;;) {
      const spec = this.#stop.signal.aborted ? undefined : this.#pending.shift();
      if (spec === undefined) return;
      try {
        await this.#one(spec);
      } catch (error) {
        this.#stop.abort(error);
        throw error;
      }
    }
  }

  async #one(spec: RunSpec): Promise<void> {
    const { execute, onEvent } = this.#options;
    const { signal } = this.#stop;
    makeRunFolder(this.#folder, spec);
    onEvent?.({ kind: 'start', spec });
    let result: RunResult;
    try {
      result = await execute(spec, {
        signal,
        shared: comparePaths(this.#folder).shared,
        onProgress: (progress) => onEvent?.({ kind: 'progress', spec, progress }),
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof WriteError) throw error;
      result = failedResult(sentence(error));
    }
    writeRunResult(this.#folder, spec.name, result);
    this.#results.set(spec.name, result);
    this.carriedOut += 1;
    writeResultsTable(this.#folder, this.#plan, this.#results);
    onEvent?.({ kind: 'end', spec, result });
  }
}

/** The first line of an error's message. */
const sentence = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0]!.trim() || 'it failed without a word';

/** The folders of runs that are not in the plan: of an earlier form of the file. */
export function strangeRuns(folder: string, plan: readonly RunSpec[]): string[] {
  const { runs } = comparePaths(folder);
  if (!fs.existsSync(runs)) return [];
  const known = new Set(plan.map(({ name }) => name));
  return fs.readdirSync(runs).filter((name) => !known.has(name) && fs.existsSync(path.join(runs, name, 'config.yaml')));
}
