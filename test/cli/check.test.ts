/** @file `xlstm check` as its users run it: files anywhere on the disk, TypeScript and JavaScript, good and broken ones. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { root } from '../support/documents.js';
import { temporaryFolder } from '../support/folders.js';

const example = fs.readFileSync(path.join(root, 'examples/my-mixer.ts'), 'utf8');

function write(name: string, text: string): string {
  const file = path.join(temporaryFolder(), name);
  fs.writeFileSync(file, text);
  return file;
}

describe.skipIf(!commandIsBuilt)('xlstm check', () => {
  it('a TypeScript file far from any package: its xlstm and zod are those of the command', async () => {
    // An instance of its own would have no scope open, and its options would be no options.
    const file = write('mine.ts', example);
    const { code, stdout, stderr } = await xlstm(['check', file, '--dim', '16', '--set', 'rate=0.5']);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^leakyAverage: a leaky average/);
    expect(stdout).toMatch(/all \d+ checks hold on reference/);
    expect(code).toBe(0);
  });

  it('a file that imports another one, as TypeScript writes it', async () => {
    const file = write('mine.ts', "export { default } from './other.js';\nenum Unused { a, b }\n");
    fs.writeFileSync(path.join(path.dirname(file), 'other.ts'), example);
    expect((await xlstm(['check', file, '--dim', '8'])).code).toBe(0);
  });

  it('a JavaScript file, with the same module instances', async () => {
    const text = `
      import * as library from 'xlstm';
      import * as z from 'zod';
      const lstm = library.findMixer('lstm');
      export default library.defineMixer({
        ...lstm,
        name: 'mine',
        summary: \`one of \${library.mixerNames().length}\`,
        options: z.strictObject({ heads: z.number().default(2).describe('Heads.') }),
        create: ({ heads }, place) => lstm.create(lstm.options.parse({ heads }), place),
      });`;
    for (const name of ['mine.mjs', 'mine.mts']) {
      const { code, stdout, stderr } = await xlstm(['check', write(name, text), '--dim', '8']);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toContain('mine: one of');
    }
  });

  it('a broken one: code 1, what fails, by how much, and what it means', async () => {
    const leaky = example.replace('?? null, reset }', '?? null, reset: null }');
    expect(leaky).not.toBe(example);
    const file = write('mine.ts', leaky);
    const { code, stdout } = await xlstm(['check', file, '--dim', '8']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/FAIL {2}packed = separate on reference +\d\.\d+ +1e-9\n +a document sees something/);
    expect(stdout).toMatch(/\d of \d+ checks do not hold: a document sees something of the one before it/);
    const json = await xlstm(['check', file, '--dim', '8', '--json']);
    const checks = JSON.parse(json.stdout) as { name: string; holds: boolean }[];
    expect(checks.find(({ holds }) => !holds)?.name).toMatch(/^packed/);
  });

  it('a mixer of the library by its name', async () => {
    const { code, stdout } = await xlstm(['check', 'slstm', '--dim', '8', '--set', 'heads=2']);
    expect(code).toBe(0);
    expect(stdout).toContain('checks hold');
  });

  it('what is wrong with a file, in a sentence', async () => {
    const definition = 'name: "a", summary: "b", options: z.strictObject({}), feedForward: "layer", create() {}';
    const of = (text: string) => `import * as z from 'zod';\nexport default {${text}};`;
    const wrong: readonly (readonly [name: string, text: string, message: string | RegExp])[] = [
      ['a.ts', 'export const mixer = 1;', 'has no mixer as its default export; write export default defineMixer('],
      ['a.ts', 'const x: number = ;', /cannot be loaded: .*a\.ts:1: /],
      ['a.ts', "import './absent.js';", 'cannot be loaded: Cannot find module'],
      ['a.txt', '', 'a mixer is a .ts, .mts, .js or .mjs file'],
      ['a.ts', of(definition.replace('summary: "b", ', '')), 'its default export is no mixer: summary must be a text'],
      ['a.ts', of(definition.replace('"layer"', '"layers"')), 'feedForward must be one of none, layer, channelMix'],
      ['a.ts', of(definition.replace('({})', '({ heads: z.number() })')), 'options without a default: heads'],
      ['a.ts', of(definition.replace('"a"', '"lstm"')), '"lstm" is a mixer of the library; choose another name'],
    ];
    for (const [name, text, message] of wrong) {
      const { code, stderr } = await xlstm(['check', write(name, text)]);
      expect(stderr).toMatch(message);
      expect(stderr.trim().split('\n')).toHaveLength(1);
      expect(code).toBe(1);
    }
    expect((await xlstm(['check', './absent.ts'])).stderr).toContain('./absent.ts: cannot be read (ENOENT)');
    expect((await xlstm(['check', 'lstn'])).stderr).toContain('there is no mixer "lstn"; did you mean "lstm"?');
    expect((await xlstm(['check', 'lstm', '--set', 'haeds=2'])).stderr).toContain('did you mean "heads"?');
    expect((await xlstm(['check', 'lstm', '--dim', '10'])).stderr).toContain('heads must divide the width');
  });
});
