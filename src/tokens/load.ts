/** @file Opening a tokenizer from disk: one of those here, or the Hugging Face library. It does not encode. */
import { HfTokenizer } from './hf-tokenizer.js';
import { localTokenizer } from './local-kinds.js';
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
  return localTokenizer(json, config, name) ?? new HfTokenizer(json, config, name);
}
