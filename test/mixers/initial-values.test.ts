/** @file Initial values of the mixers that bring their own: statistics, and numbers worked out by hand. */
import { describe, expect, it } from 'vitest';
import { initialValues, type ParameterSpec } from '../../src/layers/parameter.js';
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
