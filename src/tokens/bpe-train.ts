/**
 * @file BPE training (Sennrich et al. 2016, on bytes as in GPT-2): again and again the most frequent pair of
 * neighbouring tokens becomes a new token. Here the text is read and the merges are named; `pair-merger.ts` counts.
 */
import type { BpeTokenizer } from './bpe.js';
import { bpeFromJson, bpeJson } from './bpe-json.js';
import { spellBytes } from './byte-alphabet.js';
import { END_OF_TEXT } from './bytes.js';
import { tokenizerConfig } from './local-tokenizer.js';
import { PairMerger } from './pair-merger.js';
import { WordCount } from './word-count.js';

export interface BpeProgress {
  /** Reading the text, then merging. */
  readonly phase: 'count' | 'merge';
  /** Characters read, or tokens made. */
  readonly done: number;
  /** Tokens to make; null while reading. */
  readonly total: number | null;
}

export interface BpeTrainOptions {
  /** Tokens in all: 256 bytes, the merges, the special tokens. */
  readonly vocabSize: number;
  /** Default ["<|endoftext|>"], which is the beginning-of-text token too. The first one ends a text. */
  readonly specialTokens?: readonly string[];
  /** Pairs that are met less often are not merged. Default 2. */
  readonly minFrequency?: number;
  readonly onProgress?: (progress: BpeProgress) => void;
}

/**
 * Trains a byte-level BPE. The result depends on the words of the text alone, not on how it is cut into pieces at
 * borders of words: of equally frequent pairs the one with the smallest ids is merged first.
 *
 * @returns a tokenizer with `vocabSize` tokens, or fewer where the text has no more pairs to merge.
 * @throws RangeError if the vocabulary has no room for the bytes and the special tokens, if those are not possible, or
 *   if there is no text.
 */
export async function trainBpe(
  texts: string | Iterable<string> | AsyncIterable<string>,
  options: BpeTrainOptions,
): Promise<BpeTokenizer> {
  const { vocabSize, specialTokens = [END_OF_TEXT], minFrequency = 2, onProgress = () => {} } = options;
  const wanted = vocabSize - 256 - specialTokens.length;
  if (!Number.isInteger(vocabSize) || wanted < 0) {
    throw new RangeError(
      `trainBpe: vocabSize must be a whole number of at least ${256 + specialTokens.length} ` +
        `(256 bytes and ${specialTokens.length} special tokens), got ${vocabSize}`,
    );
  }
  const encoder = new TextEncoder(); // not Buffer, which a page does not have
  const refused = specialTokens.find(
    (token, k) => encoder.encode(token).length < 2 || specialTokens.indexOf(token) !== k,
  );
  if (refused !== undefined) {
    throw new RangeError(
      `trainBpe: special tokens must be different and longer than a byte, got ${JSON.stringify(specialTokens)}`,
    );
  }
  const words = new WordCount();
  for await (const text of typeof texts === 'string' ? [texts] : texts) {
    words.add(text);
    onProgress({ phase: 'count', done: words.units, total: null });
  }
  if (words.units === 0)
    throw new RangeError('trainBpe: the text is empty, so there is nothing to learn from; give the training text');

  const tokens = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const merges: [number, number][] = [];
  const reserved = new Set(specialTokens.map((token) => spellBytes(encoder.encode(token))));
  const trainer = new PairMerger(words.entries());
  const idOf = (left: number, right: number): number | null => {
    const bytes = joined(tokens[left]!, tokens[right]!);
    // A vocabulary holds each text once, and this one is a special token's.
    if (reserved.has(spellBytes(bytes))) return null;
    merges.push([left, right]);
    return tokens.push(bytes) - 1;
  };
  while (tokens.length < 256 + wanted && trainer.mergeTop(minFrequency, idOf)) {
    if (merges.length % 64 === 0) onProgress({ phase: 'merge', done: tokens.length - 256, total: wanted });
  }
  onProgress({ phase: 'merge', done: tokens.length - 256, total: tokens.length - 256 });
  const end = specialTokens[0] ?? null;
  return bpeFromJson(bpeJson(tokens, merges, specialTokens), tokenizerConfig(end, end, null), 'trainBpe')!;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
