import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatBytes, formatCount, formatDuration, formatNumber, printable } from '../../src/cli/format.js';

describe('formatCount and formatBytes', () => {
  it.each([
    [0, '0', '0 B'],
    [7, '7', '7 B'],
    [999, '999', '999 B'],
    [1000, '1.0k', '1.0 kB'],
    [1234, '1.2k', '1.2 kB'],
    [999_949, '999.9k', '999.9 kB'],
    [999_950, '1.0M', '1.0 MB'],
    [163_653_888, '163.7M', '163.7 MB'],
    [1_421_203_456, '1.4B', '1.4 GB'],
    [-1500, '-1.5k', '-1.5 kB'],
  ])('%d', (value, count, bytes) => {
    expect(formatCount(value)).toBe(count);
    expect(formatBytes(value)).toBe(bytes);
  });

  it('is short and within half of the last digit for every size', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 9.99e17, noNaN: true }), (value) => {
        const [, digits, unit] = /^(\d{1,3}(?:\.\d)?) (k|M|G|T|P|)B$/.exec(formatBytes(value))!;
        const scale = 1000 ** ['', 'k', 'M', 'G', 'T', 'P'].indexOf(unit!);
        expect(Math.abs(Number(digits) * scale - value)).toBeLessThanOrEqual(
          (unit === '' ? 0.5 : 0.05) * scale * (1 + 1e-9),
        );
      }),
    );
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0.0s'],
    [1.26, '1.3s'],
    [9.96, '10s'],
    [59.4, '59s'],
    [59.6, '1m 00s'],
    [185, '3m 05s'],
    [3599.7, '1h 00m'],
    [7620, '2h 07m'],
    [86_399, '1d 00h'],
    [273_600, '3d 04h'],
    [NaN, '?'],
    [Infinity, '?'],
    [-1, '?'],
  ])('%d s is %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text));
});

describe('formatNumber', () => {
  it.each([
    [0, '0'],
    [2.34567, '2.346'],
    [123.456, '123.5'],
    [12345.6, '12346'],
    [0.00031, '0.0003100'],
    [1.2e-7, '1.2e-7'],
    [-2e9, '-2e9'],
    [NaN, 'NaN'],
    [-Infinity, '-inf'],
  ])('%d is %s', (value, text) => expect(formatNumber(value)).toBe(text));
});

describe('printable', () => {
  it('lets no control character through and keeps the rest', () => {
    expect(printable('a\x1b[31mb\x07\x7f\x00\r\nc\td\u202ee 漢🙂')).toBe('a␛[31mb␇␡␀\nc\td\ufffde 漢🙂');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(printable(text)).not.toMatch(/[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/u);
        expect(printable(printable(text))).toBe(printable(text));
      }),
    );
  });
});
