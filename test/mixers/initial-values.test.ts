/** @file Initial values of the mixers that bring their own: statistics, and numbers worked out by hand. */
import { describe, expect, it } from 'vitest';
import { initialValues, type ParameterSpec } from '../../src/layers/parameter.js';
import { findArchitecture } from '../../src/model/architectures.js';
import { parameterTable } from '../../src/model/language-model.js';
import { fold, randomKey } from '../../src/tensor/random.js';

const D = 64;
const valuesIn = (blocks: string[], name: string): Float64Array => {
  const spec = parameterTable({ vocabSize: 10, dim: D, blocks })[name] as ParameterSpec;
  return initialValues(spec, fold(randomKey(0), name));
};
const mean = (x: Float64Array) => x.reduce((a, b) => a + b, 0) / x.length;

describe('mamba', () => {
  const values = (name: string) => valuesIn(['mamba'], `blocks.0.mixer.${name}`);

  it('step sizes: log-uniform in [1e-3, 0.1] behind the softplus', () => {
    const logs = values('step.bias').map((x) => Math.log10(Math.log1p(Math.exp(x))));
    expect(Math.min(...logs)).toBeGreaterThan(-3 - 1e-9);
    expect(Math.max(...logs)).toBeLessThan(-1 + 1e-9);
    // Uniform in [-3, -1]: mean -2, deviation 2 / sqrt(12).
    expect(Math.abs(mean(logs) + 2)).toBeLessThan((5 * 2) / Math.sqrt(12 * logs.length));
  });

  it('rates 1 to N in every channel, skip 1, the map to step sizes uniform in +-1/sqrt(rank)', () => {
    const rates = values('logRates').map((x) => Math.exp(x));
    expect(rates).toHaveLength(2 * D * 16);
    rates.forEach((rate, at) => expect(rate).toBeCloseTo((at % 16) + 1, 10));
    expect(new Set(values('skip'))).toEqual(new Set([1]));
    const map = values('step.weight').map(Math.abs); // rank 64 / 16 = 4
    expect(Math.max(...map)).toBeLessThanOrEqual(0.5);
    expect(mean(map)).toBeCloseTo(0.25, 1);
  });
});

describe('rwkv4', () => {
  const blocks = ['rwkv4', 'rwkv4', 'rwkv4'];
  const values = (block: number, name: string) => valuesIn(blocks, `blocks.${block}.${name}`);

  it('decays from -5 to 3, by a power that grows with depth', () => {
    for (const [block, power] of [0.7, 1.35, 2].entries()) {
      const decay = values(block, 'mixer.decay');
      expect([decay[0], decay[D - 1]]).toEqual([-5, 3]);
      expect(decay[21]).toBeCloseTo(-5 + 8 * (1 / 3) ** power, 12);
    }
  });

  it('bonus around log 0.3 with period three, shifts by depth', () => {
    const first = values(1, 'mixer.first').slice(0, 4);
    expect([...first]).toEqual([0, 0.5, -0.5, 0].map((x) => Math.log(0.3) + x));
    expect(values(0, 'mixer.keyShift')[16]).toBeCloseTo(0.25, 12);
    expect(values(2, 'mixer.keyShift')[16]).toBeCloseTo(0.25 ** (1 / 3), 12);
    expect(values(2, 'mixer.valueShift')[16]).toBeCloseTo(0.25 ** (1 / 3) + 0.3, 12);
    expect(values(2, 'mixer.receptanceShift')[16]).toBeCloseTo(0.25 ** (1 / 6), 12);
  });

  it('the map to the values is orthogonal, the others are zero', () => {
    const value = values(0, 'mixer.value.weight');
    for (const [i, j] of [
      [0, 0],
      [63, 63],
      [0, 63],
      [5, 6],
    ] as const) {
      const dot = Array.from({ length: D }, (_, e) => value[i * D + e]! * value[j * D + e]!).reduce((a, b) => a + b);
      expect(dot).toBeCloseTo(i === j ? 1 : 0, 12);
    }
    for (const name of ['key', 'receptance', 'out'])
      expect(new Set(values(1, `mixer.${name}.weight`))).toEqual(new Set([0]));
  });
});

it('orthogonal: columns of a tall matrix, times the gain', () => {
  const x = initialValues({ shape: [6, 3], init: { kind: 'orthogonal', gain: 2 }, decay: true }, randomKey(1));
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      const dot = Array.from({ length: 6 }, (_, row) => x[row * 3 + i]! * x[row * 3 + j]!).reduce((a, b) => a + b);
      expect(dot).toBeCloseTo(i === j ? 4 : 0, 12);
    }
  }
});

