import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Batch, type Batches, createBatches, evaluationBatches } from '../../src/data/batches.js';
import type { DatasetPart } from '../../src/data/dataset.js';
import type { TokenFile } from '../../src/data/token-file.js';

const EOS = 9999;

/** Numbers in memory that look like a file of them. */
function numbers(values: readonly number[]): TokenFile {
  const copy = (out: Int32Array | Float64Array, at: number, start: number, count: number): void => {
    if (start < 0 || start + count > values.length) throw new RangeError(`${start} + ${count} > ${values.length}`);
    out.set(values.slice(start, start + count), at);
  };
  return { length: values.length, access: 'read', copy, at: (k) => values[k]!, close: () => {} };
}

/** A stream in which each token says where it is; documents begin at `starts`, with EOS if there is one. */
function part(length: number, starts: readonly number[] = [0], eosId: number | null = EOS): DatasetPart {
  const tokens = Array.from({ length }, (_, k) => (eosId !== null && starts.includes(k) ? eosId : k));
  const meta = { tokens: length, documents: starts.length, bytes: length, characters: length };
  return { name: 'train', tokens: numbers(tokens), documents: numbers(starts), eosId, meta };
}

/** Where each row of a batch begins in a stream without documents inside. */
const rowStarts = ({ B, T, tokens }: Batch): number[] =>
  Array.from({ length: B }, (_, row) => (tokens[row * T] === EOS ? 0 : tokens[row * T]!));

const anyPart = fc
  .record({
    length: fc.integer({ min: 60, max: 400 }),
    borders: fc.uniqueArray(fc.integer({ min: 1, max: 399 }), { maxLength: 40 }),
    hasEos: fc.boolean(),
  })
  .map(({ length, borders, hasEos }) => {
    const starts = [0, ...borders.filter((at) => at < length).sort((a, b) => a - b)];
    return { starts, hasEos, part: part(length, starts, hasEos ? EOS : null) };
  });
const order = fc.constantFrom('shuffle', 'random', 'stream' as const);

