/**
 * @file Storage formats: the layout of rows byte by byte, all 65536 numbers of two bytes, the choice of scales, what
 * cannot be stored, and products at sizes beyond the self-test's.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { WeightFormat } from '../../src/device/kernels.js';
import { packedRowBytes } from '../../src/device/packing.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';
import { cpuWith, usableIsas } from '../support/isas.js';

const { bf16, f16, int8, int4 } = WeightFormat;

async function pack(device: Device, x: ArrayLike<number>, R: number, format: WeightFormat, group: number) {
  const C = x.length / R;
  const [source, packed] = [
    device.alloc('float', x.length),
    device.alloc('uint8', R * packedRowBytes(format, C, group)),
  ];
  try {
    device.write(source, Float32Array.from(x));
    device.kernels.packRows(packed, source, R, C, format, group);
    return (await device.read(packed)) as Uint8Array;
  } finally {
    [source, packed].forEach((buffer) => device.free(buffer));
  }
}

async function unpack(device: Device, bytes: Uint8Array, R: number, C: number, format: WeightFormat, group: number) {
  const [packed, y] = [device.alloc('uint8', bytes.length), device.alloc('float', R * C)];
  device.write(packed, bytes);
  device.kernels.unpackRows(y, packed, R, C, format, group);
  const values = await device.read(y);
  [packed, y].forEach((buffer) => device.free(buffer));
  return values;
}

const bytesOf = (words: Uint16Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
const wordsOf = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.slice().buffer);

/** What the bits of a half mean, by the table of IEEE 754. */
function half(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** What the bits of a bfloat16 mean: they are the upper ones of a float. */
const bfloat = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;

test('the size of a row', () => {
  expect([bf16, f16].map((format) => packedRowBytes(format, 37, 0))).toEqual([74, 74]);
  // 37 codes, a byte to make it even, 3 scales of 2 bytes: 44, in lines of 64.
  expect(packedRowBytes(int8, 37, 16)).toBe(64);
  expect([packedRowBytes(int8, 62, 0), packedRowBytes(int8, 63, 0)]).toEqual([64, 128]);
  expect([packedRowBytes(int4, 1, 128), packedRowBytes(int4, 4096, 128)]).toEqual([128, 2048 + 64]);
  expect(() => packedRowBytes(int4, 128, 0)).toThrow('packing: the group of int4 must be a multiple of 16, got 0');
  expect(() => packedRowBytes(int8, 128, 24)).toThrow('a multiple of 16, or 0 for one per row, got 24');
  expect(() => packedRowBytes(bf16, 128, 16)).toThrow('packing: the group of bf16 must be 0, got 16');
  expect(() => packedRowBytes(int8, 0, 0)).toThrow('at least one column, got 0');
  expect(() => packedRowBytes(4 as WeightFormat, 1, 0)).toThrow('4 is no storage format');
});

describe.each(testDevices())('on $name', ({ name, create }) => {
  let device: Device;
  beforeAll(() => {
    device = create();
  });

  test.each([
    ['bf16', bf16, bfloat],
    ['f16', f16, half],
  ] as const)('all 65536 numbers of %s are read exactly, and written back', async (_, format, value) => {
    const words = Uint16Array.from({ length: 65536 }, (__, k) => k);
    const values = await unpack(device, bytesOf(words), 256, 256, format, 0);
    const wrong = words.filter((bits) => !Object.is(values[bits], value(bits)));
    expect([...wrong]).toEqual([]);
    // Kernels flush denormal floats, which all subnormal numbers of bfloat16 are; NaN and infinity are refused.
    const finite = words.filter((bits) => Number.isFinite(value(bits)));
    const written = await pack(device, Array.from(finite, value), 1, format, 0);
    expect(wordsOf(written)).toEqual(finite);
  });

  test.each([
    ['bf16', bf16, bfloat, 0x7f7f],
    ['f16', f16, half, 0x7bff],
  ] as const)('%s rounds to the nearest, of two to the even one', async (_, format, value, largest) => {
    const [x, expected]: [number[], number[]] = [[], []];
    for (let bits = 0; bits < largest; bits += 7) {
      const [low, high] = [value(bits), value(bits + 1)];
      const middle = Math.fround((low + high) / 2);
      // Denormal floats count as zero on the cpu.
      if (low < 2 ** -126) continue;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const step = (high - low) / 64;
      x.push(middle, -middle, Math.fround(middle - step), Math.fround(middle + step));
      expected.push(even, even | 0x8000, bits, bits + 1);
    }
    expect([...wordsOf(await pack(device, x, 1, format, 0))]).toEqual(expected);
  });

  test('int8, byte by byte', async () => {
    const x = [127, -127, 1.4, 1.6, 0, 3, ...new Array<number>(10).fill(0), 0.5, -1];
    const row = await pack(device, x, 1, int8, 16);
    expect(row.length).toBe(64);
    // The second scale is 1 / 127 rounded to eight bits, 0x3c01 = 2^-7 (1 + 2^-7); 0.5 is 63.504 of it.
    expect([...row.subarray(0, 18)]).toEqual([127, 129, 1, 2, 0, 3, ...new Array<number>(10).fill(0), 64, 256 - 127]);
    expect([...wordsOf(row.subarray(18, 22))]).toEqual([0x3f80, 0x3c01]);
    expect(row.subarray(22).every((byte) => byte === 0)).toBe(true);
  });

  test('int4, byte by byte', async () => {
    // -8 takes the code 0 at a scale of 1: nothing is off, so no other scale is better.
    const x = Array.from({ length: 130 }, (_, c) => (c === 0 ? -8 : (c % 15) - 7));
    x[128] = -8;
    x[129] = 7;
    const row = await pack(device, x, 1, int4, 128);
    expect(row.length).toBe(192);
    const words = new Uint32Array(row.slice().buffer);
    for (let c = 0; c < 130; c++) {
      const word = words[16 * Math.floor(c / 128) + (c % 16)]!;
      expect((word >>> (4 * Math.floor((c % 128) / 16))) & 15, `weight ${c}`).toBe(x[c]! + 8);
    }
    // Beyond the last weight: code 8, which is zero.
    expect(words[18]).toBe(0x88888888);
    expect([...wordsOf(row.subarray(128, 132))]).toEqual([0x3f80, 0x3f80]);
    expect(row.subarray(132).every((byte) => byte === 0)).toBe(true);
  });

  test.each([
    ['bf16', bf16, 0, 2 ** -9],
    ['f16', f16, 0, 2 ** -11],
    ['int8', int8, 0, 0.02],
    ['int8 in groups', int8, 64, 0.01],
    ['int4 in groups', int4, 64, 0.11],
  ] as const)('%s comes back within its precision', async (_, format, group, bound) => {
    const [R, C] = [7, 333];
    const x = Float32Array.from(normal(randomKey(4), R * C));
    const y = await unpack(device, await pack(device, x, R, format, group), R, C, format, group);
    expect(relativeRms(y, x)).toBeLessThan(bound);
    expect(relativeRms(y, x)).toBeGreaterThan(bound / 8);
  });

  test('int4 beats the scale that just holds the largest weight', async () => {
    const [R, C, group] = [20, 640, 128];
    const x = Float32Array.from(normal(randomKey(5), R * C));
    const y = await unpack(device, await pack(device, x, R, int4, group), R, C, int4, group);
    const plain = Float32Array.from(x);
    for (let g = 0; g < plain.length; g += group) {
      const scale = plain.subarray(g, g + group).reduce((a, w) => Math.max(a, Math.abs(w)), 0) / 7;
      for (let c = g; c < g + group; c++) plain[c] = Math.round(plain[c]! / scale) * scale;
    }
    // 0.0976 and 0.118 of Gaussian weights.
    expect(relativeRms(y, x)).toBeLessThan(0.85 * relativeRms(plain, x));
  });

  test.each([
    [bf16, 0, NaN, 'row 2 holds nan at column 3; only finite numbers can be packed'],
    [int8, 0, -Infinity, 'row 2 holds -inf at column 3; only finite numbers can be packed'],
    [int4, 16, Infinity, 'row 2 holds inf at column 3; only finite numbers can be packed'],
    [f16, 0, 65520, 'row 2 holds 65520 at column 3, beyond what f16 can hold (65504); use bf16'],
    [bf16, 0, 3.4e38, 'beyond what bf16 can hold (3.39e38)'],
  ] as const)('format %s, group %s: %s is refused', async (format, group, value, message) => {
    const x = new Float32Array(5 * 7);
    x[2 * 7 + 3] = value;
    x[4 * 7 + 1] = value;
    const expected = name === 'cpu' ? message : message.replace('nan', 'NaN').replace('inf', 'Infinity');
    await expect(pack(device, x, 5, format, group)).rejects.toThrow(expected);
  });

  test('65519 is the last number that f16 holds', async () => {
    expect([...wordsOf(await pack(device, [65519, -65519], 1, f16, 0))]).toEqual([0x7bff, 0xfbff]);
  });

  test.each([
    [bf16, 0],
    [int8, 0],
    [int8, 32],
    [int8, 64],
    [int8, 128],
    [int4, 32],
    [int4, 64],
    [int4, 128],
  ] as const)('format %s, group %s: what is not finite in x is not finite in y', async (format, group) => {
    const [N, O, I] = [2, 3, 300];
    const weight = await pack(device, normal(randomKey(8), O * I), O, format, group);
    for (const value of [NaN, Infinity]) {
      const x = Float32Array.from(normal(randomKey(9), N * I));
      x[I + 211] = value;
      const buffers = [
        device.alloc('float', N * O),
        device.alloc('float', N * I),
        device.alloc('uint8', weight.length),
      ];
      const [y, source, rows] = buffers as [DeviceBuffer, DeviceBuffer, DeviceBuffer];
      device.write(source, x);
      device.write(rows, weight);
      device.kernels.linearPacked(y, source, rows, null, N, O, I, format, group);
      const finite = Array.from(await device.read(y), Number.isFinite);
      buffers.forEach((buffer) => device.free(buffer));
      expect(finite).toEqual([true, true, true, false, false, false]);
    }
  });

  test('a token outside of the table is named', () => {
    const [y, tokens, table] = [device.alloc('float', 2), device.alloc('int32', 1), device.alloc('uint8', 12)];
    device.write(tokens, Int32Array.of(3));
    expect(() => device.kernels.embeddingPacked(y, tokens, table, 1, 2, 3, bf16, 0)).toThrow(
      'token 3 at position 0 lies outside of the vocabulary 0..2',
    );
    [y, tokens, table].forEach((buffer) => device.free(buffer));
  });
});

const isas = usableIsas();

describe.skipIf(isas.length === 0)('products on the cpu', () => {
  const [O, I] = [67, 2 * 4096 + 77];
  const x = Float32Array.from(normal(randomKey(6), 40 * I));
  const weights = Float32Array.from(normal(randomKey(7), O * I));
  const formats = [
    [bf16, 0],
    [f16, 0],
    [int8, 0],
    [int8, 32],
    [int8, 64],
    [int8, 128],
    [int4, 32],
    [int4, 64],
    [int4, 128],
  ] as const;

  const product = async (
    device: Device,
    bytes: Uint8Array,
    N: number,
    format: WeightFormat,
    group: number,
    {
      rows = x,
      sizes = [O, I],
      biased = false,
    }: { rows?: Float32Array; sizes?: readonly [number, number]; biased?: boolean } = {},
  ) => {
    const [outputs, inputs] = sizes;
    const [y, source, weight, bias] = [
      device.alloc('float', N * outputs),
      device.alloc('float', N * inputs),
      device.alloc('uint8', bytes.length),
      device.alloc('float', outputs),
    ];
    device.write(source, rows.subarray(0, N * inputs));
    device.write(weight, bytes);
    device.write(
      bias,
      Float32Array.from({ length: outputs }, (_, o) => (o % 17) / 16),
    );
    device.kernels.linearPacked(y, source, weight, biased ? bias : null, N, outputs, inputs, format, group);
    const result = await device.read(y);
    [y, source, weight, bias].forEach((buffer) => device.free(buffer));
    return result;
  };

  test.each(formats)('format %s, group %s: few rows and many, on every instruction set', async (format, group) => {
    const reference = createReferenceDevice();
    for (const isa of isas) {
      const device = cpuWith(isa);
      const bytes = await pack(device, weights, O, format, group);
      const expected = await product(reference, bytes, 40, format, group);
      const many = await product(device, bytes, 40, format, group);
      expect(relativeRms(many, expected), `${isa}, 40 rows`).toBeLessThan(1e-6);
      const few = await product(device, bytes, 13, format, group);
      expect(relativeRms(few, expected.subarray(0, 13 * O)), `${isa}, 13 rows`).toBeLessThan(1e-6);
    }
  });

  // Of short rows some that lie far apart are read at once; some are left over, and at the end of a task as well.
  test.each(formats)('format %s, group %s: many short rows, on every instruction set', async (format, group) => {
    const reference = createReferenceDevice();
    for (const sizes of [
      [1031, 333],
      [5, 128],
      [2, 40],
    ] as const) {
      const bytes = await pack(reference, weights.subarray(0, sizes[0] * sizes[1]), sizes[0], format, group);
      for (const N of [1, 6]) {
        const expected = await product(reference, bytes, N, format, group, { sizes, biased: true });
        for (const isa of isas) {
          const y = await product(cpuWith(isa), bytes, N, format, group, { sizes, biased: true });
          expect(relativeRms(y, expected), `${isa}, ${N} rows of x by ${sizes.join(' x ')}`).toBeLessThan(1e-6);
        }
      }
    }
  });

  // Sums of whole numbers (vnni.h, int4_dot.h) are largest when all codes are the lowest, and all x the same.
  test.each(formats.filter(([format]) => format === int8 || format === int4))(
    'format %s, group %s: the largest sums fit, on every instruction set',
    async (format, group) => {
      const reference = createReferenceDevice();
      const bytes = await pack(reference, weights, O, format, group);
      const rowBytes = packedRowBytes(format, I, group);
      const codeBytes = format === int8 ? I : Math.floor(I / 128) * 64;
      for (let r = 0; r < O; r++) bytes.fill(format === int8 ? 0x80 : 0, r * rowBytes, r * rowBytes + codeBytes);
      for (const sign of [1, -1]) {
        const same = new Float32Array(4 * I).fill(sign);
        const expected = await product(reference, bytes, 4, format, group, { rows: same });
        for (const isa of isas) {
          for (const N of [1, 4]) {
            const y = await product(cpuWith(isa), bytes, N, format, group, { rows: same });
            expect(relativeRms(y, expected.subarray(0, N * O)), `${isa}, ${N} rows of ${sign}`).toBeLessThan(1e-6);
          }
        }
      }
    },
  );

  test.each(formats)('format %s, group %s: the bits do not depend on the threads', async (format, group) => {
    const bytes = await pack(cpuWith('auto'), weights, O, format, group);
    for (const N of [1, 3, 40]) {
      const alone = await product(cpuWith('auto', 1), bytes, N, format, group);
      for (const threads of [2, 5]) {
        expect(await product(cpuWith('auto', threads), bytes, N, format, group), `N = ${N}`).toEqual(alone);
      }
    }
    cpuWith('auto');
  });

  // A sequence then generates the same text alone and in a batch.
  test.each(formats)('format %s, group %s: a row alone has the bits that it has among 16', async (format, group) => {
    const device = cpuWith('auto');
    const bytes = await pack(device, weights, O, format, group);
    const alone = await product(device, bytes, 1, format, group);
    for (const N of [2, 3, 7, 16]) {
      expect((await product(device, bytes, N, format, group)).subarray(0, O), `N = ${N}`).toEqual(alone);
    }
  });
});
