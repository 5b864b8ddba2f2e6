import * as fc from 'fast-check';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WriteError } from '../../src/model/disk.js';
import { buildSafetensorsHeader, parseSafetensorsHeader } from '../../src/model/safetensors-header.js';
import { openSafetensors, writeSafetensors } from '../../src/model/safetensors.js';
import { SafetensorsError } from '../../src/model/safetensors-header.js';
import type { TensorToWrite } from '../../src/model/tensor-array.js';
import { canMount, smallDisk, systemError, temporaryFolder } from '../support/folders.js';

afterEach(() => vi.restoreAllMocks());

/** A file from a header (JSON text or object) and data, without any check. */
function fileBytes(header: string | object, data: Uint8Array | number = 0): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, typeof data === 'number' ? Buffer.alloc(data) : data]);
}

function parse(bytes: Uint8Array) {
  return parseSafetensorsHeader(
    (offset, length) => bytes.subarray(offset, offset + length),
    bytes.length,
    'm.safetensors',
  );
}

function open(bytes: Uint8Array) {
  const file = path.join(temporaryFolder(), 'm.safetensors');
  fs.writeFileSync(file, bytes);
  return openSafetensors(file);
}

const f32 = (name: string, shape: number[], values: number[]): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape,
  data: Float32Array.from(values),
});

/** The elements of a tensor in two pieces. */
async function* halves<T extends { slice(from?: number, to?: number): T; length: number }>(data: T): AsyncGenerator<T> {
  yield data.slice(0, data.length >> 1);
  yield data.slice(data.length >> 1);
}

