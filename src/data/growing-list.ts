/** @file A growing list of numbers in a typed array: for tables with a row per document, of which there may be millions. */

export class GrowingList {
  #values = new Float64Array(256);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const more = new Float64Array(this.length * 2);
      more.set(this.#values);
      this.#values = more;
    }
    this.#values[this.length++] = value;
  }

  /** @throws nothing: beyond the end it is NaN, as a mistake should show. */
  at(index: number): number {
    return index < this.length ? this.#values[index]! : NaN;
  }

  /** Adds to the last value. */
  addToLast(amount: number): void {
    this.#values[this.length - 1]! += amount;
  }
}
