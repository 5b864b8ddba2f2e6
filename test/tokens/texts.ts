/** @file What the tests of tokenizers share: texts that are likely to be trouble, and decoding as a stream. */
import * as fc from 'fast-check';
import type { DecodeOptions, Tokenizer } from '../../src/tokens/tokenizer.js';

const TROUBLE = [
  [' ', '  ', '\n', '\n\n', '\r\n', '\t', '\u00a0', '\u2028', '\u3000', '\u200b', '\u200d', '\0', '\x1c', '\x7f'],
  ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'", "don't", "we'll've", " 's"],
  ['1', '23', '½', 'Ⅷ', '𝟘', 'é', 'e\u0301', 'ß', 'ǅ', '漢字', 'かな', '한국어', 'नमस्ते', 'สวัสดี', 'مرحبا', '𐌰'],
  ['🙂', '👩‍👩‍👧', '🇩🇪', '\ufffd', '\u{e0001}', '!?', '...', '—', '“x”', '_', '<|endoftext|>', '<|endof'],
  ['the', ' the', 'The', ' people', 'constructor', '__proto__', 'toString', 'aaaaaaaaaaaaaaaa', '                '],
].flat();

/** Texts of single characters of all planes and of pieces that are likely to be trouble. */
export const anyText = fc
  .array(fc.oneof(fc.constantFrom(...TROUBLE), fc.string({ unit: 'binary', maxLength: 8 }), fc.string()), {
    maxLength: 30,
  })
  .map((parts) => parts.join(''));

export function decodeAsStream(tokenizer: Tokenizer, ids: ArrayLike<number>, options?: DecodeOptions): string {
  const decoder = tokenizer.decoder(options);
  return Array.from(ids, (id) => decoder.push(id)).join('') + decoder.end();
}