describe('reading', () => {
  it('reads a file whose bytes are spelled out here', () => {
    const json =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}';
    const data = Buffer.from([0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc1, 7]); // 1, -10 and 7
    using file = open(fileBytes(json, data));
    expect(file.metadata).toEqual({ format: 'pt' });
    expect([...file.tensors.keys()]).toEqual(['b', 'a']);
    expect(file.tensors.get('b')).toMatchObject({ dtype: 'F32', shape: [1, 2], byteLength: 8 });
    expect(file.read('b')).toEqual(Float32Array.of(1, -10)); // the data begins at no multiple of 4
    expect(file.read('a')).toEqual(Uint8Array.of(7));
    expect(() => file.read('c')).toThrow(/no tensor is called "c"; the file has 2 \(b, a\)/);
  });

  it('accepts the corners of the format', () => {
    expect(parse(fileBytes('{}')).tensors.size).toBe(0);
    expect(parse(fileBytes('{}      ')).tensors.size).toBe(0);
    const empty = { dtype: 'F32', shape: [0, 3], data_offsets: [4, 4] };
    const header = {
      z: empty,
      x: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
      e: empty,
      y: { dtype: 'F32', shape: [1], data_offsets: [4, 8] },
    };
    const { tensors } = parse(fileBytes(header, 8));
    expect([...tensors.keys()]).toEqual(['x', 'z', 'e', 'y']);
    const odd = parse(fileBytes('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1));
    expect([...odd.tensors.keys()]).toEqual(['__proto__']);
  });

  it('converts every float16 and bfloat16 exactly', async () => {
    const file = path.join(temporaryFolder(), 'h.safetensors');
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    await writeSafetensors(file, [
      { name: 'half', dtype: 'F16', shape: [256, 256], data: all },
      { name: 'brain', dtype: 'BF16', shape: [65536], data: all },
    ]);
    using opened = openSafetensors(file);
    const value = (bits: number, exponentBits: number) => {
      const fractionBits = 15 - exponentBits;
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
      const fraction = (bits & ((1 << fractionBits) - 1)) / 2 ** fractionBits;
      const bias = 2 ** (exponentBits - 1) - 1;
      if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : NaN;
      return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
    };
    expect(opened.readFloat32('half')).toEqual(Float32Array.from(all, (bits) => value(bits, 5)));
    expect(opened.readFloat32('brain')).toEqual(Float32Array.from(all, (bits) => value(bits, 8)));
  });

  it('refuses to read after close; what was read stays', () => {
    const file = open(fileBytes({ a: { dtype: 'U8', shape: [2], data_offsets: [0, 2] } }, Buffer.from([7, 8])));
    const array = file.read('a');
    file.close();
    file.close();
    expect(array).toEqual(Uint8Array.of(7, 8));
    expect(() => file.read('a')).toThrow('the file is closed');
  });

  it('says that a file got shorter while it was open', () => {
    const file = path.join(temporaryFolder(), 'm.safetensors');
    fs.writeFileSync(file, fileBytes({ a: { dtype: 'U8', shape: [9], data_offsets: [0, 9] } }, 9));
    using opened = openSafetensors(file);
    fs.truncateSync(file, 60);
    expect(() => opened.read('a')).toThrow('the file got shorter while it was open');
  });

  it('refuses a folder', () => {
    expect(() => openSafetensors(temporaryFolder())).toThrow(/not a file but a folder/);
  });
});

describe('a malformed file is refused with what is wrong and where', () => {
  const tensor = (fields: object) => ({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...fields } });
  const u8 = (begin: number, end: number) => ({ dtype: 'U8', shape: [end - begin], data_offsets: [begin, end] });
  const length = (value: bigint, rest = 16) => {
    const bytes = Buffer.alloc(8 + rest, ' ');
    bytes.writeBigUInt64LE(value);
    return bytes;
  };

  it.each<[what: string, bytes: Buffer, message: string | RegExp]>([
    ['an empty file', Buffer.alloc(0), 'this file has 0 bytes'],
    ['7 bytes', Buffer.alloc(7), 'this file has 7 bytes'],
    [
      'a header beyond the file',
      length(17n),
      'bytes 0-7 say that the header has 17 bytes, but only 16 follow: the file is truncated',
    ],
    ['a header beyond the limit', length(100_000_001n), 'the limit is 100000000'],
    ['a header of 2^64 - 1', length(2n ** 64n - 1n), 'the limit is 100000000'],
    ['an empty header', length(0n), 'must begin with "{" at byte 8, found an empty header'],
    ['a leading space', fileBytes(' {}'), 'must begin with "{" at byte 8, found byte 0x20'],
    ['a list', fileBytes('[]'), 'must begin with "{"'],
    ['no JSON', fileBytes('{"a":}'), /header is not valid JSON: .*position 5|header is not valid JSON: .*}/],
    ['two JSON values', fileBytes('{}{}'), 'not valid JSON'],
    ['bad UTF-8', fileBytes('{"a\xff":1}').fill(0xff, 11, 12), 'not valid UTF-8'],
    ['deep nesting', fileBytes(`{"a":${'['.repeat(200_000)}`), 'not valid JSON'],
    ['a zip archive', Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(90, 1)]), 'perhaps a PyTorch checkpoint'],
    ['a Git LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\n'), 'git lfs pull'],
    ['JSON alone', Buffer.from('{"model_type": "xlstm"}'), 'JSON without the 8 bytes'],
    [
      'a tensor twice',
      fileBytes('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":1}', 1),
      'the key "a" twice, again at byte 61',
    ],
    [
      'a field twice',
      fileBytes('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      'the key "dtype" twice',
    ],
    ['metadata twice', fileBytes('{"__metadata__":{},"__metadata__":{}}'), 'the key "__metadata__" twice'],
    ['metadata of a number', fileBytes({ __metadata__: { a: 1 } }), '__metadata__: "a" must be a string, got 1'],
    ['a list as metadata', fileBytes({ __metadata__: [] }), '__metadata__ must be an object of strings, got []'],
    ['a number as tensor', fileBytes({ a: 1 }), 'tensor "a": must be an object {dtype, shape, data_offsets}, got 1'],
    ['no dtype', fileBytes(tensor({ dtype: undefined }), 8), 'tensor "a": dtype must be a string, got nothing'],
    [
      'a foreign dtype',
      fileBytes(tensor({ dtype: 'F8_E5M2' }), 8),
      'dtype "F8_E5M2" is not known; this library reads F64, F32',
    ],
    ['a dtype of Object', fileBytes(tensor({ dtype: 'toString' }), 8), 'dtype "toString" is not known'],
    ['a shape of strings', fileBytes(tensor({ shape: ['2'] }), 8), 'shape must be a list of integers'],
    ['a negative shape', fileBytes(tensor({ shape: [-2] }), 8), 'shape must be a list of integers'],
    ['a fractional shape', fileBytes(tensor({ shape: [2.5] }), 8), 'shape must be a list of integers'],
    [
      'a huge shape',
      fileBytes('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,8]}}', 8),
      'shape must be a list of integers',
    ],
    [
      'an overflow',
      fileBytes(tensor({ shape: [2 ** 40, 2 ** 40] }), 8),
      'shape [1099511627776,1099511627776] of F32 overflows',
    ],
    ['an overflow behind a zero', fileBytes(tensor({ shape: [2 ** 40, 2 ** 40, 0] }), 8), 'overflows'],
    [
      'one offset',
      fileBytes(tensor({ data_offsets: [0] }), 8),
      'data_offsets must be two integers [begin, end], got [0]',
    ],
    ['a negative offset', fileBytes(tensor({ data_offsets: [-4, 4] }), 8), 'data_offsets must be two integers'],
    ['offsets backwards', fileBytes(tensor({ data_offsets: [8, 0] }), 8), 'data_offsets [8, 0] end before they begin'],
    [
      'too few bytes',
      fileBytes(tensor({ data_offsets: [0, 4] }), 8),
      'F32 [2] needs 8 bytes, data_offsets [0, 4] span 4',
    ],
    [
      'a truncated file',
      fileBytes(tensor({}), 7),
      'data_offsets [0, 8] go beyond the data, which has 7 bytes: the file is truncated',
    ],
    [
      'an overlap',
      fileBytes({ a: u8(0, 4), b: u8(3, 7) }, 7),
      'tensor "b" overlaps: it begins 1 bytes before the end of "a" (data offset 3, expected 4)',
    ],
    ['the same place twice', fileBytes({ a: u8(0, 4), b: u8(0, 4) }, 4), 'tensor "b" overlaps'],
    [
      'a hole',
      fileBytes({ a: u8(0, 4), b: u8(6, 8) }, 8),
      'tensor "b" leaves a hole: it begins 2 bytes after the end of "a"',
    ],
    [
      'a hole in front',
      fileBytes({ a: u8(1, 4) }, 4),
      'leaves a hole: it begins 1 bytes after the beginning of the data',
    ],
    ['trailing bytes', fileBytes({ a: u8(0, 4) }, 6), '2 bytes after the last tensor belong to none'],
  ])('%s', (_, bytes, message) => {
    expect(() => open(bytes)).toThrow(SafetensorsError);
    expect(() => open(bytes)).toThrow(message);
    expect(() => open(bytes)).toThrow(/^\S*m\.safetensors: /);
  });

  it('survives any damage: refused or read, never more memory than the file has', () => {
    const valid = fileBytes(
      {
        __metadata__: { k: 'v' },
        a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
        b: { dtype: 'BF16', shape: [2], data_offsets: [24, 28] },
      },
      28,
    );
    const cut = fc.record({
      at: fc.nat(valid.length),
      remove: fc.nat(12),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 12 }),
        fc.constantFrom('"', '{', '}', ',', '[', '9', '-', 'e99', '0', '"a":', '\\').map((s) => Buffer.from(s)),
      ),
    });
    let refused = 0;
    let total = 0;
    fc.assert(
      fc.property(fc.array(cut, { minLength: 1, maxLength: 4 }), (cuts) => {
        const bytes = cuts.reduce<Buffer>(
          (b, { at, remove, insert }) => Buffer.concat([b.subarray(0, at), insert, b.subarray(at + remove)]),
          valid,
        );
        total++;
        const read = (offset: number, length: number) => {
          if (offset < 0 || length < 0 || offset + length > bytes.length)
            throw new Error(`read outside of the file: ${offset}+${length}`);
          return bytes.subarray(offset, offset + length);
        };
        try {
          const { tensors } = parseSafetensorsHeader(read, bytes.length, 'x');
          for (const { offset, byteLength } of tensors.values()) read(offset, byteLength);
        } catch (error) {
          expect(error).toBeInstanceOf(SafetensorsError);
          refused++;
        }
      }),
      { numRuns: 5000 },
    );
    expect(refused).toBeGreaterThan(total / 2);
    expect(refused).toBeLessThan(total); // some damage only changes data
  });
});

