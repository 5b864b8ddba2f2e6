/**
 * @file A text as a stream of tokens with the places where documents begin: what batches are cut from, and how one is made
 * of texts in memory. `dataset.ts` has the same on disk.
 */
import { IdBuffer } from '../tokens/id-buffer.js';
import type { Tokenizer } from '../tokens/tokenizer.js';

/** Numbers by position, wherever they lie. */
export interface NumberList {
  /** How many there are. */
  readonly length: number;
  /**
   * Copies `count` numbers from `start` on into `out` from `at` on.
   * @throws RangeError if they are not all there.
   */
  copy(out: Int32Array | Float64Array, at: number, start: number, count: number): void;
  /** The number at one place. @throws RangeError if there is none. */
  at(index: number): number;
}

export interface TextPart {
  /** For errors: "train". */
  readonly name: string;
  readonly tokens: NumberList;
  /** Where documents begin, ascending, the first at 0. */
  readonly documents: NumberList;
  /** The token with which a document begins and a text ends; null if the tokenizer has none. */
  readonly eosId: number | null;
  /** The bytes of the text, in UTF-8. */
  readonly meta: { readonly bytes: number };
}

/**
 * Texts in memory, each a document, to cut batches from.
 * @param name  how errors call it
 * @throws UnknownCharacterError from a character tokenizer that has never seen a character of them.
 */
export function textPart(texts: readonly string[], tokenizer: Tokenizer, name = 'text'): TextPart {
  const { eosId } = tokenizer;
  const end = eosId === null ? [] : [eosId];
  const ids = new IdBuffer();
  const starts: number[] = [];
  for (const text of texts) {
    starts.push(ids.length);
    ids.pushAll(end);
    ids.pushAll(tokenizer.encode(text, { parseSpecial: false })); // the name of a special token must not end a text
  }
  ids.pushAll(end);
  const bytes = texts.reduce((total, text) => total + new TextEncoder().encode(text).length, 0);
  return {
    name,
    tokens: listOf(ids.take()),
    documents: listOf(Float64Array.from(starts)),
    eosId,
    meta: { bytes },
  };
}

function listOf(numbers: Int32Array | Float64Array): NumberList {
  const check = (start: number, count: number): void => {
    if (start >= 0 && count >= 0 && start + count <= numbers.length) return;
    throw new RangeError(`numbers ${start} to ${start + count} are not within the ${numbers.length} that there are`);
  };
  return {
    length: numbers.length,
    copy(out, at, start, count) {
      check(start, count);
      out.set(numbers.subarray(start, start + count), at);
    },
    at(index) {
      check(index, 1);
      return numbers[index]!;
    },
  };
}
