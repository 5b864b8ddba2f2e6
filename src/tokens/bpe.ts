/**
 * @file The fast byte-level BPE encoder: words are cut by the GPT-2 pattern, merged by rank, and remembered.
 * It is exact for the tokenizer.json files that `bpe-json.ts` recognises; it does not train, and does not read files.
 */
import { type MergeRules, mergeWord } from './bpe-merge.js';
import type { IdBuffer } from './id-buffer.js';
import { LocalTokenizer, type LocalTokenizerParts } from './local-tokenizer.js';
import { wordEnd } from './pretokenize.js';

export interface BpeParts extends LocalTokenizerParts {
  readonly rules: MergeRules;
  /** Id of each single byte, [256]. */
  readonly byteIds: Int32Array;
  /** Cut words by the GPT-2 pattern; without it a whole stretch of text is one word. */
  readonly cutWords: boolean;
  /** Words that are a token whole, whatever the merges say, by their text; null if the merges decide. */
  readonly wholeWords: ReadonlyMap<string, number> | null;
}

/** Longer words are rare, and are not worth remembering. */
const CACHED_LENGTH = 48;
/** Words to remember before starting over: about 50 MB. */
const CACHED_WORDS = 1 << 18;

export class BpeTokenizer extends LocalTokenizer {
  readonly #bpe: BpeParts;
  /** Ids of words met before: a number where it is one. */
  readonly #cache = new Map<string, number | Int32Array>();
  readonly #utf8 = new TextEncoder();

  constructor(parts: BpeParts) {
    super(parts);
    this.#bpe = parts;
  }

  protected override encodeText(stretch: string, out: IdBuffer): void {
    const { byteIds, cutWords } = this.#bpe;
    const { length } = stretch;
    for (let start = 0, end; start < length; start = end) {
      end = cutWords ? wordEnd(stretch, start) : length;
      if (end - start === 1 && stretch.charCodeAt(start) < 0x80) {
        out.push(byteIds[stretch.charCodeAt(start)]!);
      } else {
        this.#encodeWord(stretch.slice(start, end), out);
      }
    }
  }

  #encodeWord(word: string, out: IdBuffer): void {
    const known = this.#cache.get(word);
    if (typeof known === 'number') return out.push(known);
    if (known !== undefined) return out.pushAll(known);
    const ids = this.#merge(word);
    out.pushAll(ids);
    if (word.length > CACHED_LENGTH) return;
    if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
    this.#cache.set(detached(word), ids.length === 1 ? ids[0]! : ids.slice());
  }

  #merge(word: string): Int32Array {
    const whole = this.#bpe.wholeWords?.get(word);
    if (whole !== undefined) return Int32Array.of(whole);
    const { byteIds, rules } = this.#bpe;
    const bytes = this.#utf8.encode(word);
    const ids = Int32Array.from(bytes, (byte) => byteIds[byte]!);
    return ids.subarray(0, mergeWord(rules, ids, ids.length));
  }
}

/** As many arguments as a call takes everywhere. */
const PIECE = 4096;

/** A copy of a string that does not keep the long text alive from which it was cut (as slices do in V8). */
export function detached(text: string): string {
  const units = new Uint16Array(text.length);
  for (let k = 0; k < units.length; k++) units[k] = text.charCodeAt(k);
  let copy = '';
  for (let at = 0; at < units.length; at += PIECE) copy += String.fromCharCode(...units.subarray(at, at + PIECE));
  return copy;
}
