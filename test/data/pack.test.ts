import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { packDocuments } from '../../src/data/pack.js';

describe('packing', () => {
  test('each document is whole in one row, resets stand where it begins, and nothing else has a target', () => {
    const document = fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 2, maxLength: 11 });
    fc.assert(
      fc.property(fc.array(document, { maxLength: 15 }), fc.integer({ min: 10, max: 24 }), (documents, T) => {
        const { B, tokens, targets, reset, placements } = packDocuments(documents, T, 0);
        const begins = new Set<number>();
        let targetsInAll = 0;
        documents.forEach((ids, k) => {
          const { row, start, length } = placements[k]!;
          expect([length, start + length <= T, row < B]).toEqual([ids.length - 1, true, true]);
          const at = row * T + start;
          expect([...tokens.subarray(at, at + length)]).toEqual(ids.slice(0, -1));
          expect([...targets.subarray(at, at + length)]).toEqual(ids.slice(1));
          begins.add(at);
          targetsInAll += length;
        });
        expect(targets.filter((target) => target !== -1)).toHaveLength(targetsInAll);
        for (let k = 0; k < B * T; k++) {
          const padded = targets[k] === -1;
          expect(reset[k] === 1).toBe(begins.has(k) || (padded && (k % T === 0 || targets[k - 1] !== -1)));
          if (padded) expect(tokens[k]).toBe(0);
        }
      }),
    );
  });

  test('a document goes to the first row with room', () => {
    const { B, placements } = packDocuments(
      [
        [1, 2, 3, 4],
        [1, 2, 3, 4],
        [1, 2],
        [1, 2, 3],
      ],
      4,
    );
    expect(B).toBe(3);
    expect(placements.map(({ row, start }) => [row, start])).toEqual([
      [0, 0],
      [1, 0],
      [0, 3],
      [2, 0],
    ]);
    expect(packDocuments([], 4)).toMatchObject({ B: 0, placements: [] });
  });

  test('documents that do not fit are refused with the numbers', () => {
    expect(() =>
      packDocuments(
        [
          [1, 2],
          [1, 2, 3, 4, 5, 6],
        ],
        4,
      ),
    ).toThrow('packDocuments: document 1 has 6 tokens, but a row of T = 4 takes from 2 to 5; cut it or make T larger');
    expect(() => packDocuments([[1]], 4)).toThrow('document 0 has 1 tokens');
  });
});
