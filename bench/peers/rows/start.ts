/** @file The row of the first token: a process from its start to the first token of a model on disk. */
import fs from 'node:fs';
import path from 'node:path';
import type { Row } from '../row.js';
import { SMALL, writeLarge } from './decode.js';
import { tokenizerFolder, VOCABULARY, type TextSource } from './text.js';

const SIZE = { ...SMALL, vocab: VOCABULARY };

export const startRow = (source: TextSource): Row => ({
  id: 'start',
  title: `start of the process to the first token, xLSTM Large, ${SIZE.name} but with ${SIZE.vocab} tokens, bf16 on disk`,
  tolerance: 0,
  targets: [{ ratio: 10 }],
  wholeProcess: true,
  ours: { name: 'xlstm generate', needs: 'nothing', program: 'ours/start.mjs' },
  peers: [{ name: 'transformers', needs: 'python', program: 'contenders/start.py' }],
  prepare: async (folder) => {
    // A vocabulary that is all the tokenizer's: a token without a text is never chosen here.
    const model = writeLarge(folder, SIZE);
    const tokenizer = await tokenizerFolder(source);
    for (const name of fs.readdirSync(tokenizer)) fs.copyFileSync(path.join(tokenizer, name), path.join(model, name));
    return { folder: model, prompt: 'My fellow citizens' };
  },
});
