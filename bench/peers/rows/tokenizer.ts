/** @file Rows of tokenizers: encoding with a BPE, and training one, against those that are written in Rust. */
import type { Contender, Row } from '../row.js';
import { tokenizerFolder, VOCABULARY, writeDocuments, type TextSource } from './text.js';

export type { TextSource };

const MEGABYTES = 50;
/** With --quick. */
const QUICK = 2;

const python = (name: string, library: string, task: 'encode' | 'train'): Contender => ({
  name,
  needs: 'python',
  program: 'contenders/tokenizer.py',
  job: { library, task },
});

export const tokenizerRows = (source: TextSource): readonly Row[] => [
  {
    id: 'bpe-encode',
    title: `encoding ${MEGABYTES} MB of text with a BPE of ${VOCABULARY} tokens, documents of 4 kB`,
    tolerance: 0,
    targets: [{ ratio: 2 }],
    threads: [1],
    ours: { name: 'xlstm', needs: 'nothing', program: 'ours/tokenizer.ts', job: { task: 'encode' } },
    peers: [python('tokenizers', 'tokenizers', 'encode'), python('tiktoken', 'tiktoken', 'encode')],
    prepare: async (folder, quick) => ({
      documents: writeDocuments(folder, source, (quick ? QUICK : MEGABYTES) * 1e6),
      tokenizer: await tokenizerFolder(source),
    }),
  },
  {
    id: 'bpe-train',
    title: `training a BPE of ${VOCABULARY} tokens on ${MEGABYTES} MB of text`,
    // Pairs that are equally frequent are merged in another order.
    tolerance: 2e-3,
    targets: [{ ratio: 1 }],
    threads: [1],
    ours: { name: 'xlstm', needs: 'nothing', program: 'ours/tokenizer.ts', job: { task: 'train' } },
    peers: [python('tokenizers', 'tokenizers', 'train')],
    prepare: (folder, quick) =>
      Promise.resolve({
        documents: writeDocuments(folder, source, (quick ? QUICK : MEGABYTES) * 1e6),
        vocabSize: quick ? 2000 : VOCABULARY,
      }),
  },
];
