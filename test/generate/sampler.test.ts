/** @file Sampling: every option against a plain definition over sorted lists, written here anew. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DivergedError, Sampler } from '../../src/generate/sampler.js';
import type { SamplingOptions } from '../../src/generate/sampling-options.js';

const logits = Float64Array.from([Math.log(0.5), Math.log(0.3), Math.log(0.15), Math.log(0.05)]);
const DRAWS = 20_000;

function frequencies(options: SamplingOptions, from: Float32Array | Float64Array = logits, draws = DRAWS): number[] {
  const sampler = new Sampler({ seed: 1, ...options });
  const counts = Array.from(from, () => 0);
  for (let k = 0; k < draws; k++) counts[sampler.sample(from).token]! += 1;
  return counts.map((count) => count / draws);
}

/**
 * Pearson's statistic of the frequencies; tokens of probability 0 must not come. Its mean is the number of tokens less
 * one, its variance twice that: the bound is six standard deviations.
 */
function expectDistribution(seen: readonly number[], expected: readonly number[], draws = DRAWS): void {
  const possible = expected.filter((p) => p > 0).length - 1;
  let statistic = 0;
  expected.forEach((p, token) => {
    if (p === 0) expect(seen[token], `token ${token} has no probability`).toBe(0);
    else statistic += (draws * (seen[token]! - p) ** 2) / p;
  });
  expect(statistic).toBeLessThan(possible + 6 * Math.sqrt(2 * possible) + 1e-9);
}

interface Weighted {
  readonly token: number;
  readonly p: number;
}
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const normalized = (list: readonly Weighted[]): Weighted[] => {
  const total = sum(list.map(({ p }) => p));
  return list.map(({ token, p }) => ({ token, p: p / total }));
};
/** The first of a list, in this order, that together reach a mass. */
function untilMass(list: readonly Weighted[], key: (p: number) => number, mass: number): Weighted[] {
  const sorted = list.toSorted((a, b) => key(a.p) - key(b.p) || a.token - b.token);
  let held = 0;
  const last = sorted.findIndex(({ p }) => (held += p) >= mass);
  return last === -1 ? sorted : sorted.slice(0, last + 1);
}

/** The distribution of the next token, by definition; filters as transformers applies them. */
function definition(from: ArrayLike<number>, options: SamplingOptions): number[] {
  const { temperature = 1, topK = 0, topP = 1, minP = 0, typical = 1 } = options;
  const top = Math.max(...Array.from(from));
  let list = normalized(Array.from(from, (x, token) => ({ token, p: Math.exp((x - top) / temperature) })));
  if (topK > 0) {
    // By the logits: probabilities may be equal where logits are not.
    list = list.toSorted((a, b) => from[b.token]! - from[a.token]! || a.token - b.token).slice(0, topK);
  }
  list = normalized(list);
  if (topP < 1) list = normalized(untilMass(list, (p) => -p, topP));
  const most = Math.max(...list.map(({ p }) => p));
  if (minP > 0) list = normalized(list.filter(({ p }) => p >= minP * most));
  if (typical < 1) {
    const entropy = -sum(list.map(({ p }) => (p > 0 ? p * Math.log(p) : 0)));
    list = normalized(untilMass(list, (p) => Math.abs(-Math.log(p) - entropy), typical));
  }
  const out = Array.from(from, () => 0);
  for (const { token, p } of list) out[token] = p;
  return out;
}

