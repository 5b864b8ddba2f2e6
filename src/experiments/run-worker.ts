/**
 * @file The side of a worker process: takes one run, carries it out, tells how it goes and what came out, and ends. It
 * does not outlive the process that started it. How a run is carried out is handed in.
 */
import { WriteError } from '../model/disk.js';
import type { WorkerMessage, WorkerOrder } from './run-process.js';
import type { TaskProgress, TrainTask } from './run-spec.js';

/** No more often than this is told how it goes. */
const PROGRESS_MILLISECONDS = 200;

/** Waits for the run that the parent sends, and carries it out. @throws Error when this is no worker process. */
export function serveRun(execute: TrainTask): void {
  if (process.send === undefined) throw new Error('serveRun: this process was not started to work for another one');
  // Ctrl-C goes to all processes of a terminal: the parent decides what comes of it.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.exit(1));
  process.once('message', (order: WorkerOrder) => void answer(order, execute));
}

async function answer({ spec, shared }: WorkerOrder, execute: TrainTask): Promise<void> {
  let told = 0;
  const onProgress = (progress: TaskProgress) => {
    const now = performance.now();
    if (now - told < PROGRESS_MILLISECONDS) return;
    told = now;
    tell({ kind: 'progress', progress });
  };
  let message: WorkerMessage;
  try {
    message = {
      kind: 'result',
      result: await execute(spec, { onProgress, ...(shared === undefined ? {} : { shared }) }),
    };
  } catch (error) {
    message = failure(error);
  }
  tell(message, () => process.exit(0));
}

function failure(error: unknown): WorkerMessage {
  const write = error instanceof WriteError ? { code: error.code, path: error.path } : null;
  return { kind: 'error', message: error instanceof Error ? error.message : String(error), write };
}

/** @param then  called when the message is on its way */
function tell(message: WorkerMessage, then: () => void = () => {}): void {
  process.send!(message, undefined, {}, then);
}
