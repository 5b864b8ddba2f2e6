/** @file Safetensors in memory: the same bytes as on disk, and the same refusals. */
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { openSafetensors, writeSafetensors } from '../../src/model/safetensors.js';
import { parseSafetensors, safetensorsBytes } from '../../src/model/safetensors-bytes.js';
import { SafetensorsError } from '../../src/model/safetensors-header.js';
import type { TensorToWrite } from '../../src/model/tensor-array.js';
import { temporaryFolder } from '../support/folders.js';

const tensors: TensorToWrite[] = [
  { name: 'é', dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 0, 1e-30, 7) },
  { name: 'a.bytes', dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 255) },
  { name: 'a', dtype: 'F64', shape: [1], data: Float64Array.of(Math.PI) },
  { name: 'z', dtype: 'BF16', shape: [2], data: () => Uint16Array.of(0x3f80, 0x4000) },
];

it('gives the bytes of the file, and the tensors of its bytes', async () => {
  const file = path.join(temporaryFolder(), 'a.safetensors');
  await writeSafetensors(file, tensors, { format: 'xlstm' });
  const bytes = await safetensorsBytes(tensors, { format: 'xlstm' });
  expect(Buffer.from(bytes).equals(fs.readFileSync(file))).toBe(true);

  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  using open = openSafetensors(file);
  for (const place of [bytes, shifted.subarray(1)]) {
    const content = parseSafetensors(place);
    expect(content.metadata).toEqual({ format: 'xlstm' });
    expect([...content.tensors.keys()]).toEqual(['a', 'é', 'z', 'a.bytes']);
    for (const [name, { shape, data }] of content.tensors) {
      expect(data, name).toEqual(open.read(name));
      expect(shape).toEqual(open.tensors.get(name)!.shape);
    }
  }
});

it('refuses what is no safetensors file, and tensors that do not fit their shape', async () => {
  const bytes = await safetensorsBytes(tensors);
  expect(() => parseSafetensors(bytes.subarray(0, -1), 'upload')).toThrow(SafetensorsError);
  expect(() => parseSafetensors(bytes.subarray(0, -1), 'upload')).toThrow(/^upload: /);
  await expect(safetensorsBytes([{ name: 'w', dtype: 'F32', shape: [2], data: new Float32Array(3) }])).rejects.toThrow(
    'takes a Float32Array of 2, got a Float32Array of 3',
  );
});
