import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { permute } from '../../src/data/permutation.js';
import { fold, randomKey } from '../../src/tensor/random.js';

const permutation = (seed: number, size: number): number[] =>
  Array.from({ length: size }, (_, k) => permute(randomKey(seed), k, size));

describe('permutation', () => {
  test('is one: every index is met once, at any size', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 700 }), (seed, size) => {
        expect(permutation(seed, size).sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, k) => k));
      }),
    );
  });

  test('another key gives another order, the same key the same', () => {
    expect(permutation(1, 1000)).toEqual(permutation(1, 1000));
    expect(permutation(1, 1000)).not.toEqual(permutation(2, 1000));
  });

  test('looks random: where an index goes, what follows what, and how many stay', () => {
    for (const size of [5, 7, 12, 100]) {
      const keys = 4000;
      const goes = new Float64Array(size);
      let fixed = 0;
      let neighbours = 0;
      for (let k = 0; k < keys; k++) {
        const key = fold(randomKey(3), k);
        const at = k % size;
        const [here, next] = [permute(key, at, size), permute(key, (at + 1) % size, size)];
        goes[permute(key, 0, size)]!++;
        if (here === at) fixed++;
        if (next === (here + 1) % size) neighbours++;
      }
      const expected = keys / size;
      const chiSquare = goes.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
      // Five standard deviations of each statistic.
      expect(chiSquare).toBeLessThan(size - 1 + 5 * Math.sqrt(2 * (size - 1)));
      expect(Math.abs(fixed - expected)).toBeLessThan(5 * Math.sqrt(expected));
      expect(Math.abs(neighbours - keys / (size - 1))).toBeLessThan(5 * Math.sqrt(keys / (size - 1)));
    }
  });

  test('large sizes stay inside', () => {
    for (const size of [2 ** 31 + 11, 2 ** 40, 2 ** 52]) {
      const seen = new Set(Array.from({ length: 200 }, (_, k) => permute(randomKey(1), size - 1 - k, size)));
      expect(seen.size).toBe(200);
      for (const at of seen) expect(Number.isSafeInteger(at) && at >= 0 && at < size).toBe(true);
    }
  });

  test('an index outside is refused', () => {
    expect(() => permute(randomKey(0), 5, 5)).toThrow('got index 5 and size 5');
    expect(() => permute(randomKey(0), -1, 5)).toThrow('got index -1');
    expect(() => permute(randomKey(0), 0.5, 5)).toThrow('got index 0.5');
  });
});
