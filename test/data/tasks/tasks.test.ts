/** @file The tasks against their rules, checked in another way than they are made; batches of examples. */
import { describe, expect, it } from 'vitest';
import { batchesOf, batchOf, trainingBatch } from '../../../src/data/tasks/batch.js';
import { Draws } from '../../../src/data/tasks/draws.js';
import { createTask, TASKS, taskNames, taskOptions } from '../../../src/data/tasks/registry.js';
import { randomKey } from '../../../src/tensor/random.js';

const key = randomKey(5);
const examples = (name: string, count: number, options = {}) => {
  const set = createTask(name, options).train(key);
  return Array.from({ length: count }, (_, n) => set.example(n));
};

/** Those that need no files. */
const made = taskNames().filter((name) => TASKS.get(name)!.files === undefined);

describe.each(made)('%s', (name) => {
  const task = createTask(name, taskOptions(name, 'small', {}));

  it('every set is decided by its key and the number', () => {
    const sets = (seed: number) => {
      const k = randomKey(seed);
      return [task.train(k), task.validation(k), ...task.tests(k)];
    };
    for (const [n, set] of sets(1).entries()) {
      expect(set.example(3), set.name).toEqual(sets(1)[n]!.example(3));
      expect(set.example(3), set.name).not.toEqual(set.example(4));
      expect(set.example(3), set.name).not.toEqual(sets(2)[n]!.example(3));
    }
  });

  it('examples have the size and the symbols that the task says', () => {
    for (const set of [task.train(key), task.validation(key), ...task.tests(key)]) {
      for (let n = 0; n < 20; n++) {
        const { T, tokens, vectors, targets, values } = set.example(n);
        expect(T).toBeLessThanOrEqual(task.maxLength);
        if (task.input.kind === 'tokens') {
          expect(tokens).toHaveLength(T);
          expect(Math.max(...tokens!)).toBeLessThan(task.input.vocabSize);
          expect(Math.min(...tokens!)).toBeGreaterThanOrEqual(0);
        } else expect(vectors).toHaveLength(T * task.input.width);
        if (task.output.kind === 'tokens') {
          expect(targets).toHaveLength(T);
          expect(Math.max(...targets!)).toBeLessThan(task.output.vocabSize);
          expect(Math.max(...targets!)).toBeGreaterThanOrEqual(0);
        }
        if (task.output.kind === 'class') expect(set.example(n).label).toBeLessThan(task.output.classes);
        if (task.output.kind === 'values') expect(values).toHaveLength(T * task.output.width);
      }
    }
  });

  it('can be drawn', () => expect(task.draw(task.train(key).example(0)).length).toBeGreaterThan(3));
});

it('parity counts b', () => {
  for (const { T, tokens, targets } of examples('parity', 200)) {
    const text = [...tokens!].map((symbol) => 'ab'[symbol - 1]).join('');
    expect(text).toMatch(/^[ab]+$/);
    expect([...targets!.slice(0, -1)].every((target) => target === -1)).toBe(true);
    expect(targets![T - 1]).toBe(text.replaceAll('a', '').length % 2 === 1 ? 2 : 1);
  }
});

describe('recall', () => {
  it.each([
    [64, 4, 8192],
    [128, 8, 512],
    [756, 256, 8192],
  ])('%i tokens, %i pairs of %i', (contextLength, pairs, vocabSize) => {
    for (const { T, tokens, targets } of examples('recall', 30, { contextLength, pairs, vocabSize })) {
      expect(T).toBe(contextLength);
      const value = new Map(Array.from({ length: pairs }, (_, k) => [tokens![2 * k]!, tokens![2 * k + 1]!]));
      expect(value.size).toBe(pairs);
      expect(new Set(value.values()).size).toBe(pairs);
      for (const [k, v] of value) expect(k > 0 && k < vocabSize / 2 && v >= vocabSize / 2 && v < vocabSize).toBe(true);
      const asked = [...targets!.entries()].filter(([, target]) => target !== -1);
      expect(asked).toHaveLength(Math.min(pairs, (contextLength - 2 * pairs) / 2));
      for (const [t, target] of asked) {
        expect(t >= 2 * pairs && t % 2 === 0).toBe(true);
        expect(target).toBe(value.get(tokens![t]!));
      }
      expect(new Set(asked.map(([t]) => tokens![t])).size).toBe(asked.length);
      const blank = [...tokens!.entries()].filter(([t]) => t >= 2 * pairs && targets![t] === -1);
      expect(blank.every(([, token]) => token === 0)).toBe(true);
    }
  });
  it('early slots are asked more often', () => {
    const at = examples('recall', 400).flatMap(({ targets }) =>
      [...targets!.entries()].flatMap(([t, target]) => (target === -1 ? [] : [t])),
    );
    const early = at.filter((t) => t < 8 + 14).length;
    // The first quarter of the slots has 69 % of the weight.
    expect(early / at.length).toBeGreaterThan(0.5);
    expect(early / at.length).toBeLessThan(0.8);
  });
  it('refuses what does not fit', () => {
    expect(() => createTask('recall', { contextLength: 8, pairs: 4 })).toThrow('must be even and above 8');
    expect(() => createTask('recall', { vocabSize: 8 })).toThrow('need at least 10 tokens');
  });
});

