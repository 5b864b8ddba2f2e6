/** @file Philox4x32-10 against the known-answer vectors that its authors publish with Random123 (kat_vectors). */
import { expect, test } from 'vitest';
import type { PhiloxBlock } from '../../src/device/philox.js';
import { philoxBlock, philoxWord } from '../../src/device/philox.js';

const knownAnswers: { counter: PhiloxBlock; key: [number, number]; block: PhiloxBlock }[] = [
  { counter: [0, 0, 0, 0], key: [0, 0], block: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
  {
    counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    key: [0xffffffff, 0xffffffff],
    block: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  },
  {
    counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    key: [0xa4093822, 0x299f31d0],
    block: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  },
];

test.each(knownAnswers)('block of counter $counter', ({ counter, key, block }) => {
  expect(philoxBlock(counter, ...key)).toEqual(block);
});

test('word n of a stream is word n % 4 of block n / 4, beyond 2^32 blocks too', () => {
  expect([0, 1, 2, 3].map((n) => philoxWord(0, 0, n))).toEqual(knownAnswers[0]!.block);
  for (const block of [1, 77, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 3]) {
    const expected = philoxBlock([block % 2 ** 32, Math.floor(block / 2 ** 32), 0, 0], 12, 0xfffffff0);
    expect([0, 1, 2, 3].map((r) => philoxWord(12, 0xfffffff0, 4 * block + r))).toEqual(expected);
  }
});
