/**
 * @file The pre-tokenisation of GPT-2: cuts text into the words inside which BPE merges. Only this one pattern; files
 * with another one are left to `hf-tokenizer.ts`.
 */

/**
 * The pattern (Radford et al. 2019), for engines in which `\s` means Unicode White_Space, as in the `tokenizers`
 * library. JavaScript's own `\s` differs: it has U+FEFF and lacks U+0085.
 */
export const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const WORD = new RegExp(GPT2_PATTERN.replaceAll('\\s', '\\p{White_Space}').replaceAll('\\S', '\\P{White_Space}'), 'gu');

/**
 * End of the word that begins at `start`, for `start < text.length`. Calling it again with the end walks over the
 * text without gaps: the pattern matches at every place.
 */
export function wordEnd(text: string, start: number): number {
  WORD.lastIndex = start;
  WORD.test(text);
  return WORD.lastIndex;
}