describe('distributions', () => {
  it.each<SamplingOptions>([
    {},
    { temperature: 2 },
    { temperature: 0.3 },
    { topK: 2 },
    { topK: 100 },
    { topP: 0.79 },
    { topP: 0.81 },
    { minP: 0.2 },
    { typical: 0.2 },
    { typical: 0.9 },
    { topK: 3, topP: 0.9, minP: 0.2, temperature: 1.5 },
  ])('%o', (options) => expectDistribution(frequencies(options), definition(logits, options)));

  it('known values: top-p keeps the token that crosses the threshold; typical may leave out the most probable', () => {
    expectDistribution(frequencies({ topP: 0.79 }), [0.625, 0.375, 0, 0]);
    expectDistribution(frequencies({ minP: 0.2 }), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]);
    // Entropy 1.142; the informations are 0.693, 1.204, 1.897, 2.996.
    expect(frequencies({ typical: 0.2 }, logits, 50)).toEqual([0, 1, 0, 0]);
  });

  it('random logits and options: exactly the candidates of the definition, in proportion', () => {
    const options = fc.record({
      temperature: fc.constantFrom(0.2, 0.7, 1, 3),
      topK: fc.constantFrom(0, 1, 2, 7, 600, 2000),
      topP: fc.constantFrom(0.0517, 0.3137, 0.8931, 1),
      minP: fc.constantFrom(0, 0.07),
      typical: fc.constantFrom(0.1137, 0.7771, 1),
    });
    const size = fc.constantFrom(1, 2, 9, 40, 1500);
    // Whole numbers make many ties. Steps of 0.001 keep apart what exp() would round together, and masses that no number
    // of equal tokens reaches exactly leave nothing to rounding.
    const value = fc.oneof(
      fc.integer({ min: -6000, max: 6000 }).map((x) => x / 1000),
      fc.integer({ min: -2, max: 2 }),
    );
    fc.assert(
      fc.property(size, fc.array(value, { minLength: 1, maxLength: 40 }), options, (V, values, chosen) => {
        const from = Float64Array.from({ length: V }, (_, k) => values[(k * 7) % values.length]!);
        const expected = definition(from, chosen);
        const few = 300;
        const seen = frequencies(chosen, from, few);
        seen.forEach((f, token) => {
          if (f > 0) expect(expected[token]).toBeGreaterThan(0);
          const p = expected[token]!;
          expect(Math.abs(f - p)).toBeLessThan(6 * Math.sqrt((p * (1 - p)) / few) + 0.05);
        });
      }),
      { numRuns: 60 },
    );
  });

  it('a vocabulary of 50,304: every filter keeps what the definition keeps', () => {
    const V = 50_304;
    const from = Float32Array.from({ length: V }, (_, k) => 6 * Math.sin(k * 12.9898) + 4 * Math.cos(k * 78.233));
    for (const options of [{ topK: 40 }, { topK: 5000 }, { topP: 0.5 }, { minP: 0.3 }, { typical: 0.3 }]) {
      const expected = definition(from, options);
      const sampler = new Sampler(options);
      let information = 0;
      const draws = 100;
      for (let k = 0; k < draws; k++) {
        const p = expected[sampler.sample(from).token]!;
        expect(p).toBeGreaterThan(0);
        information -= Math.log(p) / draws;
      }
      const entropy = -sum(expected.map((p) => (p > 0 ? p * Math.log(p) : 0)));
      expect(Math.abs(information - entropy), JSON.stringify(options)).toBeLessThan(0.6);
    }
  });
});

describe('the most probable', () => {
  it('temperature 0, top-k 1 and top-p 0 take it, the first of equals', () => {
    for (const options of [{ temperature: 0 }, { topK: 1 }, { topP: 0 }]) {
      expect(frequencies(options, logits, 50)).toEqual([1, 0, 0, 0]);
      expect(new Sampler(options).sample(Float64Array.from([1, 2, 2])).token).toBe(1);
    }
  });
});

