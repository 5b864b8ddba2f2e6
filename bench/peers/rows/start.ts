/** @file The row of the first token: a process from its start to the first token of a model on disk. */
import fs from 'node:fs';
import path from 'node:path';
import type { Row } from '../row.js';
import { SMALL, writeLarge } from './decode.js';
import { tokenizerFolder, type TextSource } from './text.js';

export const startRow = (source: TextSource): Row => ({
  id: 'start',
  title: `start of the process to the first token, xLSTM Large, ${SMALL.name}, bf16 on disk`,
  tolerance: 0,
  targets: [{ ratio: 10 }],
  wholeProcess: true,
  ours: { name: 'xlstm generate', needs: 'nothing', program: 'ours/start.mjs' },
  peers: [{ name: 'transformers', needs: 'python', program: 'contenders/start.py' }],
  prepare: async (folder) => {
    const model = writeLarge(folder, SMALL);
    const tokenizer = await tokenizerFolder(source);
    for (const name of fs.readdirSync(tokenizer)) fs.copyFileSync(path.join(tokenizer, name), path.join(model, name));
    return { folder: model, prompt: 'My fellow citizens' };
  },
});
