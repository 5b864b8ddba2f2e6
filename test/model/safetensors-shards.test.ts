/** @file Tensors of a folder: shards with an index and numbered files, read and written; what is wrong with them is said. */
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openSafetensors, writeSafetensors } from '../../src/model/safetensors.js';
import { SafetensorsError } from '../../src/model/safetensors-header.js';
import type { TensorToWrite } from '../../src/model/tensor-array.js';
import { INDEX, openTensors, writeTensors } from '../../src/model/safetensors-shards.js';
import { temporaryFolder } from '../support/folders.js';
import { goldenFolder } from '../support/models.js';

const tensors: TensorToWrite[] = ['a', 'b', 'c', 'd'].map((name, k) => ({
  name,
  dtype: 'F32',
  shape: [k + 1, 2],
  data: Float32Array.from({ length: 2 * (k + 1) }, (_, at) => 10 * k + at),
}));

async function shards(maxShardBytes = 40): Promise<string> {
  const folder = temporaryFolder();
  await writeTensors(folder, tensors, { maxShardBytes, metadata: { format: 'pt' } });
  return folder;
}

const floats = (bytes: Uint8Array): number[] => [...new Float32Array(bytes.slice().buffer)];

describe('shards', () => {
  it('are as large as allowed, and read as one', async () => {
    const folder = await shards();
    expect(fs.readdirSync(folder).sort()).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      INDEX,
    ]);
    // As Hugging Face's library writes it: json.dumps(index, indent=2, sort_keys=True) + "\n".
    expect(fs.readFileSync(path.join(folder, INDEX), 'utf8')).toBe(
      '{\n  "metadata": {\n    "total_size": 80\n  },\n  "weight_map": {\n' +
        ['a', 'b', 'c', 'd']
          .map((name, k) => `    "${name}": "model-0000${[1, 1, 2, 3][k]}-of-00003.safetensors"`)
          .join(',\n') +
        '\n  }\n}\n',
    );
    using set = openTensors(folder);
    expect([...set.tensors.keys()]).toEqual(['a', 'b', 'c', 'd']);
    for (const { name, data } of tensors) expect(floats(set.view(name))).toEqual([...(data as Float32Array)]);
    expect(set.metadata).toEqual({ format: 'pt' });
    expect(() => set.view('e')).toThrow('no tensor is called "e"');
  });

  it('one file where it is enough', async () => {
    const folder = await shards(1000);
    expect(fs.readdirSync(folder)).toEqual(['model.safetensors']);
    using set = openTensors(folder);
    expect(set.tensors.size).toBe(4);
  });

  it('numbered files, in the order of their numbers', async () => {
    const folder = temporaryFolder();
    for (let k = 0; k < 11; k++) {
      await writeSafetensors(path.join(folder, `model_${k}.safetensors`), [{ ...tensors[0]!, name: `t${k}` }]);
    }
    using set = openTensors(folder);
    expect([...set.tensors.keys()]).toEqual(Array.from({ length: 11 }, (_, k) => `t${k}`));
    fs.rmSync(path.join(folder, 'model_3.safetensors'));
    expect(() => openTensors(folder)).toThrow('model_3.safetensors is missing before model_4.safetensors');
  });
});

