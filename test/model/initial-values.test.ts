/** @file Initial values: the statistics of every parameter against the specification of the paper's implementation. */
import { describe, expect, it } from 'vitest';
import { initialValues, type ParameterSpec } from '../../src/layers/parameter.js';
import { parameterTable } from '../../src/model/language-model.js';
import { fold, randomKey } from '../../src/tensor/random.js';

const D = 256;
const NB = 4;
const table = parameterTable({ vocabSize: 500, dim: D, blocks: ['mlstm', 'slstm', 'mlstm', 'slstm'] });
const valuesOf = (name: string) => initialValues(table[name] as ParameterSpec, fold(randomKey(0), name));
const mean = (x: Float64Array) => x.reduce((a, b) => a + b, 0) / x.length;
const std = (x: Float64Array) => Math.sqrt(mean(x.map((v) => v * v)) - mean(x) ** 2);

const small = Math.sqrt(2 / (5 * D));
const wang = 2 / (NB * Math.sqrt(D));

describe('normal', () => {
  it.each([
    ['embedding.weight', small],
    ['head.weight', small],
    ['blocks.0.mixer.up.weight', small],
    ['blocks.0.mixer.q.weight', small],
    ['blocks.0.mixer.k.weight', small],
    ['blocks.0.mixer.v.weight', small],
    ['blocks.0.mixer.down.weight', wang],
    ['blocks.1.mixer.igate.weight', small],
    ['blocks.1.mixer.zgate.weight', small],
    ['blocks.1.feedForward.gate.weight', small],
    ['blocks.1.feedForward.up.weight', small],
    ['blocks.1.feedForward.down.weight', wang],
  ])('%s: deviation %f within five standard errors', (name, deviation) => {
    const x = valuesOf(name);
    expect(Math.abs(mean(x))).toBeLessThan((5 * deviation) / Math.sqrt(x.length));
    expect(Math.abs(std(x) / deviation - 1)).toBeLessThan(5 / Math.sqrt(2 * x.length));
  });

  it('igate bias of the mLSTM: N(0, 0.1^2) over many seeds', () => {
    const spec = table['blocks.0.mixer.igate.bias']!;
    const seeds = Array.from({ length: 500 }, (_, seed) => seed);
    const x = Float64Array.from(seeds.flatMap((seed) => [...initialValues(spec, randomKey(seed))]));
    expect(Math.abs(std(x) / 0.1 - 1)).toBeLessThan(5 / Math.sqrt(2 * x.length));
  });
});

describe('uniform: torch.nn.Conv1d, +-1/sqrt(4)', () => {
  it.each(['blocks.0.mixer.conv.weight', 'blocks.0.mixer.conv.bias', 'blocks.1.mixer.conv.weight'])('%s', (name) => {
    const x = valuesOf(name);
    expect(Math.max(...x.map(Math.abs))).toBeLessThanOrEqual(0.5);
    expect(Math.abs(std(x) * Math.sqrt(12) - 1)).toBeLessThan(0.1);
  });
});

describe('constants', () => {
  it.each([
    ['blocks.0.mixer.skip', 1],
    ['blocks.0.norm.weight', 0],
    ['blocks.0.mixer.cellNorm.weight', 0],
    ['blocks.0.mixer.igate.weight', 0],
    ['blocks.0.mixer.fgate.weight', 0],
    ['blocks.1.mixer.recurrent', 0],
    ['norm.weight', 0],
  ])('%s = %d', (name, value) => expect(new Set(valuesOf(name))).toEqual(new Set([value])));

  it('fgate bias of the mLSTM: 3 to 6 over the heads', () =>
    expect([...valuesOf('blocks.0.mixer.fgate.bias')]).toEqual([3, 4, 5, 6]));

  it('forget bias of the sLSTM: the power law, others zero', () => {
    const eight = parameterTable({ dim: 8, blocks: ['slstm', 'slstm', 'slstm'], slstm: { heads: 1 } });
    const forget = [0, 1, 2].map((block) => {
      const bias = initialValues(eight[`blocks.${block}.mixer.bias`]!, randomKey(0));
      expect([...bias.slice(0, 8), ...bias.slice(16)].every((x) => x === 0)).toBe(true);
      return [...bias.slice(8, 16)];
    });
    // Specification, section 1.5, for heads of 8.
    const wanted = [
      [5, -1.7, -3.2, -4.3, -5.1, -5.8, -6.5, -7],
      [5, 3.1, 1.35, -0.4, -2.1, -3.7, -5.4, -7],
      [5, 4.5, 3.4, 1.9, 0.1, -2, -4.4, -7],
    ];
    forget.forEach((row, r) => row.forEach((x, k) => expect(Math.abs(x - wanted[r]![k]!)).toBeLessThan(0.06)));
  });
});

describe('mlstmLarge', () => {
  const large = parameterTable({ dim: 64, norm: 'rmsnorm', blocks: ['mlstmLarge'], mlstmLarge: { heads: 2 } });
  const valuesOfLarge = (name: string) => initialValues(large[`blocks.0.${name}`]!, randomKey(0));
  it.each([
    ['norm.weight', 1],
    ['mixer.ogate.weight', 0],
    ['mixer.igate.weight', 0],
    ['mixer.igate.bias', -10],
    ['mixer.fgate.weight', 0],
    ['mixer.cellNorm.weight', 1],
  ])('%s = %d', (name, value) => expect(new Set(valuesOfLarge(name))).toEqual(new Set([value])));

  it('fgate bias: 3 to 6 over the heads', () => expect([...valuesOfLarge('mixer.fgate.bias')]).toEqual([3, 6]));
});

describe('weight decay', () => {
  it('matrices decay; biases, norms, skip, embedding and recurrent matrices do not', () => {
    const decayed = Object.entries(table).flatMap(([name, { decay }]) => (decay ? [name.replace(/\d+/, 'N')] : []));
    expect(new Set(decayed)).toEqual(
      new Set([
        ...['up', 'conv', 'q', 'k', 'v', 'igate', 'fgate', 'down'].map((part) => `blocks.N.mixer.${part}.weight`),
        ...['igate', 'fgate', 'zgate', 'ogate'].map((part) => `blocks.N.mixer.${part}.weight`),
        ...['gate', 'up', 'down'].map((part) => `blocks.N.feedForward.${part}.weight`),
        'head.weight',
      ]),
    );
  });
});
