/** @file One after the other: work that must not be in the middle of other work, such as saving in the middle of a step. */

export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when all that was asked for before it has ended, well or not. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
