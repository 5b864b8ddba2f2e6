/** @file The tokenizer of a tokenizer.json, whatever its kind: one of those here, or the Hugging Face library. It opens no files. */
import { HfTokenizer } from './hf-tokenizer.js';
import { localTokenizer } from './local-kinds.js';
import type { Tokenizer } from './tokenizer.js';
import type { TokenizerConfig, TokenizerJson } from './tokenizer-json.js';

/** The tokenizer of a parsed tokenizer.json. @param name  the file, for errors. */
export function tokenizerFromJson(json: TokenizerJson, config: TokenizerConfig | null, name: string): Tokenizer {
  return localTokenizer(json, config, name) ?? new HfTokenizer(json, config, name);
}
