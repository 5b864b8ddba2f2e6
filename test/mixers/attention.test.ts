import { describe, expect, it } from 'vitest';
import { meanKeys } from '../../src/mixers/attention.js';

describe('the keys of a causal query, on average', () => {
  it.each([
    [1, 4],
    [4, 4],
    [3, 8],
    [9, 4],
    [7, 1],
  ])('over %i steps with a window of %i', (T, W) => {
    const seen = Array.from({ length: T }, (_, t) => Math.min(t + 1, W));
    expect(meanKeys(T, W)).toBeCloseTo(seen.reduce((a, b) => a + b) / T, 12);
  });
});
