/** @file The tokens of a text are made once for all runs of a comparison, whoever comes first, and again when it changes. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { sharedRunData } from '../../src/experiments/shared-text.js';
import { resolveRunConfig, type RunConfig } from '../../src/train/config.js';
import { temporaryFolder } from '../support/folders.js';

/** Documents that can be told apart, so that a split at random would show. */
function prepare(): { file: string; folder: string; config: (seed: number, more?: object) => RunConfig } {
  const parent = temporaryFolder();
  const file = path.join(parent, 'documents.jsonl');
  const lines = Array.from({ length: 60 }, (_, k) => JSON.stringify({ text: `document number ${k} `.repeat(5) }));
  fs.writeFileSync(file, `${lines.join('\n')}\n`);
  return {
    file,
    folder: path.join(parent, 'shared'),
    config: (seed, more = {}) =>
      resolveRunConfig(
        { data: { files: [file], tokenizer: 'bpe', vocabSize: 300, ...more }, training: { seed, contextLength: 8 } },
        'config',
      ),
  };
}

const texts = (folder: string) => fs.readdirSync(folder).map((name) => path.join(folder, name, 'text'));

it('is made once when several runs begin together, and leaves nothing else behind', async () => {
  const { folder, config } = prepare();
  const all = await Promise.all([0, 1, 2].map((seed) => sharedRunData(config(seed), folder)));
  expect(texts(folder)).toHaveLength(1);
  expect(fs.readdirSync(path.dirname(texts(folder)[0]!))).toEqual(['text']);
  const made = fs.statSync(texts(folder)[0]!).mtimeMs;
  all.push(await sharedRunData(config(3), folder));
  expect(fs.statSync(texts(folder)[0]!).mtimeMs).toBe(made);

  // Seeds differ in the order of the training, not in what is held out.
  const heldOut = all.map((data) => [...data.validationBatches(0)!].flatMap(({ tokens }) => [...tokens]).join(' '));
  expect(new Set(heldOut).size).toBe(1);
  expect(new Set(all.map((data) => [...data.batchAt(0).tokens].join(' '))).size).toBe(4);
  for (const data of all) data.close();
});

it('is another one for other options and for files that have changed', async () => {
  const { file, folder, config } = prepare();
  (await sharedRunData(config(0), folder)).close();
  (await sharedRunData(config(0, { vocabSize: 290 }), folder)).close();
  expect(texts(folder)).toHaveLength(2);
  fs.appendFileSync(file, `${JSON.stringify({ text: 'one more' })}\n`);
  (await sharedRunData(config(0), folder)).close();
  expect(texts(folder)).toHaveLength(3);
});

it('is made by the next run when the one that made it was killed', async () => {
  const { folder, config } = prepare();
  (await sharedRunData(config(0), folder)).close();
  const [ready] = texts(folder);
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  fs.renameSync(ready!, `${ready}.tmp-${gone}`);
  fs.rmSync(path.join(`${ready}.tmp-${gone}`, 'tokenizer.json'));
  const holder = { pid: gone, host: (await import('node:os')).hostname(), began: '' };
  fs.writeFileSync(path.join(path.dirname(ready!), '.lock'), JSON.stringify(holder));
  (await sharedRunData(config(0), folder)).close();
  expect(fs.readdirSync(path.dirname(ready!))).toEqual(['text']);
});

it('names a text that is not there', async () => {
  const { file, folder, config } = prepare();
  fs.rmSync(file);
  await expect(sharedRunData(config(0), folder)).rejects.toThrow('documents.jsonl');
});