describe('batches', () => {
  test('rows are windows of the text, with targets one further and resets where documents begin', () => {
    fc.assert(
      fc.property(
        anyPart,
        order,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 12 }),
        fc.nat(99),
        (source, how, B, T, step) => {
          const { starts, hasEos, part } = source;
          const stream = Array.from({ length: part.tokens.length }, (_, k) => part.tokens.at(k));
          const batch = createBatches(part, { B, T, order: how, seed: 5 }).batchAt(step);
          for (let row = 0; row < B; row++) {
            const tokens = [...batch.tokens.subarray(row * T, (row + 1) * T)];
            const found = stream.flatMap((_, s) => (tokens.every((token, t) => stream[s + t] === token) ? [s] : []));
            // A row of nothing but EOS may be at several places; then any of them must fit.
            const fits = found.filter((start) =>
              tokens.every((_, t) => {
                const [here, next] = [start + t, start + t + 1];
                const target = starts.includes(next) && !hasEos ? -1 : stream[next];
                const mayReset = starts.includes(here) || t === 0;
                const reset = batch.reset[row * T + t]!;
                return (
                  batch.targets[row * T + t] === target &&
                  (starts.includes(here) ? reset === 1 : mayReset || reset === 0)
                );
              }),
            );
            expect(fits.length).toBeGreaterThan(0);
          }
          if (how !== 'stream') for (let row = 0; row < B; row++) expect(batch.reset[row * T]).toBe(1);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('depend on seed and step alone', () => {
    fc.assert(
      fc.property(anyPart, order, fc.nat(1000), fc.nat(), ({ part }, how, step, seed) => {
        const options = { B: 3, T: 8, order: how, seed };
        const walked = createBatches(part, options);
        for (let k = 0; k < step % 7; k++) walked.batchAt(step + k + 1);
        expect(walked.batchAt(step)).toEqual(createBatches(part, options).batchAt(step));
      }),
    );
    const at = (seed: number, how: 'shuffle' | 'random'): Batch =>
      createBatches(part(10_000), { B: 4, T: 8, order: how, seed }).batchAt(3);
    expect(at(1, 'shuffle').tokens).not.toEqual(at(2, 'shuffle').tokens);
    expect(at(1, 'random').tokens).not.toEqual(at(1, 'shuffle').tokens);
  });

  test('without an end-of-text token the last token of a document has no target', () => {
    const batch = createBatches(part(100, [0, 50], null), { B: 1, T: 99 }).batchAt(0);
    expect([...batch.targets].filter((target) => target === -1)).toHaveLength(1);
    expect(batch.targets[49]).toBe(-1);
    expect([...batch.reset].flatMap((reset, t) => (reset ? [t] : []))).toEqual([0, 50]);
  });
});

describe('shuffle', () => {
  const windowsOfEpochs = (batches: Batches, windows: number, epochs: number): number[][] => {
    const starts: number[] = [];
    for (let step = 0; starts.length < windows * epochs; step++) starts.push(...rowStarts(batches.batchAt(step)));
    return Array.from({ length: epochs }, (_, epoch) => starts.slice(epoch * windows, (epoch + 1) * windows));
  };

  test('each epoch sees each window once, side by side, from a place and in an order of its own', () => {
    const [length, B, T] = [1000, 3, 16];
    const windows = Math.floor((length - T) / T);
    const batches = createBatches(part(length), { B, T, seed: 7 });
    expect(batches.stepsPerEpoch).toBe(Math.ceil(windows / B));
    const epochs = windowsOfEpochs(batches, windows, 30);
    const phases = new Set<number>();
    for (const starts of epochs) {
      const sorted = [...starts].sort((a, b) => a - b);
      expect(sorted).toEqual(sorted.map((_, k) => sorted[0]! + k * T));
      expect(sorted).not.toEqual(starts);
      phases.add(sorted[0]!);
    }
    expect(phases.size).toBeGreaterThan(8);
    expect(Math.max(...phases)).toBeLessThan(2 * T);
    expect(epochs[0]!.map((start) => start - Math.min(...epochs[0]!))).not.toEqual(
      epochs[1]!.map((start) => start - Math.min(...epochs[1]!)),
    );
  });

  test('a text of exactly one window gives that window', () => {
    const batches = createBatches(part(17), { B: 2, T: 16 });
    for (let step = 0; step < 5; step++) expect(rowStarts(batches.batchAt(step))).toEqual([0, 0]);
  });

  test('every token comes to be read and to be a target', () => {
    const [length, T] = [100, 16];
    const batches = createBatches(part(length), { B: 1, T });
    const read = new Set<number>();
    for (let step = 0; step < 400; step++) batches.batchAt(step).targets.forEach((target) => read.add(target));
    expect(read.size).toBe(length - 1);
  });
});

describe('random', () => {
  test('places are spread evenly over the text', () => {
    const [length, T] = [1016, 16];
    const batches = createBatches(part(length), { B: 10, T, order: 'random', seed: 1 });
    const bins = new Float64Array(10);
    for (let step = 0; step < 1000; step++)
      for (const start of rowStarts(batches.batchAt(step))) bins[Math.floor(start / 100)]!++;
    const chiSquare = bins.reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0);
    expect(chiSquare).toBeLessThan(9 + 5 * Math.sqrt(18));
  });
});

describe('stream', () => {
  test('a row goes on where it stopped, and resets only at documents and when it starts over', () => {
    fc.assert(
      fc.property(
        anyPart,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 12 }),
        ({ part: text, starts }, B, T) => {
          const plain = part(text.tokens.length, [0], null);
          const [marked, batches] = [
            createBatches(text, { B, T, order: 'stream' }),
            createBatches(plain, { B, T, order: 'stream' }),
          ];
          const { stepsPerEpoch } = batches;
          const lane = Math.floor((text.tokens.length - 1) / B);
          expect(stepsPerEpoch).toBe(Math.floor(lane / T));
          for (let step = 0; step < 3 * stepsPerEpoch; step++) {
            const now = rowStarts(batches.batchAt(step));
            const { reset } = marked.batchAt(step);
            now.forEach((start, row) => {
              expect(start).toBeGreaterThanOrEqual(row * lane);
              expect(start + T).toBeLessThanOrEqual((row + 1) * lane);
              const again = step % stepsPerEpoch === 0;
              if (!again) expect(start).toBe(rowStarts(batches.batchAt(step - 1))[row]! + T);
              for (let t = 0; t < T; t++)
                expect(reset[row * T + t] === 1).toBe(starts.includes(start + t) || (again && t === 0));
            });
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('evaluation', () => {
  test('every token but the first is a target exactly once, in order', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 200 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 40 }),
        (length, B, T) => {
          const batches = evaluationBatches(part(length, [0], null), { B, T });
          const targets = Array.from(batches, (batch) => [...batch.targets])
            .flat()
            .filter((target) => target !== -1);
          expect(targets).toEqual(Array.from({ length: length - 1 }, (_, k) => k + 1));
          expect(batches.length).toBe(Math.ceil((length - 1) / (B * T)));
          for (const { reset } of batches) for (let row = 0; row < B; row++) expect(reset[row * T]).toBe(1);
        },
      ),
    );
  });

  test('fewer batches are spread over the text, always the same', () => {
    const batches = evaluationBatches(part(1001, [0], null), { B: 2, T: 10, batches: 5 });
    expect(batches.length).toBe(5);
    expect([...batches].flatMap(rowStarts)).toEqual([0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    expect([...batches]).toEqual([...batches]);
    expect(evaluationBatches(part(50, [0], null), { B: 2, T: 10, batches: 100 }).length).toBe(3);
  });
});

describe('what cannot be is one clear sentence', () => {
  test('a text shorter than a window: the numbers and the remedy', () => {
    expect(() => createBatches(part(38), { B: 4, T: 64 })).toThrow(
      'batches: the train part has 38 tokens (38 bytes of text), but a window of 64 tokens and its target need 65; give more text, or a context length of at most 37',
    );
    expect(() => createBatches(part(100), { B: 4, T: 64, order: 'stream' })).toThrow(
      '4 rows of 64 tokens in text order need 257; give more text, or a context length of at most 24',
    );
    expect(() => createBatches(part(3), { B: 4, T: 64, order: 'stream' })).toThrow('give more text, or fewer rows');
    expect(() => createBatches(part(1), { B: 1, T: 1 })).toThrow('need 2; give more text');
    expect(() => evaluationBatches(part(1), { B: 1, T: 8 })).toThrow(
      'so there is nothing to evaluate on; hold out more text',
    );
  });

  test('sizes and steps', () => {
    expect(() => createBatches(part(38), { B: 0, T: 4 })).toThrow(
      'batches: B must be a whole number of at least 1, got 0',
    );
    expect(() => evaluationBatches(part(38), { B: 1, T: 2.5 })).toThrow(
      'T must be a whole number of at least 1, got 2.5',
    );
    expect(() => createBatches(part(38), { B: 1, T: 4 }).batchAt(-1)).toThrow(
      'batchAt: step must be a whole number from 0 on, got -1',
    );
    expect(() => createBatches(part(38), { B: 1, T: 4, seed: -1 })).toThrow('seed');
  });
});
