/**
 * @file Every command and every program in the documents runs. A line of an `sh` block that begins with `npx xlstm`,
 * `npx tsx` or `node`, and each `ts` block, is run as it stands, document by document and in order, in a folder that
 * looks like a clone and has a `book.txt`. A block after `<!-- not run: reason -->` is skipped under that reason.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandIsBuilt } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { documentNames, readDocument, root, runnables, type Runnable } from '../support/documents.js';
import { sotuFiles } from '../support/sotu.js';

/** What a command writes must not land in the project; everything else of it is there. */
const WRITTEN = ['runs', 'build', 'coverage'];

function makeClone(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'xlstm-docs-'));
  const names = readdirSync(root).filter((name) => !WRITTEN.includes(name) && !name.startsWith('.'));
  for (const name of names) symlinkSync(path.join(root, name), path.join(folder, name));
  const [first, second] = sotuFiles(2).map((file) => readFileSync(file, 'utf8'));
  writeFileSync(path.join(folder, 'book.txt'), first! + second!);
  return folder;
}

/** The programs that `npx` would start, without asking a registry. */
const programs: Readonly<Record<string, string>> = {
  'npx xlstm': `"${process.execPath}" dist/cli/main.js`,
  'npx tsx': `"${process.execPath}" node_modules/tsx/dist/cli.mjs`,
  node: `"${process.execPath}"`,
};

function commandLine({ kind, text, line }: Runnable, folder: string): string {
  if (kind === 'command') return text.replace(/^(npx (?:xlstm|tsx)|node)\b/, (name) => programs[name]!);
  const file = `line-${line}.ts`;
  writeFileSync(path.join(folder, file), text);
  return `${programs['npx tsx']} ${file}`;
}

const missing = !commandIsBuilt
  ? 'needs npm run build'
  : fastestDevice() !== 'cpu'
    ? 'needs the native library: node native/build.mjs'
    : '';

it('finds what can be run in a document', () => {
  const markdown =
    'Text\n\n```sh\nnpm ci\nnpx xlstm train a.txt \\\n  --steps 3 # few\n```\n\n' +
    '<!-- not run: takes a day -->\n\n```sh\nnode x.mjs\n```\n\n```ts\nf();\n```\n\n```text\nnode y\n```\n';
  expect(runnables(markdown)).toMatchObject([
    { kind: 'command', text: 'npx xlstm train a.txt --steps 3 # few', line: 5, notRun: null },
    { kind: 'command', text: 'node x.mjs', line: 12, notRun: 'takes a day' },
    { kind: 'program', text: 'f();\n', line: 16, notRun: null },
  ]);
  expect(runnables(readDocument('README.md')).length).toBeGreaterThan(4);
});

/** The ten lines of the README, smaller than they stand, are in readme.test.ts. */
const isElsewhere = (name: string, { kind }: Runnable): boolean => name === 'README.md' && kind === 'program';

const documents = documentNames()
  .map((name) => ({ name, items: runnables(readDocument(name)).filter((item) => !isElsewhere(name, item)) }))
  .filter(({ items }) => items.length > 0);

describe.each(documents)('$name', ({ items }) => {
  describe.skipIf(missing !== '')(missing === '' ? 'runs' : `runs (skipped: ${missing})`, () => {
    let folder: string;
    beforeAll(() => {
      folder = makeClone();
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    for (const item of items) {
      const what = `line ${item.line}: ${item.kind === 'command' ? item.text : 'program'}`;
      it.skipIf(item.notRun !== null)(item.notRun === null ? what : `${what} (not run: ${item.notRun})`, () => {
        const line = commandLine(item, folder);
        const { status, stdout, stderr } = spawnSync(line, { cwd: folder, shell: true, encoding: 'utf8' });
        expect(status, `${stdout}\n${stderr}`).toBe(0);
      });
    }
  });
});
