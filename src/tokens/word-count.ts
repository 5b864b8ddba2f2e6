/** @file Counting the words of a text for BPE training: the same words into which the encoder cuts text. */
import { detached } from './bpe.js';
import { wordEnd } from './pretokenize.js';

export class WordCount {
  readonly #counts = new Map<string, number>();
  /** Characters seen, in UTF-16 units. */
  units = 0;

  add(text: string): void {
    const counts = this.#counts;
    for (let start = 0, end; start < text.length; start = end) {
      end = wordEnd(text, start);
      if (end - start < 2 && text.charCodeAt(start) < 0x80) continue; // one byte: nothing to merge
      const word = text.slice(start, end);
      const count = counts.get(word);
      if (count === undefined) counts.set(detached(word), 1);
      else counts.set(word, count + 1);
    }
    this.units += text.length;
  }

  /** Distinct words, with how often each was met. */
  entries(): Iterable<[word: string, count: number]> {
    return this.#counts;
  }
}
