/** @file The tokenizer of a model folder whose files are blobs, as a page has them. `load.ts` opens one on disk. */
import { textOf, type FolderFiles } from '../model/open-files.js';
import { tokenizerFromFiles } from './local-kinds.js';
import type { Tokenizer } from './tokenizer.js';

/**
 * @throws Error where there is no tokenizer.json, or it is damaged or of a kind that pages do not have (they have bytes,
 *   characters, and BPE like that of GPT-2).
 */
export async function tokenizerOfFiles(files: FolderFiles): Promise<Tokenizer> {
  if (!files.has('tokenizer.json')) throw new Error('this folder has no tokenizer.json; choose it too');
  const config = files.has('tokenizer_config.json') ? await textOf(files, 'tokenizer_config.json') : '{}';
  return tokenizerFromFiles({
    'tokenizer.json': await textOf(files, 'tokenizer.json'),
    'tokenizer_config.json': config,
  });
}
