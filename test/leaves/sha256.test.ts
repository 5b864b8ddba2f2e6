/** @file SHA-256 against Node's, for every length around a block, in any pieces. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Sha256 } from '../../src/sha256.js';

const expected = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

it('gives the digests of Node at every length up to three blocks', () => {
  const bytes = Uint8Array.from({ length: 192 }, (_, k) => (k * 167 + 13) % 256);
  for (let length = 0; length <= bytes.length; length++) {
    const message = bytes.subarray(0, length);
    expect(new Sha256().update(message).hex(), `${length} bytes`).toBe(expected(message));
  }
});

it('does not mind how the message is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 150 })), (pieces) => {
      const hash = new Sha256();
      for (const piece of pieces) hash.update(piece);
      expect(hash.hex()).toBe(expected(Buffer.concat(pieces)));
    }),
  );
  expect(new Sha256().update('größer 🙂').hex()).toBe(expected('größer 🙂'));
});
