/** @file Opening a tokenizer from disk: one of those here, or the Hugging Face library. It does not encode. */
import { tokenizerFromJson } from './any-kind.js';
import type { Tokenizer } from './tokenizer.js';
import { readTokenizerTexts } from './tokenizer-files.js';
import { parseObject, parseTokenizerJson } from './tokenizer-json.js';

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
