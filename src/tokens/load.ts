/** @file Opening a tokenizer from disk: which of the tokenizers here fits the file. It does not encode. */
import { bpeFromJson } from './bpe-json.js';
import { BYTE_TO_CHARACTER } from './byte-alphabet.js';
import { ByteTokenizer } from './bytes.js';
import { CharTokenizer } from './chars.js';
import { HfTokenizer } from './hf-tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { readTokenizerTexts } from './tokenizer-files.js';
import { parseObject, parseTokenizerJson, type TokenizerConfig, type TokenizerJson } from './tokenizer-json.js';

/**
 * Opens a tokenizer.json, or the one in a folder, with the tokenizer_config.json beside it if there is one.
 * Byte, character and GPT-2-like BPE files get the fast encoders of this project, others the Hugging Face library.
 * @throws Error saying what is missing, damaged or not supported.
 */
export async function loadTokenizer(fileOrFolder: string): Promise<Tokenizer> {
  const texts = await readTokenizerTexts(fileOrFolder);
  const config = texts.config === null ? null : parseObject(texts.config, `tokenizer_config.json beside ${texts.file}`);
  return tokenizerFromJson(parseTokenizerJson(texts.tokenizer, texts.file), config, texts.file);
}

/** The tokenizer of a parsed tokenizer.json. @param name  the file, for errors. */
export function tokenizerFromJson(json: TokenizerJson, config: TokenizerConfig | null, name: string): Tokenizer {
  if (isByteTokenizer(json)) return new ByteTokenizer(json, config);
  if (isCharTokenizer(json)) return new CharTokenizer(json, config);
  return bpeFromJson(json, config, name) ?? new HfTokenizer(json, config, name);
}

const merges = (json: TokenizerJson): number => (Array.isArray(json.model.merges) ? json.model.merges.length : -1);

/** Vocabulary entries that are not added tokens. */
function modelTokens(json: TokenizerJson): [token: string, id: number][] {
  const added = new Set(json.added_tokens.map((token) => token.content));
  return Object.entries(json.model.vocab as Record<string, number>).filter(([token]) => !added.has(token));
}

/** Byte-level, without merges, and each byte is its own id. */
function isByteTokenizer(json: TokenizerJson): boolean {
  const { normalizer, pre_tokenizer: cut, post_processor: after, decoder, model } = json;
  if (normalizer !== null || after !== null || model.type !== 'BPE' || merges(json) !== 0) return false;
  if (cut?.type !== 'ByteLevel' || cut.add_prefix_space !== false || decoder?.type !== 'ByteLevel') return false;
  const tokens = modelTokens(json);
  return tokens.length === 256 && tokens.every(([token, id]) => BYTE_TO_CHARACTER[id] === token);
}

/** Single characters, no merges, nothing before or after: what `chars.ts` writes. */
function isCharTokenizer(json: TokenizerJson): boolean {
  const { normalizer, pre_tokenizer: cut, post_processor: after, decoder, model } = json;
  if (normalizer !== null || cut !== null || after !== null || decoder?.type !== 'Fuse') return false;
  if (model.type !== 'BPE' || merges(json) !== 0 || (model.unk_token ?? null) !== null || model.byte_fallback === true)
    return false;
  return modelTokens(json).every(([token]) => [...token].length === 1);
}
