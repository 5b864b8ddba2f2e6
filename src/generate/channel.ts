/** @file A queue between one that makes values and one that reads them in a loop. */

/** Values pushed are read in order; `end` and `fail` come behind them. */
export class Channel<T> implements AsyncIterableIterator<T> {
  readonly #values: T[] = [];
  readonly #onLeave: () => void;
  readonly #onDrop: (value: T) => void;
  #wake: (() => void) | null = null;
  #ended = false;
  #error: unknown = null;

  /**
   * @param onLeave  called when the reader leaves before the end
   * @param onDrop   called with each value that nobody will read
   */
  constructor(onLeave: () => void, onDrop: (value: T) => void) {
    this.#onLeave = onLeave;
    this.#onDrop = onDrop;
  }

  /** Values that wait to be read. */
  get size(): number {
    return this.#values.length;
  }

  push(value: T): void {
    if (this.#ended) this.#onDrop(value);
    else this.#values.push(value);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The reader gets the error behind the values before it. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = error;
    this.end();
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      if (this.#values.length > 0) return { done: false, value: this.#values.shift()! };
      if (this.#error !== null) {
        const error = this.#error;
        this.#error = null;
        throw error;
      }
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
  }

  return(): Promise<IteratorResult<T>> {
    if (!this.#ended) this.#onLeave();
    for (const value of this.#values.splice(0)) this.#onDrop(value);
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
