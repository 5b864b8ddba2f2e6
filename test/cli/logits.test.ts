/** @file `xlstm logits`: prints and writes the same numbers, without a tokenizer; mistakes are one sentence. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { openSafetensors } from '../../src/model/safetensors.js';
import { relativeRms } from '../support/compare.js';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { smallModelFolder } from '../support/small-model.js';

const device = ['--device', fastestDevice()];

describe.skipIf(!commandIsBuilt)('the command (needs npm run build)', () => {
  it('prints all logits, the best ones, or writes them', async () => {
    const model = await smallModelFolder(1, { vocabSize: 11 }, false);
    const file = path.join(temporaryFolder(), 'l.safetensors');
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await xlstm(['logits', model, '--tokens', '3,1,4,1,5', ...args, ...device]);
      expect(code, stderr).toBe(0);
      return stdout;
    };
    const [printed, stepped] = await Promise.all([run('--json'), run('--json', '--step')]);
    const { logits } = JSON.parse(printed) as { logits: number[][][] };
    expect([logits.length, logits[0]!.length, logits[0]![0]!.length]).toEqual([1, 5, 11]);
    const flat = logits.flat(2);
    expect(relativeRms((JSON.parse(stepped) as { logits: number[][][] }).logits.flat(2), flat)).toBeLessThan(2e-5);
    expect(await run('--out', file)).toContain('logits [1,5,11]');
    using open = openSafetensors(file);
    expect([...open.readFloat32('logits')]).toEqual(flat.map(Math.fround));
    const lines = (await run('--top', '2')).trim().split('\n');
    expect(lines.length).toBe(5);
    const last = logits[0]![4]!;
    const best = last.indexOf(Math.max(...last));
    expect(lines[4]).toMatch(
      new RegExp(`^ +4 +5 -> ${best} \\(${last[best]!.toFixed(6).replace('.', '\\.')}\\)  \\d+ \\(`),
    );
  });

  it('ends quietly when its reader does', async () => {
    const model = await smallModelFolder(1, { vocabSize: 11 }, false);
    const tokens = Array.from({ length: 20_000 }, (_, k) => k % 11).join(' ');
    const file = path.join(temporaryFolder(), 'ids.txt');
    writeFileSync(file, tokens);
    const { code, stderr } = await xlstm(['logits', model, '--tokens-file', file, '--json', ...device], ({ stdout }) =>
      stdout!.once('data', () => stdout!.destroy()),
    );
    expect([code, stderr]).toEqual([0, '']);
  });

  it('refuses in one sentence', async () => {
    const model = await smallModelFolder(1, { vocabSize: 11 }, false);
    const cases: [args: string[], message: string][] = [
      [[], 'give either --tokens 1,2,3 or --tokens-file FILE'],
      [['--tokens', ''], 'there are no token ids'],
      [['--tokens', '3,11'], 'token 11 at position 1 is not in the vocabulary of 11 tokens'],
      [['--tokens-file', path.join(model, 'none')], 'there is no file'],
      [['--tokens-file', path.join(model, 'model.safetensors')], 'has no tensor "tokens"'],
      [['--tokens', '1', '--out', path.join(model, 'none', 'l')], 'the folder does not exist'],
    ];
    const results = await Promise.all(cases.map(([args]) => xlstm(['logits', model, ...args, ...device])));
    for (const [k, { code, stderr }] of results.entries()) {
      expect(code).toBe(1);
      expect(stderr.trim().split('\n').length).toBe(1);
      expect(stderr).toContain(cases[k]![1]);
    }
  });
});