describe('biases and penalties', () => {
  const greedy = (options: SamplingOptions) => new Sampler({ temperature: 0, ...options });
  const tokens = (sampler: Sampler, values: readonly number[], count: number) =>
    Array.from({ length: count }, () => sampler.sample(Float32Array.from(values)).token);

  it('repetition penalty lowers seen tokens, whatever the sign of their logit; the prompt counts', () => {
    for (const best of [3, -0.1]) {
      expect(tokens(greedy({ repetitionPenalty: 100 }), [best, best - 1, -20], 2)).toEqual([0, 1]);
      const prompted = greedy({ repetitionPenalty: 100 });
      prompted.observe(0);
      expect(tokens(prompted, [best, best - 1, -20], 1)).toEqual([1]);
    }
  });

  it('presence penalty counts once, frequency penalty each time; the prompt does not count', () => {
    const values = [1, 0, -2.9];
    const presence = greedy({ presencePenalty: 1.5 });
    presence.observe(0);
    expect(tokens(presence, values, 5)).toEqual([0, 1, 0, 0, 0]);
    const frequency = greedy({ frequencyPenalty: 0.8 });
    frequency.observe(0);
    // 1, 0.2 | 0 -> token 0 twice, then token 1 at 0 beats -0.6, and so on.
    expect(tokens(frequency, values, 6)).toEqual([0, 0, 1, 0, 1, 0]);
    expect(tokens(greedy({ presencePenalty: -2 }), [0, 0.5], 3)).toEqual([1, 1, 1]);
  });

  it('logit bias adds; -Infinity bans; it comes before the repetition penalty', () => {
    expectDistribution(
      frequencies({ logitBias: { 3: Math.log(10) } }),
      [0.5, 0.3, 0.15, 0.5].map((p) => p / 1.45),
    );
    expect(frequencies({ logitBias: { 0: -Infinity, 1: -100 } }, logits, 200)[0]).toBe(0);
    const both = greedy({ logitBias: { 0: 10 }, repetitionPenalty: 2 });
    both.observe(0);
    // (-4 + 10) / 2 = 3 beats 2; halved or doubled first it would not.
    expect(tokens(both, [-4, 3.1, 2], 1)).toEqual([1]);
    expect(tokens(both, [-4, 2.9, 2], 1)).toEqual([0]);
  });

  it('a bias beyond the vocabulary or on all of it is refused', () => {
    expect(() => greedy({ logitBias: { 4: 1 } }).sample(logits)).toThrow('token 4, but there are only 4 tokens');
    const all = Object.fromEntries([0, 1, 2, 3].map((token) => [token, -Infinity]));
    expect(() => greedy({ logitBias: all }).sample(logits)).toThrow('bans every token');
  });

  it('the logits of the caller stay as they are', () => {
    const values = Float32Array.from([1, 2, 3]);
    new Sampler({ logitBias: { 0: 50 }, repetitionPenalty: 3, logprobs: 2 }).sample(values);
    expect([...values]).toEqual([1, 2, 3]);
  });
});

describe('log-probabilities', () => {
  it('none unless asked for', () => expect(new Sampler().sample(logits)).toMatchObject({ logprob: null, top: [] }));

  it('are the log-softmax of the model, most probable first, whatever the options change', () => {
    const from = Float64Array.from({ length: 20 }, (_, k) => (k * 7) % 20);
    const total = sum(Array.from(from, (x) => Math.exp(x)));
    const sampler = new Sampler({ logprobs: 20, temperature: 3, logitBias: { 4: 50 }, topK: 5, repetitionPenalty: 2 });
    for (let k = 0; k < 20; k++) {
      const { token, logprob, top } = sampler.sample(from);
      expect(logprob).toBeCloseTo(from[token]! - Math.log(total), 12);
      expect(top.map((entry) => from[entry.token])).toEqual([...from].sort((a, b) => b - a));
      expect(sum(top.map((entry) => Math.exp(entry.logprob)))).toBeCloseTo(1, 12);
    }
  });

  it('fewer than asked for where the vocabulary is smaller; 0 gives that of the chosen token alone', () => {
    expect(new Sampler({ logprobs: 20 }).sample(logits).top).toHaveLength(4);
    const alone = new Sampler({ logprobs: 0, temperature: 0 }).sample(logits);
    expect(alone.top).toEqual([]);
    expect(alone.logprob).toBeCloseTo(Math.log(0.5), 12);
  });

  it('of equals the first', () => {
    const { top } = new Sampler({ logprobs: 3 }).sample(Float64Array.from([0, 1, 1, 0, 0]));
    expect(top.map(({ token }) => token)).toEqual([1, 2, 0]);
  });

  it('stable at logits of ten thousand', () => {
    const { logprob, top } = new Sampler({ logprobs: 3 }).sample(Float32Array.from([1e4, -1e4, 1e4 - 700]));
    expect(logprob).toBe(0);
    expect(top.map(({ logprob: value }) => value)).toEqual([0, -700, -2e4]);
  });
});

