/** @file A model folder with the byte tokenizer, for tests of commands: random parameters, hardly any size. */
import fs from 'node:fs';
import path from 'node:path';
import { saveModel } from '../../src/model/checkpoint.js';
import type { ModelConfigInput } from '../../src/model/config.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { saveTokenizer } from '../../src/tokens/tokenizer-files.js';
import { referenceDevice } from './devices.js';
import { temporaryFolder } from './folders.js';

const SMALL = { dim: 16, blocks: ['mlstm', 'slstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };

/** The folder, gone after the test unless it is made in `parent`. */
export async function smallModelFolder(
  seed = 1,
  config: ModelConfigInput = {},
  withTokenizer = true,
  parent = temporaryFolder(),
): Promise<string> {
  const folder = path.join(parent, 'model');
  fs.mkdirSync(folder);
  const tokenizer = new ByteTokenizer();
  using model = LanguageModel.create({ vocabSize: tokenizer.vocabSize, ...SMALL, ...config }, referenceDevice(), seed);
  await saveModel(folder, model, { tokenizer: withTokenizer ? tokenizer.fingerprint() : null });
  if (withTokenizer) saveTokenizer(folder, tokenizer);
  return folder;
}
