/** @file Stop strings in a stream of text: what is certain goes on, what may become a stop string waits. */

export class StopStrings {
  readonly #stop: readonly string[];
  readonly #longest: number;
  /** What may be the beginning of a stop string. */
  #held = '';

  /** @throws RangeError for a stop string that is empty or holds half of a surrogate pair. */
  constructor(stop: readonly string[]) {
    for (const text of stop) {
      if (text === '') throw new RangeError('stop: a stop string must not be empty');
      if (!text.isWellFormed()) {
        throw new RangeError(`stop: ${JSON.stringify(text)} holds half of a surrogate pair, which no text holds`);
      }
    }
    this.#stop = stop;
    this.#longest = stop.reduce((longest, text) => Math.max(longest, text.length), 0);
  }

  /**
   * @param fresh  the next piece of the text, of whole characters
   * @returns      the text that is certain; with `stopped`, the text before the stop string
   */
  push(fresh: string): { readonly text: string; readonly stopped: boolean } {
    if (fresh === '') return { text: '', stopped: false };
    const text = this.#held + fresh;
    const start = this.#match(text);
    if (start !== null) {
      this.#held = '';
      return { text: text.slice(0, start), stopped: true };
    }
    const certain = this.#certain(text);
    this.#held = text.slice(certain);
    return { text: text.slice(0, certain), stopped: false };
  }

  /** What is held back: no stop string came of it. */
  rest(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  /** Where the stop string begins that is complete first; of those that end together the longest. */
  #match(text: string): number | null {
    let start = 0;
    let end = Infinity;
    for (const stop of this.#stop) {
      const at = text.indexOf(stop);
      if (at === -1) continue;
      const after = at + stop.length;
      if (after < end || (after === end && at < start)) [start, end] = [at, after];
    }
    return end === Infinity ? null : start;
  }

  /** Up to where no stop string can begin any more: the longest end of the text with which one begins waits. */
  #certain(text: string): number {
    for (let at = Math.max(text.length - this.#longest + 1, 0); at < text.length; at++) {
      if (this.#stop.some((stop) => text.length - at < stop.length && stop.startsWith(text.slice(at)))) return at;
    }
    return text.length;
  }
}
