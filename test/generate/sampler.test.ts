/** @file Sampling: each knob on small distributions whose answer is known. */
import { describe, expect, it } from 'vitest';
import { Sampler, type SamplingOptions } from '../../src/generate/sampler.js';

const logits = Float64Array.from([Math.log(0.5), Math.log(0.3), Math.log(0.15), Math.log(0.05)]);

function frequencies(options: SamplingOptions, draws = 20_000, from = logits): number[] {
  const sampler = new Sampler({ seed: 1, ...options });
  const counts = Array.from(from, () => 0);
  for (let k = 0; k < draws; k++) counts[sampler.sample(from)]! += 1;
  return counts.map((count) => count / draws);
}

/** Four standard errors of 20,000 draws. */
const close = (actual: number, expected: number) =>
  expect(Math.abs(actual - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / 20_000) + 1e-12);

describe('sampler', () => {
  it('draws in proportion', () => frequencies({}).forEach((f, k) => close(f, Math.exp(logits[k]!))));

  it('temperature 0 takes the most probable, the first of equals', () => {
    expect(frequencies({ temperature: 0 }, 50)).toEqual([1, 0, 0, 0]);
    expect(new Sampler({ temperature: 0 }).sample(Float64Array.from([1, 2, 2]))).toBe(1);
  });

  it('temperature 2 flattens', () => {
    const roots = Array.from(logits, (x) => Math.exp(x / 2));
    const total = roots.reduce((a, b) => a + b, 0);
    frequencies({ temperature: 2 }).forEach((f, k) => close(f, roots[k]! / total));
  });

  it('top-k', () => frequencies({ topK: 2 }).forEach((f, k) => close(f, [0.625, 0.375, 0, 0][k]!)));
  it('top-p keeps the token that crosses the threshold', () =>
    frequencies({ topP: 0.79 }).forEach((f, k) => close(f, [0.625, 0.375, 0, 0][k]!)));
  it('min-p', () =>
    frequencies({ minP: 0.2 }).forEach((f, k) => close(f, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0][k]!)));

  it('repetition penalty lowers seen tokens, whatever the sign of their logit', () => {
    for (const best of [3, -0.1]) {
      const sampler = new Sampler({ temperature: 0, repetitionPenalty: 100 });
      const values = Float64Array.from([best, best - 1, -20]);
      expect(sampler.sample(values)).toBe(0);
      expect(sampler.sample(values)).toBe(1);
    }
  });

  it('the seed decides', () => {
    const run = (seed: number) => {
      const sampler = new Sampler({ seed });
      return Array.from({ length: 50 }, () => sampler.sample(logits));
    };
    expect(run(5)).toEqual(run(5));
    expect(run(5)).not.toEqual(run(6));
  });

  it('extreme logits', () => {
    expect(frequencies({}, 50, Float64Array.from([-1e4, 1e4, -Infinity]))).toEqual([0, 1, 0]);
    expect(() => new Sampler().sample(Float64Array.from([NaN, NaN]))).toThrow('no logit is finite');
  });

  it('wrong options name themselves', () => {
    expect(() => new Sampler({ topP: 1.5 })).toThrow('sampling: topP must be from 0 to 1, got 1.5');
    expect(() => new Sampler({ temperature: -1 })).toThrow('temperature');
    expect(() => new Sampler({ repetitionPenalty: 0 })).toThrow('repetitionPenalty must be from above 0');
  });
});
