/** @file Random keys and distributions: independence of streams, moments, and no dependence on the length asked for. */
import { describe, expect, it } from 'vitest';
import { draw, fold, normal, randomKey, uniform } from '../../src/tensor/random.js';

const mean = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0) / x.length;
const std = (x: ArrayLike<number>) => {
  const center = mean(x);
  return Math.sqrt(mean(Array.from(x, (v) => (v - center) ** 2)));
};

describe('keys', () => {
  it('differ by seed, label and number', () => {
    const key = randomKey(0);
    const keys = [
      key,
      randomKey(1),
      randomKey(2 ** 32),
      fold(key, 'a'),
      fold(key, 'b'),
      fold(key, 0),
      fold(key, 1),
      fold(fold(key, 0), 0),
    ];
    expect(new Set(keys.map(String)).size).toBe(keys.length);
  });

  it('refuse a seed that is no whole number', () => {
    expect(() => randomKey(-1)).toThrow('a seed is a whole number');
    expect(() => randomKey(0.5)).toThrow('a seed is a whole number');
  });
});

describe('numbers', () => {
  const key = fold(randomKey(3), 'numbers');

  it('normal: mean 0, deviation 1, within four standard errors of 100,000 draws', () => {
    const x = normal(key, 100_000);
    expect(Math.abs(mean(x))).toBeLessThan(4 / Math.sqrt(100_000));
    expect(Math.abs(std(x) - 1)).toBeLessThan(4 / Math.sqrt(200_000));
    expect(Math.abs(mean(x.map((v) => v ** 4)) - 3)).toBeLessThan(4 * Math.sqrt(96 / 100_000));
  });

  it('uniform: within its bounds, mean in the middle', () => {
    const x = uniform(key, 100_000, -2, 4);
    expect(Math.min(...x)).toBeGreaterThanOrEqual(-2);
    expect(Math.max(...x)).toBeLessThan(4);
    expect(Math.abs(mean(x) - 1)).toBeLessThan((4 * 6) / Math.sqrt(12 * 100_000));
  });

  it('a prefix of a longer draw is the shorter draw', () => {
    expect([...normal(key, 7)]).toEqual([...normal(key, 1000).subarray(0, 7)]);
    expect([...uniform(key, 3)]).toEqual([...uniform(key, 8).subarray(0, 3)]);
  });

  it('single draws lie in [0,1) and differ', () => {
    const draws = Array.from({ length: 1000 }, (_, k) => draw(key, k));
    expect(draws.every((x) => x >= 0 && x < 1)).toBe(true);
    expect(new Set(draws).size).toBe(1000);
  });
});