describe('writing', () => {
  const dtypes: [TensorToWrite['dtype'], (n: number) => Exclude<TensorToWrite['data'], Function>][] = [
    ['F64', (n) => Float64Array.from({ length: n }, (_, i) => Math.sqrt(i))],
    ['F32', (n) => Float32Array.from({ length: n }, (_, i) => -i / 3)],
    ['F16', (n) => Uint16Array.from({ length: n }, (_, i) => i * 77)],
    ['BF16', (n) => Uint16Array.from({ length: n }, (_, i) => i * 99)],
    ['I64', (n) => BigInt64Array.from({ length: n }, (_, i) => -(2n ** 60n) + BigInt(i))],
    ['I32', (n) => Int32Array.from({ length: n }, (_, i) => -i)],
    ['I16', (n) => Int16Array.from({ length: n }, (_, i) => -i)],
    ['U8', (n) => Uint8Array.from({ length: n }, (_, i) => i)],
    ['BOOL', (n) => Uint8Array.from({ length: n }, (_, i) => i % 2)],
  ];

  it('gives back what was written, for any set of tensors', async () => {
    const file = path.join(temporaryFolder(), 'm.safetensors');
    const tensor = fc.tuple(
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.constantFrom(...dtypes),
      fc.array(fc.nat(4), { maxLength: 3 }),
    );
    const metadata = fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(tensor, { selector: ([name]) => name, maxLength: 6 }),
        metadata,
        async (list, metadata) => {
          const tensors = list.map(([name, [dtype, make], shape]) => ({
            name,
            dtype,
            shape,
            data: make(shape.reduce((a, b) => a * b, 1)),
          }));
          await writeSafetensors(
            file,
            tensors.map(
              (t, i) => [t, { ...t, data: async () => t.data }, { ...t, data: () => halves(t.data) }][i % 3]!,
            ),
            metadata,
          );
          const bytes = fs.readFileSync(file);
          await writeSafetensors(file, tensors.toReversed(), Object.fromEntries(Object.entries(metadata).reverse()));
          expect(fs.readFileSync(file).equals(bytes)).toBe(true);
          expect(Number(bytes.readBigUInt64LE()) % 8).toBe(0);
          using opened = openSafetensors(file);
          expect({ ...opened.metadata }).toEqual({ ...metadata });
          expect(opened.tensors.size).toBe(tensors.length);
          for (const { name, dtype, shape, data } of tensors) {
            expect(opened.tensors.get(name)).toMatchObject({ dtype, shape });
            expect(opened.read(name)).toEqual(data);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('orders by element size, then name, and pads the header with spaces', () => {
    const entry = (name: string, dtype: TensorToWrite['dtype']) => ({ name, dtype, shape: [1] });
    const { bytes, order, dataBytes } = buildSafetensorsHeader(
      [entry('b', 'U8'), entry('z', 'F32'), entry('a', 'BF16'), entry('y', 'F32')],
      { k: 'v', a: '1' },
    );
    expect(order.map(({ name }) => name)).toEqual(['y', 'z', 'a', 'b']);
    expect(dataBytes).toBe(4 + 4 + 2 + 1);
    const json = Buffer.from(bytes.subarray(8)).toString();
    expect(json).toMatch(
      /^\{"__metadata__":\{"a":"1","k":"v"\},"y":\{"dtype":"F32","shape":\[1\],"data_offsets":\[0,4\]\},.*\}\} *$/,
    );
    expect(Buffer.from(bytes).readBigUInt64LE()).toBe(BigInt(json.length));
  });

  it.each<[what: string, tensors: TensorToWrite[], message: string | RegExp]>([
    ['two of one name', [f32('a', [], [1]), f32('a', [], [1])], 'two tensors are called "a"'],
    ['the reserved name', [f32('__metadata__', [], [1])], 'cannot be called __metadata__'],
    ['a bad shape', [f32('a', [-1], [])], 'has a bad shape [-1]'],
    [
      'too little data',
      [f32('a', [2, 2], [1, 2, 3])],
      'tensor "a" is F32 [2,2], which takes a Float32Array of 4, got a Float32Array of 3',
    ],
    [
      'pieces that are not all',
      [{ ...f32('a', [2, 2], []), data: () => halves(Float32Array.of(1, 2, 3)) }],
      'which takes a Float32Array of 4, got a Float32Array of 3',
    ],
    [
      'a piece too many',
      [{ ...f32('a', [2], []), data: () => halves(Float32Array.of(1, 2, 3)) }],
      'which takes a Float32Array of 2, got a Float32Array of 3',
    ],
    [
      'data of another type',
      [{ ...f32('a', [1], [1]), dtype: 'I32' }],
      'which takes a Int32Array of 1, got a Float32Array of 1',
    ],
  ])('refuses %s and leaves nothing', async (_, tensors, message) => {
    const folder = temporaryFolder();
    await expect(writeSafetensors(path.join(folder, 'm.safetensors'), tensors)).rejects.toThrow(message);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('removes what a killed process left', async () => {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, 'm.safetensors.tmp-999999999'), 'half');
    await writeSafetensors(path.join(folder, 'm.safetensors'), [f32('a', [1], [1])]);
    expect(fs.readdirSync(folder)).toEqual(['m.safetensors']);
  });
});

describe('a full disk', () => {
  const old = f32('w', [3], [1, 2, 3]);

  async function expectOldStands(file: string, writing: Promise<void>, message: RegExp) {
    const error: unknown = await writing.then(
      () => 'no error',
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(WriteError);
    expect((error as WriteError).code).toBe('ENOSPC');
    expect((error as WriteError).message).toMatch(message);
    using opened = openSafetensors(file);
    expect(opened.read('w')).toEqual(old.data);
    expect(fs.readdirSync(path.dirname(file))).toEqual([path.basename(file)]);
  }

  it.each(['writeSync', 'fsyncSync', 'closeSync', 'renameSync'] as const)(
    'met in %s leaves the old file',
    async (call) => {
      const file = path.join(temporaryFolder(), 'm.safetensors');
      await writeSafetensors(file, [old]);
      const spy = vi.spyOn(fs, call).mockImplementationOnce(() => {
        throw systemError('ENOSPC');
      });
      const writing = writeSafetensors(file, [f32('w', [3], [4, 5, 6])]);
      await writing.catch(() => spy.mockRestore());
      await expectOldStands(
        file,
        writing,
        /^cannot write the tensors \S+m\.safetensors \(\d+ B\): the disk is full \(ENOSPC, [\d.]+ \w+ free\); free space or .*; the file that was there before is unchanged$/,
      );
    },
  );

  it.skipIf(!canMount)('(a real one: tmpfs; needs root) leaves the old file', async () => {
    const file = path.join(smallDisk(1 << 20).folder, 'm.safetensors');
    await writeSafetensors(file, [old]);
    const big = { name: 'w', dtype: 'F32', shape: [1 << 19], data: new Float32Array(1 << 19) } as const;
    await expectOldStands(
      file,
      writeSafetensors(file, [big]),
      /\(2\.1 MB\): the disk is full \(ENOSPC, 1\.0 MB free\)/,
    );
    await writeSafetensors(file, [f32('w', [3], [7, 8, 9])]);
    using opened = openSafetensors(file);
    expect(opened.read('w')).toEqual(Float32Array.of(7, 8, 9));
  });
});
