import { statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NumberWriter, openTokenFile } from '../../src/data/token-file.js';
import { temporaryFolder } from '../support/folders.js';

const limits = { uint16: 0xffff, uint32: 0xffffffff, float64: 2 ** 53 - 1 } as const;
const types = ['uint16', 'uint32', 'float64'] as const;
const ways = ['map', 'read'] as const;

function writeNumbers(type: (typeof types)[number], values: readonly number[]): string {
  const file = path.join(temporaryFolder(), 'numbers.bin');
  const out = new NumberWriter(file, type);
  const half = values.length >> 1;
  out.pushAll(Float64Array.from(values.slice(0, half)));
  for (const value of values.slice(half)) out.push(value);
  expect(out.length).toBe(values.length);
  out.finish();
  out.close();
  return file;
}

describe.each(ways)('by %s', (access) => {
  test.each(types)('%s numbers come back, whole and in parts', (type) => {
    // More than the writer holds at once.
    const values = Array.from({ length: 150_001 }, (_, k) => (k * 0x9e3779b1) % (limits[type] + 1));
    values[7] = limits[type];
    const numbers = openTokenFile(writeNumbers(type, values), type, { access });
    expect([numbers.length, numbers.access]).toEqual([values.length, access]);
    fc.assert(
      fc.property(fc.nat(values.length), fc.nat(9000), (start, count) => {
        const some = Math.min(count, values.length - start);
        const out = new Float64Array(some + 2);
        numbers.copy(out, 1, start, some);
        expect([...out]).toEqual([0, ...values.slice(start, start + some), 0]);
      }),
      { numRuns: 30 },
    );
    expect(numbers.at(7)).toBe(limits[type]);
    numbers.close();
  });

  test('token ids come as int32', () => {
    const numbers = openTokenFile(writeNumbers('uint16', [1, 65535, 3]), 'uint16', { access });
    const out = new Int32Array(3);
    numbers.copy(out, 0, 0, 3);
    expect([...out]).toEqual([1, 65535, 3]);
    numbers.close();
  });

  test('an empty file is an empty list', () => {
    const numbers = openTokenFile(writeNumbers('uint16', []), 'uint16', { access });
    expect(numbers.length).toBe(0);
    numbers.copy(new Int32Array(1), 0, 0, 0);
    expect(() => numbers.at(0)).toThrow('has 0 numbers');
    numbers.close();
  });

  test('places outside of the file, and a closed one, are refused', () => {
    const numbers = openTokenFile(writeNumbers('uint32', [1, 2, 3]), 'uint32', { access });
    expect(() => numbers.copy(new Int32Array(9), 0, 2, 2)).toThrow(
      /numbers\.bin has 3 numbers; 2 to 4 are not all in it/,
    );
    expect(() => numbers.at(-1)).toThrow(RangeError);
    expect(() => numbers.at(NaN)).toThrow(RangeError);
    numbers.close();
    numbers.close();
    expect(() => numbers.at(0)).toThrow(/numbers\.bin is closed/);
  });

  test('a file that is not whole numbers is damaged', () => {
    const file = path.join(temporaryFolder(), 'odd.bin');
    writeFileSync(file, 'abc');
    expect(() => openTokenFile(file, 'uint16', { access })).toThrow(
      /odd\.bin has 3 bytes, which are not whole uint16 numbers/,
    );
  });
});

test('a file that becomes shorter while it is read is noticed', () => {
  const file = writeNumbers('uint16', [1, 2, 3, 4]);
  const numbers = openTokenFile(file, 'uint16', { access: 'read' });
  truncateSync(file, 4);
  expect(() => numbers.at(3)).toThrow(/has become shorter/);
  numbers.close();
});

test('numbers lie in the file as others read them: little-endian, without a header', () => {
  const file = writeNumbers('uint16', [1, 0x0203]);
  expect(statSync(file).size).toBe(4);
  const numbers = openTokenFile(file, 'uint32', { access: 'read' });
  expect(numbers.at(0)).toBe(0x02030001);
  numbers.close();
});
