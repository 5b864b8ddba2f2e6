/**
 * @file Carries out a run in a process of its own, so that one that runs out of memory or crashes takes nobody with it.
 * This is the side that asks; the side that works is `run-worker.ts`.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { formatBytes } from '../format.js';
import { WriteError } from '../model/disk.js';
import type { RunResult, RunSpec, TaskProgress, TrainHooks, TrainTask } from './run-spec.js';

/** What a worker is given. */
export interface WorkerOrder {
  readonly spec: RunSpec;
  readonly shared: string | undefined;
}

/** What a worker tells. */
export type WorkerMessage =
  | { readonly kind: 'progress'; readonly progress: TaskProgress }
  | { readonly kind: 'result'; readonly result: RunResult }
  | { readonly kind: 'error'; readonly message: string; readonly write: WriteFailure | null };

/** What remains of a WriteError on its way between processes. */
interface WriteFailure {
  readonly code: string;
  readonly path: string;
}

/** How a worker ended, besides what it told. */
interface End {
  readonly told: WorkerMessage | null;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The end of what it wrote on standard error. */
  readonly words: string;
}

const WORDS = 8192;
/** A signal for all processes of a job reaches them one after the other. */
const SIGNAL_SPREADS_MILLISECONDS = 500;

/**
 * Runs by worker processes, a new one for each run.
 * @param worker  the module that calls `serveRun`
 */
export const inProcesses = (worker: URL): TrainTask =>
  async function execute(spec, hooks) {
    const end = await work(worker, spec, hooks);
    hooks.signal?.throwIfAborted();
    if (end.told?.kind === 'result') return end.told.result;
    if (end.told?.kind === 'error') {
      const { message, write } = end.told;
      throw write === null ? new Error(message) : new WriteError(message, write.code, write.path, undefined, null);
    }
    if (end.signal !== null) await wait(SIGNAL_SPREADS_MILLISECONDS);
    hooks.signal?.throwIfAborted();
    throw new Error(explainEnd(end));
  };

function work(worker: URL, spec: RunSpec, { signal, shared, onProgress }: TrainHooks): Promise<End> {
  return new Promise((resolve, reject) => {
    const child = fork(worker, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let told: WorkerMessage | null = null;
    let words = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (words = (words + text).slice(-WORDS)));
    const stop = () => child.kill('SIGKILL');
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop);
    child.on('message', (message: WorkerMessage) => {
      if (message.kind === 'progress') onProgress?.(message.progress);
      else told = message;
    });
    const done = () => signal?.removeEventListener('abort', stop);
    child.on('error', (error) => {
      done();
      reject(error);
    });
    child.on('close', (code, ended) => {
      done();
      resolve({ told, code, signal: ended, words });
    });
    give(child, { spec, shared });
  });
}

/** A worker that ended before it could be asked shows in its end. */
function give(child: ChildProcess, order: WorkerOrder): void {
  child.send(order, () => {});
}

/** Why a worker ended without a result, in one sentence. */
function explainEnd({ code, signal, words }: End): string {
  if (/heap out of memory|Allocation failed/.test(words)) {
    return `the process ran out of memory (the limit of its JavaScript heap); make the run smaller, or set NODE_OPTIONS=--max-old-space-size`;
  }
  if (signal === 'SIGKILL') {
    const memory = formatBytes(process.constrainedMemory() || 0);
    const limit = process.constrainedMemory() > 0 && process.constrainedMemory() < 2 ** 50 ? ` of ${memory}` : '';
    return `the process was ended by SIGKILL, most likely because memory${limit} ran out; use fewer --jobs or a smaller run`;
  }
  const last = words.trim().split('\n').at(-1)?.trim() ?? '';
  const said = last === '' ? 'without a word' : `with: ${last.slice(0, 300)}`;
  return `the process ended by ${signal ?? `code ${code}`} ${said}`;
}