describe('seeds', () => {
  const run = (seed: number) => {
    const sampler = new Sampler({ seed });
    return Array.from({ length: 50 }, () => sampler.sample(logits).token);
  };
  it('the seed decides', () => {
    expect(run(5)).toEqual(run(5));
    expect(run(5)).not.toEqual(run(6));
  });

  it('samplers side by side do not touch each other', () => {
    const [a, b] = [new Sampler({ seed: 5 }), new Sampler({ seed: 6, topK: 2, frequencyPenalty: 1 })];
    const mixed = Array.from({ length: 50 }, () => {
      b.sample(Float32Array.from([0, 1, 2, 3, 4, 5, 6]));
      return a.sample(logits).token;
    });
    expect(mixed).toEqual(run(5));
  });
});

describe('extremes', () => {
  it('large, infinitely small, all but one, a vocabulary of one', () => {
    expect(frequencies({}, Float64Array.from([-1e4, 1e4, -Infinity]), 50)).toEqual([0, 1, 0]);
    const filters = { topK: 2, topP: 0.9, minP: 0.1, typical: 0.5, logprobs: 2 };
    const { token, logprob, top } = new Sampler(filters).sample(Float64Array.from([-Infinity, -3, -Infinity]));
    expect([token, logprob, top[0]]).toEqual([1, 0, { token: 1, logprob: 0 }]);
    expect(new Sampler(filters).sample(Float32Array.of(-7)).token).toBe(0);
    expect(frequencies({ temperature: 1e-300 }, logits, 50)).toEqual([1, 0, 0, 0]);
    expectDistribution(frequencies({ temperature: 1e300 }), [0.25, 0.25, 0.25, 0.25]);
  });

  it.each([
    ['NaN alone', [NaN, NaN], 'the logit of token 0 is NaN'],
    ['one NaN behind the largest', [5, 1, NaN, 2], 'the logit of token 2 is NaN'],
    ['nothing finite', [-Infinity, -Infinity], 'no logit is finite'],
    ['infinite', [0, Infinity], 'no logit is finite'],
  ])('%s: DivergedError', (_name, values, message) => {
    const sample = () => new Sampler({ temperature: 0 }).sample(Float64Array.from(values));
    expect(sample).toThrow(DivergedError);
    expect(sample).toThrow(message);
  });
});

describe('wrong options name themselves', () => {
  it.each<[SamplingOptions, string]>([
    [{ topP: 1.5 }, 'sampling: topP must be from 0 to 1, got 1.5'],
    [{ temperature: -1 }, 'sampling: temperature must be a finite number, from 0, got -1'],
    [{ temperature: Infinity }, 'temperature'],
    [{ minP: NaN }, 'minP'],
    [{ topK: 2.5 }, 'sampling: topK must be a whole number, got 2.5'],
    [{ typical: 0 }, 'sampling: typical must be above 0 to 1, got 0'],
    [{ repetitionPenalty: 0 }, 'repetitionPenalty must be a finite number, above 0'],
    [{ presencePenalty: 2.1 }, 'presencePenalty must be from -2 to 2'],
    [{ frequencyPenalty: -3 }, 'frequencyPenalty must be from -2 to 2'],
    [{ logprobs: 21 }, 'logprobs must be a whole number from 0 to 20, got 21'],
    [{ logitBias: { 3: 101 } }, 'logitBias of token 3 must be from -100 to 100, or -Infinity, got 101'],
    [{ logitBias: { '-1': 1 } }, 'logitBias is by token number, got "-1"'],
    [{ seed: -1 }, 'seed'],
  ])('%o', (options, message) => expect(() => new Sampler(options)).toThrow(message));
});
