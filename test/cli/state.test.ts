/** @file `xlstm state` and `generate --state`: a saved state stands for the text that it has read. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { smallModelFolder } from '../support/small-model.js';

const device = ['--device', fastestDevice()];
const greedy = [...device, '--temperature', '0', '--max-tokens', '20'];

async function output(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await xlstm(args);
  expect(code, stderr).toBe(0);
  return stdout;
}

async function sentence(...args: string[]): Promise<string> {
  const { code, stderr } = await xlstm(args);
  expect(code).toBe(1);
  expect(stderr.trim().split('\n').length, stderr).toBe(1);
  return stderr.trim();
}

describe.skipIf(!commandIsBuilt)('the command (needs npm run build)', () => {
  it('generates from a saved state as from the whole text', async () => {
    const [model, folder] = [await smallModelFolder(), temporaryFolder()];
    const [book, state, more] = ['book.md', 'book.state', 'more.state'].map((name) => path.join(folder, name));
    const text = 'It was the best of times, it was the worst of times. ';
    fs.writeFileSync(book!, text);
    expect(await output('state', 'save', model, '--prompt-file', book!, '-o', state!, ...device)).toContain(
      `${state}: ${text.length} tokens read`,
    );
    const whole = await output('generate', model, `${text}And then`, ...greedy);
    const rest = await output('generate', model, 'And then', '--state', state!, ...greedy);
    expect(text + rest).toBe(whole);
    expect(rest.length).toBeGreaterThan('And then'.length + 3);

    await output('state', 'save', model, '--state', state!, '--prompt', 'And then', '-o', more!, ...device);
    expect(`${text}And then${await output('generate', model, '--state', more!, ...greedy)}`).toBe(whole);

    const shown = await output('state', 'show', more!);
    expect(shown).toContain(`${text.length + 8} tokens read`);
    expect(shown).toMatch(/blocks\.0 +C \[1,2,32,32\]/);
    expect(JSON.parse(await output('state', 'show', more!, '--json'))).toMatchObject({
      tokens: text.length + 8,
      sequences: 1,
      hasLogits: true,
      tensors: { 'blocks.1.cell': [4, 1, 16] },
    });
  });

  it('refuses in one sentence', async () => {
    const [model, other, folder] = [await smallModelFolder(1), await smallModelFolder(2), temporaryFolder()];
    const [state, text] = [path.join(folder, 'a.state'), path.join(folder, 'text.txt')];
    await output('state', 'save', model, '--prompt', 'Hello', '-o', state, ...device);
    fs.writeFileSync(text, 'There is no state in this text, and no header either.');
    const latin = path.join(folder, 'latin1.txt');
    fs.writeFileSync(latin, Buffer.from([0x66, 0xe9, 0x20]));
    const missing = path.join(folder, 'missing');
    const save = (...args: string[]) => sentence('state', 'save', model, ...args, ...device);
    const [foreign, noState, none, nothing, noFile, noFolder, noText] = await Promise.all([
      sentence('generate', other, 'x', '--state', state, ...greedy),
      sentence('generate', model, 'x', '--state', text, ...greedy),
      sentence('state', 'show', missing),
      save('-o', state),
      save('--prompt-file', missing, '-o', state),
      save('--prompt', 'x', '-o', path.join(missing, 'a')),
      save('--prompt-file', latin, '-o', state),
    ]);
    expect(foreign).toMatch(/belongs to the model [0-9a-f]{12}, not to this one, which is [0-9a-f]{12}/);
    expect(noState).toContain(text);
    expect(none).toContain('there is no such file');
    expect(nothing).toContain('--prompt-file or --prompt');
    expect(noFile).toContain(`there is no file ${missing}`);
    expect(noFolder).toContain('the folder does not exist');
    expect(noText).toContain('not UTF-8: byte 0xE9 at offset 1');
  });
});