it('nearestNeighbour says the value of the nearest so far', () => {
  for (const { T, vectors, values, valueMask } of examples('nearestNeighbour', 50)) {
    const row = (t: number) => [...vectors!.subarray(3 * t, 3 * t + 3)] as [number, number, number];
    const [kx, ky, none] = row(0);
    expect(none).toBe(0);
    expect(valueMask![0]).toBe(0);
    for (let t = 1; t < T; t++) {
      expect(Math.hypot(row(t)[0], row(t)[1])).toBeCloseTo(1, 5);
      const distances = Array.from({ length: t }, (_, k) => Math.hypot(row(k + 1)[0] - kx, row(k + 1)[1] - ky));
      const nearest = 1 + distances.indexOf(Math.min(...distances));
      expect(values![t]).toBe(row(nearest)[2]);
      expect(valueMask![t]).toBe(1);
    }
  }
});

it('a task or option that does not exist names the nearest', () => {
  expect(() => createTask('paritty')).toThrow('did you mean "parity"?');
  expect(() => createTask('recall', { pair: 3 })).toThrow('did you mean "pairs"?');
  expect(() => taskOptions('recall', 'smal', {})).toThrow('did you mean "small"?');
});

describe('batches', () => {
  const set = createTask('parity').train(key);
  const [short, long] = [3, 3].map(
    (_, k) =>
      Array.from({ length: 50 }, (__, n) => set.example(n)).sort((a, b) => (k === 0 ? a.T - b.T : b.T - a.T))[0]!,
  );

  it('fills up short rows with a document of its own', () => {
    const { B, T, lengths, reset, tokens, targets } = batchOf([short!, long!]);
    expect([B, T, ...lengths]).toEqual([2, long!.T, short!.T, long!.T]);
    expect([...reset.entries()].flatMap(([k, flag]) => (flag === 1 ? [k] : []))).toEqual([0, short!.T, T]);
    expect(tokens!.slice(0, short!.T)).toEqual(short!.tokens);
    expect(tokens!.slice(short!.T, T).every((token) => token === 0)).toBe(true);
    expect(targets!.slice(short!.T, T).every((target) => target === -1)).toBe(true);
    expect(tokens!.slice(T)).toEqual(long!.tokens);
  });

  it('an epoch of a finite set has each example once, in another order each time', () => {
    const recall = createTask('recall', { trainSize: 12 }).train(key);
    const seen = (from: number) =>
      Array.from({ length: 3 }, (_, k) => trainingBatch(recall, key, from + k, 4)).flatMap(({ tokens, T }) =>
        Array.from({ length: 4 }, (__, b) => tokens!.slice(b * T, (b + 1) * T).join()),
      );
    const all = Array.from({ length: 12 }, (_, n) => recall.example(n).tokens!.join()).sort();
    expect(seen(0).toSorted()).toEqual(all);
    expect(seen(3).toSorted()).toEqual(all);
    expect(seen(3)).not.toEqual(seen(0));
  });

  it('goes through a finite set in order, up to a bound', () => {
    const validation = createTask('recall', { validationSize: 10 }).validation(key);
    expect([...batchesOf(validation, 4)].map(({ B }) => B)).toEqual([4, 4, 2]);
    expect([...batchesOf(validation, 4, 5)].map(({ B }) => B)).toEqual([4, 1]);
  });
});

it('draws are uniform and weighted as they should be', () => {
  const draws = new Draws(key);
  expect(new Set(draws.distinct(10, 10)).size).toBe(10);
  const counts = [0, 0, 0, 0];
  for (let n = 0; n < 4000; n++) counts[draws.weighted([1, 0, 2, 1])]! += 1;
  expect(counts[1]).toBe(0);
  expect(counts[2]! / 4000).toBeGreaterThan(0.46);
  expect(counts[2]! / 4000).toBeLessThan(0.54);
  const first = Array.from({ length: 6000 }, () => draws.distinct(6, 2)[1]!);
  for (let k = 0; k < 6; k++) expect(first.filter((x) => x === k).length).toBeGreaterThan(850);
});
