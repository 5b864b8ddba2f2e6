/** @file `verifyModel`: statistics against a plain definition in every type, and what it finds. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { WeightFormat } from '../../src/device/kernels.js';
import { fromFloat32 } from '../../src/model/float-formats.js';
import { openModelSource } from '../../src/model/formats/open.js';
import type { ModelSource, ParameterSource } from '../../src/model/formats/source.js';
import { loadModel } from '../../src/model/checkpoint.js';
import { verifyModel } from '../../src/model/verify.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice, referenceDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { goldenFolder } from '../support/models.js';
import { smallModelFolder } from '../support/small-model.js';

/** A golden model, some of whose parameters are given other bytes. */
function withBytes(changes: Readonly<Record<string, Partial<ParameterSource> | null>>): ModelSource {
  const source = openModelSource(goldenFolder('hf_xlstm'));
  const parameters = new Map(source.parameters);
  for (const [name, change] of Object.entries(changes)) {
    if (change === null) parameters.delete(name);
    else parameters.set(name, { ...source.parameters.get('norm.weight')!, name, memory: () => null, ...change });
  }
  return { ...source, parameters };
}

const bytesOf = (array: Float32Array | Uint16Array | Float64Array) => new Uint8Array(array.buffer);

describe('statistics', () => {
  const values = Float32Array.from(normal(randomKey(4), 128, 0.5, 2));
  values[7] = 0;
  values[9] = -0;
  it.each([
    ['F32', values, bytesOf(values)],
    ['F64', values, bytesOf(Float64Array.from(values))],
    ['BF16', null, bytesOf(fromFloat32(values, 'BF16'))],
    ['F16', null, bytesOf(fromFloat32(values, 'F16'))],
  ] as const)('%s', async (dtype, exact, bytes) => {
    const source = withBytes({ 'norm.weight': { dtype, byteLength: bytes.length, bytes: () => bytes } });
    const { parameters, problems } = await verifyModel(source, referenceDevice());
    const { rms, min, max, zeros, count } = parameters.find(({ name }) => name === 'norm.weight')!;
    const square = values.reduce((sum, x) => sum + x * x, 0) / values.length;
    const tolerance = exact === null ? 1e-2 : 1e-12;
    expect(Math.abs(rms / Math.sqrt(square) - 1)).toBeLessThan(tolerance);
    expect(Math.abs(min / Math.min(...values) - 1)).toBeLessThan(tolerance);
    expect(Math.abs(max / Math.max(...values) - 1)).toBeLessThan(tolerance);
    expect([zeros, count, problems]).toEqual([2, 128, []]);
  });
});

describe('finds', () => {
  it.each(['F32', 'BF16', 'F16'] as const)('values that are not finite, and where: %s', async (dtype) => {
    const values = new Float32Array(128).fill(1);
    values[100] = NaN;
    values[90] = Infinity;
    const bytes = bytesOf(fromFloat32(values, dtype));
    const source = withBytes({ 'norm.weight': { dtype, byteLength: bytes.length, bytes: () => bytes } });
    const { problems } = await verifyModel(source, referenceDevice());
    expect(problems).toEqual(['norm.weight: 2 of 128 values are not finite, the first at [90]']);
  });

  it('what is missing, foreign, of another shape, all zero, huge', async () => {
    const zero = { dtype: 'F32', shape: [2, 128], byteLength: 1024, bytes: () => new Uint8Array(1024) } as const;
    const source = withBytes({
      'blocks.0.norm.weight': null,
      'blocks.7.norm.weight': { bytes: () => bytesOf(new Float32Array(128).fill(1)) },
      'blocks.1.mixer.fgate.bias': { bytes: () => bytesOf(new Float32Array(128).fill(1)) },
      'blocks.1.norm.weight': { bytes: () => bytesOf(new Float32Array(128).fill(-1e6)) },
      'blocks.0.mixer.q.weight': { ...zero, shape: [64, 128], byteLength: 32768, bytes: () => new Uint8Array(32768) },
    });
    const { problems, warnings } = await verifyModel(source, referenceDevice());
    expect(problems).toEqual([
      'blocks.0.norm.weight: is missing',
      'blocks.1.mixer.fgate.bias: must be [2] by the configuration, got [128]',
      'blocks.7.norm.weight: a model of this configuration has no such parameter',
    ]);
    expect(warnings).toEqual([
      'blocks.0.mixer.q.weight: is all zero',
      'blocks.1.norm.weight: has values as large as 1.00e+6',
    ]);
  });

  it('a scale of a packed matrix that is not finite', async () => {
    const device = referenceDevice();
    using model = loadModel(goldenFolder('hf_xlstm'), device, { storage: 'int8' }).model;
    const tensor = model.tensors['head.weight']!;
    const bytes = (await device.read(tensor.buffer)) as Uint8Array;
    const packing = { format: WeightFormat.int8, group: 64 };
    const change = { dtype: 'U8', shape: tensor.shape, packing, byteLength: bytes.length, bytes: () => bytes } as const;
    expect((await verifyModel(withBytes({ 'head.weight': change }), device)).problems).toEqual([]);
    const row = bytes.length / 113;
    bytes[3 * row + 128 + 3] = 0x7f; // upper byte of the second scale of row 3
    bytes[3 * row + 128 + 2] = 0x80;
    const { problems } = await verifyModel(withBytes({ 'head.weight': change }), device);
    expect(problems[0]).toMatch(/^head\.weight: \d+ of 14464 values are not finite, the first at \[3,6\d\]$/);
  });
});

describe.skipIf(!commandIsBuilt)('the command (needs npm run build)', () => {
  const device = ['--device', fastestDevice()];

  it('prints a table, or JSON; a damaged model ends with 1 and a sentence', async () => {
    const model = await smallModelFolder();
    const good = await xlstm(['verify', model, ...device]);
    expect(good.code, good.stderr).toBe(0);
    expect(good.stdout).toMatch(/blocks\.0\.mixer\.up\.weight +\[128,16\] +F32/);
    expect(good.stdout.trimEnd()).toMatch(/native, \d+ tensors, [\d.]+k values: whole$/);

    const file = path.join(model, 'model.safetensors');
    const bytes = fs.readFileSync(file);
    bytes.fill(0xff, bytes.length - 4); // the last float becomes NaN
    fs.writeFileSync(file, bytes);
    const bad = await xlstm(['verify', model, '--json', ...device]);
    expect(bad.code).toBe(1);
    expect(bad.stderr).toMatch(/^xlstm: norm\.weight: 1 of 16 values are not finite, the first at \[15\]\n$/);
    expect((JSON.parse(bad.stdout) as { problems: string[] }).problems).toHaveLength(1);

    fs.truncateSync(file, bytes.length - 3);
    const short = await xlstm(['verify', model, ...device]);
    expect([short.code, short.stderr]).toEqual([1, expect.stringMatching(/the file is truncated/)]);
    expect(await xlstm(['verify', temporaryFolder(), ...device])).toMatchObject({ code: 1 });
  });
});