describe('what is wrong is said', () => {
  const change = async (edit: (folder: string, index: { weight_map: Record<string, unknown> }) => void) => {
    const folder = await shards();
    const file = path.join(folder, INDEX);
    const index = JSON.parse(fs.readFileSync(file, 'utf8')) as { weight_map: Record<string, unknown> };
    edit(folder, index);
    if (fs.existsSync(file)) fs.writeFileSync(file, JSON.stringify(index));
    return () => openTensors(folder);
  };
  const first = 'model-00001-of-00003.safetensors';

  it.each<[string, (folder: string, index: { weight_map: Record<string, unknown> }) => void, RegExp]>([
    ['a shard that is gone', (folder) => fs.rmSync(path.join(folder, first)), /its shard model-00001.* is missing/],
    ['a tensor that no shard has', (_, { weight_map: map }) => (map['e'] = first), /"e" is not in model-00001/],
    [
      'a tensor that the index lacks',
      (_, { weight_map: map }) => delete map['b'],
      /holds "b", but .* does not name it/,
    ],
    [
      'a tensor elsewhere',
      (_, { weight_map: map }) => (map['a'] = 'model-00002-of-00003.safetensors'),
      /holds "a", but .* says it is in model-00002/,
    ],
    [
      'a path out of the folder',
      (_, { weight_map: map }) => (map['a'] = '../x.safetensors'),
      /must be in a \.safetensors/,
    ],
    ['an absolute path', (_, { weight_map: map }) => (map['a'] = '/etc/passwd'), /must be in a \.safetensors/],
    ['no name', (_, { weight_map: map }) => (map['a'] = 7), /must be in a \.safetensors file of this folder, got 7/],
    ['an empty map', (_, index) => (index.weight_map = {}), /is empty/],
    ['no map', (_, index) => delete (index as { weight_map?: unknown }).weight_map, /has no object "weight_map"/],
    ['no weights at all', (folder) => fs.rmSync(path.join(folder, INDEX)), /no weights here/],
  ])('%s', async (_, edit, message) => {
    const open = await change(edit);
    expect(open).toThrow(SafetensorsError);
    expect(open).toThrow(message);
  });

  it('a tensor in two files', async () => {
    const folder = temporaryFolder();
    for (const k of [0, 1]) await writeSafetensors(path.join(folder, `model_${k}.safetensors`), [tensors[0]!]);
    expect(() => openTensors(folder)).toThrow(/model_1\.safetensors: holds "a", and so does .*model_0\.safetensors/);
  });

  it('any damage to an index: refused in a sentence, or read', async () => {
    const folder = await shards();
    const file = path.join(folder, INDEX);
    const good = fs.readFileSync(file);
    const damage = fc.array(fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) }), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(damage, fc.nat(good.length), (edits, length) => {
        const bytes = Buffer.from(good);
        for (const { at, byte } of edits) bytes[at] = byte;
        fs.writeFileSync(file, length % 3 === 0 ? bytes.subarray(0, length) : bytes);
        try {
          openTensors(folder).close();
        } catch (error) {
          expect(error).toBeInstanceOf(SafetensorsError);
        }
      }),
      { numRuns: 400 },
    );
  });

  it('an index of deep or endless JSON', async () => {
    const folder = await shards();
    const file = path.join(folder, INDEX);
    fs.writeFileSync(file, '['.repeat(200_000));
    expect(() => openTensors(folder)).toThrow(SafetensorsError);
    fs.truncateSync(file, (64 << 20) + 1);
    expect(() => openTensors(folder)).toThrow('more than an index may have');
  });
});

it.each(['hf_xlstm', 'xlstm_large', 'xlstm_lm_mixed'])(
  'a file of another library, written again: the same bytes (%s)',
  async (name) => {
    const original = path.join(goldenFolder(name), 'model.safetensors');
    const copy = path.join(temporaryFolder(), 'model.safetensors');
    using file = openSafetensors(original);
    const again = [...file.tensors].map(([tensor, { dtype, shape }]) => ({
      name: tensor,
      dtype,
      shape,
      data: () => file.read(tensor),
    }));
    await writeSafetensors(copy, again.reverse(), file.metadata);
    expect(fs.readFileSync(copy).equals(fs.readFileSync(original))).toBe(true);
  },
);

it('data begin where they are wanted', async () => {
  const folder = temporaryFolder();
  for (const alignment of [8, 64, 4096]) {
    const file = path.join(folder, `${alignment}`);
    await writeSafetensors(file, tensors, {}, { alignment });
    const header = Number(fs.readFileSync(file).readBigUInt64LE(0));
    expect((8 + header) % alignment).toBe(0);
    using open = openSafetensors(file);
    expect(floats(open.view('b'))).toEqual([10, 11, 12, 13]);
  }
});
