/** @file The page's side of the protocol: a promise for each request, a callback for events. It keeps no state of the model. */
import type { Answer, Fields, FromWorker, Kind, Request, WorkerEvent } from './protocol.js';

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Client {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  /** Starts the worker. @param onEvent  told of everything that is no answer */
  constructor(onEvent: (event: WorkerEvent) => void) {
    this.#worker = new Worker(new URL('./worker/worker.ts', import.meta.url), { type: 'module' });
    this.#worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === 'event') onEvent(data.event);
      else this.#settle(data);
    });
    this.#worker.addEventListener('error', (event) => {
      const error = new Error(
        `The worker of this page failed: ${event.message}. Reload the page; what was kept is still there.`,
      );
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  /** @throws Error with the sentence of the worker when it cannot do what was asked. */
  call<K extends Kind>(kind: K, fields: Fields<K>): Promise<Answer<K>> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      const request: Pick<Request, 'kind' | 'id' | 'fields'> = { kind, id, fields };
      this.#worker.postMessage(request);
    });
  }

  #settle(message: Exclude<FromWorker, { kind: 'event' }>): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.kind === 'answer') waiting?.resolve(message.value);
    else waiting?.reject(new Error(message.message));
  }
}
