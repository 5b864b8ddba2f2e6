/** @file The ten lines of the README: they are examples/quickstart.ts, and they run. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { commandIsBuilt } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { codeBlocks, readDocument, root } from '../support/documents.js';
import { sotuFiles } from '../support/sotu.js';

const lines = codeBlocks(readDocument('README.md')).find(({ language }) => language === 'ts')!.code;

/** Replaces what must be there exactly once: a README that no longer has it fails here and not silently later. */
function replaceOnce(text: string, from: string, to: string): string {
  expect(text.split(from), `the README's lines have "${from}" once`).toHaveLength(2);
  return text.replace(from, to);
}

/** The same lines with a model, steps and a text that take seconds on every device. */
function small(text: string): string {
  const device = fastestDevice();
  const model = `model: { dim: 32, blocks: ['mlstm', 'slstm'] }, device: { name: '${device}' }`;
  const training = 'training: { steps: 20, batchSize: 2, contextLength: 16 }';
  const rest = 'evaluation: { batches: 1 }, samples: { everySteps: 0 }, data: { files, validationFraction: 0.02 }';
  const changes: [string, string][] = [
    ['data: { files }, model: { dim: 128 }, training: { steps: 200 }', `${rest}, ${model}, ${training}`],
    ['TextModel.load(run.folder)', `TextModel.load(run.folder, { device: '${device}' })`],
    ['maxTokens: 300', 'maxTokens: 30'],
  ];
  return changes.reduce((all, [from, to]) => replaceOnce(all, from, to), text);
}

it('is examples/quickstart.ts, line by line', () => {
  expect(lines).toBe(readDocument('examples/quickstart.ts'));
});

describe.skipIf(!commandIsBuilt)('the ten lines (need npm run build)', () => {
  // Within the project, so that they find the package by its name.
  mkdirSync(path.join(root, 'build'), { recursive: true });
  const folder = mkdtempSync(path.join(root, 'build', 'readme-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('train and generate', () => {
    writeFileSync(path.join(folder, 'quickstart.ts'), small(lines));
    writeFileSync(path.join(folder, 'book.txt'), readFileSync(sotuFiles(1)[0]!, 'utf8').slice(0, 5000));
    const tsx = path.join(root, 'node_modules', 'tsx', 'dist', 'cli.mjs');
    const { stdout, stderr, status } = spawnSync(process.execPath, [tsx, 'quickstart.ts', 'book.txt'], {
      cwd: folder,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^step 20 of 20, loss [4-6]\.\d\d nats per token\n./);
    const [run] = readdirSync(path.join(folder, 'runs'));
    expect(readdirSync(path.join(folder, 'runs', run!))).toEqual(
      expect.arrayContaining(['checkpoints', 'config.yaml', 'metrics.jsonl', 'report.html']),
    );
  });
});
