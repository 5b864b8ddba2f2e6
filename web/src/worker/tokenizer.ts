/** @file The tokenizer beside a model: one of this library, or by the Hugging Face library, which is fetched when it is needed. */
import type { Tokenizer } from 'xlstm';
import { localTokenizer } from '../../../src/tokens/local-kinds.js';
import { parseObject, parseTokenizerJson } from '../../../src/tokens/tokenizer-json.js';

/** @throws Error in a sentence when there is none, or it is damaged. */
export async function openTokenizer(files: ReadonlyMap<string, Blob>): Promise<Tokenizer> {
  const [name, configName] = ['tokenizer.json', 'tokenizer_config.json'];
  const file = files.get(name);
  if (file === undefined)
    throw new Error(
      'There is no tokenizer.json beside the model, so that it could not read a text; add it to the folder.',
    );
  const json = parseTokenizerJson(await file.text(), name);
  const configFile = files.get(configName);
  const config = configFile === undefined ? null : parseObject(await configFile.text(), configName);
  const local = localTokenizer(json, config, name);
  if (local !== null) return local;
  const { HfTokenizer } = await import('../../../src/tokens/hf-tokenizer.js');
  return new HfTokenizer(json, config, name);
}
