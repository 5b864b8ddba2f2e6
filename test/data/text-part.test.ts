/** @file Texts in memory are cut into the batches that the same texts on disk are cut into. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { createBatches, evaluationBatches } from '../../src/data/batches.js';
import { openDataset } from '../../src/data/dataset.js';
import { prepareDataset } from '../../src/data/prepare.js';
import { textPart } from '../../src/data/text-part.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { charTokenizer } from '../../src/tokens/chars.js';
import { temporaryFolder } from '../support/folders.js';

const texts = ['the first of them', 'a second, <|endoftext|> and', 'the third: naïve 🙂'];

it.each([true, false])('gives the batches of a dataset, with an end-of-text token: %s', async (withEnd) => {
  const tokenizer = withEnd ? new ByteTokenizer() : await charTokenizer(texts);
  const folder = temporaryFolder();
  const file = path.join(folder, 'a.jsonl');
  writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  const dataset = { files: [file], tokenizer, folder: path.join(folder, 'data'), validationFraction: 0 };
  await prepareDataset(dataset);
  using stored = openDataset(dataset.folder);
  const part = textPart(texts, tokenizer);
  expect(part.tokens.length).toBe(stored.train.tokens.length);
  expect(part.documents.length).toBe(3);
  expect(part.meta.bytes).toBe(stored.train.meta.bytes);
  for (const order of ['shuffle', 'stream'] as const) {
    const [here, there] = [part, stored.train].map((each) => createBatches(each, { B: 2, T: 7, order }));
    for (let step = 0; step < 9; step++) expect(here!.batchAt(step), `step ${step}`).toEqual(there!.batchAt(step));
  }
  const [here, there] = [part, stored.train].map((each) => [...evaluationBatches(each, { B: 2, T: 7 })]);
  expect(here).toEqual(there);
});

it('refuses places that are not there, and a text that is too short', () => {
  const part = textPart(['abc'], new ByteTokenizer(), 'page');
  expect(() => part.tokens.at(5)).toThrow(RangeError);
  expect(() => part.tokens.copy(new Int32Array(9), 0, 2, 4)).toThrow('numbers 2 to 6 are not within the 5');
  expect(() => createBatches(part, { B: 1, T: 9 })).toThrow('the page part has 5 tokens (3 bytes of text)');
});
