/** @file A window of fixed size that moves over a document which comes in pieces. */

export interface Window {
  readonly tokens: Int32Array;
  /** How many at the end no window before had. */
  readonly fresh: number;
}

/** The windows of one document. */
export class SlidingWindow {
  readonly #stride: number;
  readonly #buffer: Int32Array;
  #held = 0;
  #fresh = 0;

  constructor(window: number, stride: number) {
    this.#stride = stride;
    this.#buffer = new Int32Array(window);
  }

  *push(tokens: Int32Array): Generator<Window> {
    const buffer = this.#buffer;
    for (let from = 0; from < tokens.length;) {
      const some = tokens.subarray(from, from + buffer.length - this.#held);
      buffer.set(some, this.#held);
      this.#held += some.length;
      this.#fresh += some.length;
      from += some.length;
      if (this.#held < buffer.length) return;
      yield { tokens: buffer.slice(), fresh: this.#fresh };
      buffer.copyWithin(0, this.#stride);
      this.#held -= this.#stride;
      this.#fresh = 0;
    }
  }

  /** What is left of the document. */
  *end(): Generator<Window> {
    if (this.#fresh > 0) yield { tokens: this.#buffer.slice(0, this.#held), fresh: this.#fresh };
  }
}
