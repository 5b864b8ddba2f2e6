/** @file Encodes documents with a BPE, or trains one on them. */
import fs from 'node:fs';
import { trainBpe } from '../../../src/tokens/bpe-train.js';
import { loadTokenizer } from '../../../src/tokens/load.js';
import type { Tokenizer } from '../../../src/tokens/tokenizer.js';
import { answer, readJob, time } from './job.js';

const job = readJob<{ task: 'encode' | 'train'; documents: string; tokenizer: string; vocabSize: number }>();
const documents = JSON.parse(fs.readFileSync(job.documents, 'utf8')) as string[];

/** Number of tokens, and a sum that depends on each and its place. */
function summary(tokenizer: Tokenizer, texts: readonly string[]): { tokens: number[]; sums: number[] } {
  const ids = texts.map((text) => tokenizer.encode(text));
  return {
    tokens: [ids.reduce((sum, { length }) => sum + length, 0)],
    sums: ids.slice(0, 1000).map((document) => document.reduce((sum, id, k) => (sum + id * (k + 1)) % 1_000_003, 0)),
  };
}

if (job.task === 'encode') {
  const tokenizer = await loadTokenizer(job.tokenizer);
  const outputs = summary(tokenizer, documents);
  const encode = (): void => {
    for (const document of documents) tokenizer.encode(document);
  };
  answer({ seconds: { '': await time(job, encode) }, outputs });
} else {
  const train = () => trainBpe(documents, { vocabSize: job.vocabSize });
  const tokenizer = job.check ? await train() : null;
  // What it makes of the text is compared, not the order of its merges.
  const outputs = tokenizer === null ? {} : { tokens: summary(tokenizer, documents.slice(0, 250)).tokens };
  answer({ seconds: { '': await time(job, train) }, outputs });
}
