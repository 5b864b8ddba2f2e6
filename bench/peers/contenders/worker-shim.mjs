/** @file Web Workers for Node, as far as jax-js needs them: modules from blob URLs, messages to and fro. */
import { resolveObjectURL } from 'node:buffer';
import { Worker as Thread } from 'node:worker_threads';

/** What a worker finds in its global scope. */
const PRELUDE = `
import { parentPort } from 'node:worker_threads';
globalThis.self = globalThis;
globalThis.postMessage = (message, transfer) => parentPort.postMessage(message, transfer);
globalThis.addEventListener = (name, listener) => parentPort.on(name, (data) => listener({ data }));
parentPort.on('message', (data) => globalThis.onmessage?.({ data }));
`;

class Worker {
  onmessage = null;
  onerror = null;
  #listeners = [];
  #thread;

  constructor(url) {
    this.#thread = resolveObjectURL(String(url))
      .text()
      .then((source) => {
        const module = `data:text/javascript,${encodeURIComponent(PRELUDE + source)}`;
        const thread = new Thread(new URL(module));
        thread.on('message', (data) => [this.onmessage, ...this.#listeners].forEach((listen) => listen?.({ data })));
        thread.on('error', (error) => this.onerror?.(error));
        return thread;
      });
  }

  addEventListener(name, listener) {
    if (name === 'message') this.#listeners.push(listener);
  }

  removeEventListener(name, listener) {
    this.#listeners = this.#listeners.filter((one) => one !== listener);
  }

  postMessage(message, transfer) {
    void this.#thread.then((thread) => thread.postMessage(message, transfer));
  }

  terminate() {
    void this.#thread.then((thread) => thread.terminate());
  }
}

/** @param count  of processors that a library is told of */
export function installWorkers(count) {
  globalThis.Worker = Worker;
  Object.defineProperty(globalThis, 'navigator', { value: { hardwareConcurrency: count }, configurable: true });
}
