/**
 * @file Which of the tokenizers written here (bytes, characters, BPE) fits a tokenizer.json, if any. It opens no files;
 * `load.ts` does, and knows whom to ask for the others.
 */
import { bpeFromJson } from './bpe-json.js';
import { BYTE_TO_CHARACTER } from './byte-alphabet.js';
import { ByteTokenizer } from './bytes.js';
import { CharTokenizer } from './chars.js';
import type { Tokenizer, TokenizerFiles } from './tokenizer.js';
import { parseObject, parseTokenizerJson, type TokenizerConfig, type TokenizerJson } from './tokenizer-json.js';

/** The tokenizer of a parsed tokenizer.json; null where none of those here fits. @param name  the file, for errors */
export function localTokenizer(json: TokenizerJson, config: TokenizerConfig | null, name: string): Tokenizer | null {
  if (isByteTokenizer(json)) return new ByteTokenizer(json, config);
  if (isCharTokenizer(json)) return new CharTokenizer(json, config);
  return bpeFromJson(json, config, name);
}

/**
 * The tokenizer of its files, in a page: bytes, characters, or BPE like that of GPT-2.
 * @throws Error for a file that is damaged, or of another kind.
 */
export function tokenizerFromFiles(files: TokenizerFiles): Tokenizer {
  const [file, configFile] = ['tokenizer.json', 'tokenizer_config.json'] as const;
  const config = parseObject(files[configFile], configFile);
  const tokenizer = localTokenizer(parseTokenizerJson(files[file], file), config, file);
  if (tokenizer !== null) return tokenizer;
  throw new Error(
    `${file}: not of bytes, characters or BPE like that of GPT-2; only \`loadTokenizer\` in Node reads it`,
  );
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