describe('a model of RWKV starts as RWKV-LM says', () => {
  const [V, F] = [96, 4 * D];
  const tableOf = (name: string) => {
    const { pattern, model } = findArchitecture(name);
    const blocks = Array.from({ length: 3 }, () => pattern[0]!);
    return parameterTable({ ...model, vocabSize: V, dim: D, blocks });
  };
  const of = (table: ReturnType<typeof parameterTable>, name: string) =>
    initialValues(table[name]!, fold(randomKey(0), name));

  /** The gain of a matrix [O,I], where its rows, or columns where these are fewer, are orthogonal and of one length. */
  function gainOf(x: Float64Array, [O, I]: readonly [number, number]): number {
    const [count, length] = [Math.min(O, I), Math.max(O, I)];
    const at = (vector: number, e: number): number => (O <= I ? x[vector * I + e]! : x[e * I + vector]!);
    const dot = (a: number, b: number): number =>
      Array.from({ length }, (_, e) => at(a, e) * at(b, e)).reduce((sum, y) => sum + y);
    const square = dot(0, 0);
    for (let a = 0; a < count; a += 5) {
      for (let b = 0; b <= a; b += 3) expect(Math.abs(dot(a, b) / square - (a === b ? 1 : 0))).toBeLessThan(1e-10);
    }
    return Math.sqrt(square);
  }

  it.each([
    ['rwkv4', 6e-4],
    ['rwkv5', 1e-4],
    ['rwkv6', 1e-4],
    ['rwkv7', 1e-4],
  ])('%s: embedding uniform within +-%f, output layer orthogonal', (name, bound) => {
    const table = tableOf(name);
    const embedding = of(table, 'embedding.weight');
    expect(Math.max(...embedding.map(Math.abs))).toBeLessThanOrEqual(bound);
    const square = mean(embedding.map((x) => x * x)); // bound^2 / 3; its deviation is 0.9 of it over the root of the count
    expect(Math.abs(square / (bound ** 2 / 3) - 1)).toBeLessThan((5 * 0.9) / Math.sqrt(embedding.length));
    expect(gainOf(of(table, 'head.weight'), [V, D])).toBeCloseTo(0.5 * Math.sqrt(V / D), 10);
  });

  it('an output layer of few tokens has the gain 0.5', () => {
    const table = parameterTable({ init: 'rwkv5', vocabSize: 10, dim: D, blocks: ['rwkv5'] });
    expect(gainOf(of(table, 'head.weight'), [10, D])).toBeCloseTo(0.5, 10);
  });

  it.each([
    ['rwkv4', 2], // sqrt(F / D): RWKV-4 scales matrices of more rows than columns
    ['rwkv5', 1],
    ['rwkv6', 1],
    ['rwkv7', 1],
  ])('%s: the channel mix reads orthogonally with gain %d and writes zero', (name, gain) => {
    const table = tableOf(name);
    const F2 = table['blocks.1.channelMix.key.weight']!.shape[0]!;
    expect(F2).toBe(name === 'rwkv6' ? 3.5 * D : F);
    expect(gainOf(of(table, 'blocks.1.channelMix.key.weight'), [F2, D])).toBeCloseTo(gain, 10);
    const zeros = Object.keys(table).filter((one) => /^blocks\.1\.channelMix\.(value|receptance)\.weight$/.test(one));
    expect(zeros).toHaveLength(name === 'rwkv7' ? 1 : 2);
    for (const zero of zeros) expect(new Set(of(table, zero))).toEqual(new Set([0]));
  });

  it.each(['rwkv5', 'rwkv6'])('%s: maps of the time mix by their gains, a norm that grows with depth', (name) => {
    const table = tableOf(name);
    for (const [map, gain] of [
      ['receptance', 1],
      ['value', 1],
      ['key', 0.1],
      ['gate', 0.1],
    ] as const) {
      expect(gainOf(of(table, `blocks.1.mixer.${map}.weight`), [D, D]), map).toBeCloseTo(gain, 10);
    }
    expect(new Set(of(table, 'blocks.1.mixer.out.weight'))).toEqual(new Set([0]));
    expect(of(table, 'blocks.1.mixer.headNorm.weight')[5]).toBeCloseTo((2 / 3) ** 0.7, 12);
    expect(new Set(of(table, 'blocks.2.mixer.headNorm.weight'))).toEqual(new Set([1]));
    expect(new Set(of(table, 'blocks.2.mixer.headNorm.bias'))).toEqual(new Set([0]));
  });

  it('other mixers in such a model write zero, too', () => {
    const table = parameterTable({ init: 'rwkv4', dim: D, blocks: ['hgrn'] });
    expect(gainOf(of(table, 'blocks.0.mixer.input.weight'), [D, D])).toBeCloseTo(1, 10);
    expect(new Set(of(table, 'blocks.0.mixer.out.weight'))).toEqual(new Set([0]));
  });
});
