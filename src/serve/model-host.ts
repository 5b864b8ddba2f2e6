/**
 * @file The HTTP thread's side of the model's thread: starts it, sends it work, hands out what it answers. It knows nothing
 * of HTTP.
 */
import { Worker } from 'node:worker_threads';
import { Channel } from '../generate/channel.js';
import { ApiError } from './errors.js';
import type { Command, FromModel, Job, JobEvent, ModelOptions, ModelStats, ServedModel, ToModel } from './protocol.js';

/** A thread runs JavaScript: called from the sources, as tests do, it is the compiled one that starts. */
const WORKER = import.meta.url.endsWith('.ts')
  ? new URL('../../dist/serve/worker.js', import.meta.url)
  : new URL('./worker.js', import.meta.url);

/** Events that wait for a client; one that is so far behind has stopped to read, and its request is cancelled. */
const MAX_UNREAD = 4096;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class ModelHost {
  readonly model: ServedModel;
  readonly #worker: Worker;
  readonly #jobs = new Map<number, Channel<JobEvent>>();
  readonly #waiting = new Map<number, Waiting>();
  #ids = 0;
  #closing = false;
  /** Called when the thread dies without having been asked to. */
  onDeath: (error: Error) => void = () => {};

  private constructor(worker: Worker, model: ServedModel) {
    this.#worker = worker;
    this.model = model;
    worker.on('message', (message: FromModel) => this.#receive(message));
    worker.on('error', (error) => this.#die(error));
    worker.on('exit', (code) => this.#die(new Error(`the model's thread ended with code ${code}`)));
  }

  /** Starts the thread and waits until the model is open. @throws Error when it cannot be opened, with the reason. */
  static open(options: ModelOptions): Promise<ModelHost> {
    const worker = new Worker(WORKER, { workerData: options });
    return new Promise((resolve, reject) => {
      const ended = (code: number): void => reject(new Error(`the model's thread ended with code ${code}`));
      worker.once('error', reject);
      worker.once('exit', ended);
      worker.once('message', (message: FromModel) => {
        worker.off('error', reject).off('exit', ended);
        if (message.kind === 'ready') resolve(new ModelHost(worker, message.model));
        else {
          void worker.terminate();
          reject(new Error(message.kind === 'broken' ? message.message : 'the model was not opened'));
        }
      });
    });
  }

  /** Completions that run or wait. */
  get jobs(): number {
    return this.#jobs.size;
  }

  /** Runs a completion; leaving the loop early cancels it. A failure comes as an event. */
  run(job: Job): AsyncIterableIterator<JobEvent> {
    const id = this.#ids++;
    const channel = new Channel<JobEvent>(
      () => this.#send({ kind: 'cancel', id }),
      () => {},
    );
    this.#jobs.set(id, channel);
    this.#send({ kind: 'command', id, command: { kind: 'run', job } });
    return channel;
  }

  /** @throws ApiError when the model's thread refuses. */
  ask<T>(command: Exclude<Command, { kind: 'run' }>): Promise<T> {
    const id = this.#ids++;
    return this.#answer<T>(id, { kind: 'command', id, command });
  }

  stats(): Promise<ModelStats> {
    const id = this.#ids++;
    return this.#answer<ModelStats>(id, { kind: 'stats', id });
  }

  #answer<T>(id: number, message: ToModel): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#send(message);
    });
  }

  #send(message: ToModel): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#worker.postMessage(message);
  }

  #receive(message: FromModel): void {
    if (message.kind === 'events') {
      for (const { id, event } of message.events) this.#deliver(id, event);
    } else if (message.kind === 'answer') {
      this.#waiting.get(message.id)?.resolve(message.value);
      this.#waiting.delete(message.id);
    } else if (message.kind === 'refused') {
      this.#waiting.get(message.id)?.reject(new ApiError(message.status, message.message));
      this.#waiting.delete(message.id);
    }
  }

  #deliver(id: number, event: JobEvent): void {
    const channel = this.#jobs.get(id);
    channel?.push(event);
    if (channel !== undefined && channel.size > MAX_UNREAD) {
      channel.fail(new ApiError(408, 'the client does not read what it asked for'));
      this.#send({ kind: 'cancel', id });
    }
    if (event.kind !== 'done' && event.kind !== 'failed') return;
    channel?.end();
    this.#jobs.delete(id);
  }

  #die(error: Error): void {
    if (this.#closing) return;
    this.#closing = true;
    const failed = { kind: 'failed', status: 500, message: 'the model has stopped working', param: null } as const;
    for (const id of [...this.#jobs.keys()]) this.#deliver(id, failed);
    for (const { reject } of this.#waiting.values()) reject(new ApiError(500, failed.message));
    this.#waiting.clear();
    this.onDeath(error);
  }

  /** Ends the thread; what still runs is cancelled. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#send({ kind: 'close' });
    const late = setTimeout(() => void this.#worker.terminate(), 5000);
    await exited;
    clearTimeout(late);
  }
}
