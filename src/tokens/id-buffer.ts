/** @file A growing list of token ids. */

export class IdBuffer {
  #ids: Int32Array;
  length = 0;

  constructor(capacity = 16) {
    this.#ids = new Int32Array(Math.max(capacity, 16));
  }

  push(id: number): void {
    if (this.length === this.#ids.length) this.#grow(1);
    this.#ids[this.length++] = id;
  }

  pushAll(ids: ArrayLike<number>): void {
    if (this.length + ids.length > this.#ids.length) this.#grow(ids.length);
    this.#ids.set(ids, this.length);
    this.length += ids.length;
  }

  /** The ids so far, in memory of their own. */
  take(): Int32Array {
    return this.#ids.slice(0, this.length);
  }

  #grow(more: number): void {
    const next = new Int32Array(Math.max(this.#ids.length * 2, this.length + more));
    next.set(this.#ids.subarray(0, this.length));
    this.#ids = next;
  }
}
