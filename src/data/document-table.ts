/** @file What is known of each document while a corpus is tokenised: how long it is, and the hash that decides its part. */
import { createHash, type Hash } from 'node:crypto';
import { GrowingList } from './growing-list.js';

export class DocumentTable {
  /** Where each document begins in the stream of all tokens. */
  readonly starts = new GrowingList();
  readonly bytes = new GrowingList();
  readonly characters = new GrowingList();
  /** A number in [0,1) that depends on the document's text and the seed alone: the same text, the same part. */
  readonly hashes = new GrowingList();
  /** Tokens so far. */
  tokens = 0;
  readonly #seed: number;
  #hash: Hash | null = null;

  constructor(seed: number) {
    this.#seed = seed;
  }

  get length(): number {
    return this.starts.length;
  }

  /** Begins a document; the one before is complete. */
  begin(): void {
    this.finish();
    this.#hash = createHash('sha256').update(`${this.#seed}\0`);
    this.starts.push(this.tokens);
    this.bytes.push(0);
    this.characters.push(0);
  }

  /** Adds a piece of text, of `tokens` tokens, to the document. */
  add(text: string, tokens: number): void {
    this.tokens += tokens;
    const bytes = Buffer.from(text, 'utf8');
    this.#hash?.update(bytes);
    this.bytes.addToLast(bytes.length);
    this.characters.addToLast(codePoints(text));
  }

  /** Completes the last document. */
  finish(): void {
    if (this.#hash === null) return;
    // 48 bits: enough that only equal texts are equal.
    this.hashes.push(this.#hash.digest().readUIntBE(0, 6) / 2 ** 48);
    this.#hash = null;
  }

  /** The end of a document in the stream of all tokens. */
  endOf(document: number): number {
    return document + 1 < this.length ? this.starts.at(document + 1) : this.tokens;
  }
}

/** Characters of a text as people count them: code points. */
function codePoints(text: string): number {
  let count = 0;
  for (let k = 0; k < text.length; k++) if ((text.charCodeAt(k) & 0xfc00) !== 0xdc00) count++;
  return count;
}
