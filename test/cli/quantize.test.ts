/** @file `xlstm quantize`: a smaller folder that opens in place, what it costs, and what is refused. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { openDevice } from '../../src/device/open.js';
import { TextModel } from '../../src/generate/text-model.js';
import { loadModel } from '../../src/model/checkpoint.js';
import { openModelSource } from '../../src/model/formats/open.js';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { smallModelFolder } from '../support/small-model.js';

const device = ['--device', fastestDevice()];
const config = { dim: 256, blocks: ['mlstmLarge'], mlstmLarge: { heads: 2 } };

describe.skipIf(!commandIsBuilt)('the command (needs npm run build)', () => {
  it.each([
    ['8', '48', 0.35],
    ['4', '32', 0.25],
  ])('%s bits in groups of %s', async (bits, group, most) => {
    const model = await smallModelFolder(1, config);
    const text = path.join(temporaryFolder(), 'text.txt');
    fs.writeFileSync(text, 'She sells sea shells by the sea shore. '.repeat(20));
    const out = path.join(temporaryFolder(), 'packed');
    const args = ['quantize', model, out, '--bits', bits, '--group', group, '--text', text, '--json', ...device];
    const { code, stdout, stderr } = await xlstm(args);
    expect(code, stderr).toBe(0);
    const result = JSON.parse(stdout) as {
      bytes: { before: number; after: number };
      before: { perplexity: number };
      after: { perplexity: number };
    };
    using source = openModelSource(out);
    const bytes = [...source.parameters.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(result.bytes.after).toBe(bytes);
    expect(result.bytes.after / result.bytes.before).toBeLessThan(most); // rows of 256 are padded by a quarter
    expect(result.after.perplexity).not.toBe(result.before.perplexity);
    expect(Math.abs(result.after.perplexity / result.before.perplexity - 1)).toBeLessThan(0.1);

    // Packed when it is opened or beforehand: the same bytes.
    const opened = await openDevice(fastestDevice());
    using beforehand = loadModel(out, opened, { storage: 'stored' }).model;
    const storage = bits === '8' ? 'int8' : 'int4';
    using now = loadModel(model, opened, { storage, group: Number(group) }).model;
    for (const [name, tensor] of Object.entries(now.tensors)) {
      const packed = beforehand.tensors[name]!;
      expect(packed.packing).toEqual(tensor.packing);
      expect(await opened.read(packed.buffer)).toEqual(await opened.read(tensor.buffer));
    }
    using generator = await TextModel.load(out, { device: fastestDevice() });
    let generated = '';
    for await (const piece of generator.generate('She', { maxTokens: 4, temperature: 0 })) generated += piece;
    expect(generated.length).toBeGreaterThan(0);
  });

  it('refuses in one sentence', async () => {
    const model = await smallModelFolder(1, config);
    const packed = path.join(temporaryFolder(), 'packed');
    expect((await xlstm(['quantize', model, packed, ...device])).code).toBe(0);
    const elsewhere = path.join(temporaryFolder(), 'again');
    const cases: [args: string[], message: string][] = [
      [[packed, elsewhere], 'is packed already; pack the model that it was made from'],
      [[model, packed], 'exists already; give a folder that is not there yet'],
      [[model, elsewhere, '--group', '20'], 'must be a multiple of 16'],
      [[model, elsewhere, '--bits', '4', '--group', '0'], 'must be a multiple of 16'],
      [[model, elsewhere, '--text', path.join(model, 'none.txt')], 'there is no file'],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await xlstm(['quantize', ...args, ...device]);
      expect(code).toBe(1);
      expect(stderr.trim().split('\n').length).toBe(1);
      expect(stderr).toContain(message);
      expect(fs.existsSync(elsewhere)).toBe(false);
    }
  });
});
