/** @file Published architectures at their published sizes have the published numbers of parameters. */
import { describe, expect, it } from 'vitest';
import { countParameters } from '../../src/layers/parameter.js';
import { mixerNames } from '../../src/mixers/registry.js';
import { ARCHITECTURES, findArchitecture } from '../../src/model/architectures.js';
import type { ModelConfigInput } from '../../src/model/config.js';
import { parameterTable } from '../../src/model/language-model.js';

const VOCABULARY = 50304;

function millions(name: string, dim: number, blocks: number, more: ModelConfigInput = {}): number {
  const { pattern, model } = findArchitecture(name);
  const mixers = Array.from({ length: blocks }, (_, k) => pattern[k % pattern.length]!);
  return countParameters(parameterTable({ ...model, dim, blocks: mixers, vocabSize: VOCABULARY, ...more })) / 1e6;
}

const isThere = (name: string): boolean =>
  findArchitecture(name).pattern.every((mixer) => mixerNames().includes(mixer));

/** arXiv 2405.04517 table 3 and its appendix: millions of parameters at widths and depths that reproduce them. */
const PUBLISHED: readonly (readonly [name: string, dim: number, blocks: number, heads: number, millions: number])[] = [
  ['gpt', 1024, 24, 16, 355.9],
  ['llama', 768, 12, 12, 162.22],
  ['llama', 1024, 24, 16, 406.64],
  ['llama', 1536, 24, 16, 834.09],
  ['llama', 2048, 24, 16, 1420.4],
  ['mamba', 768, 24, 0, 167.8],
  ['mamba', 1024, 48, 0, 423.05],
  ['mamba', 1536, 48, 0, 870.5],
  ['rwkv4', 768, 12, 0, 169.4],
  ['rwkv4', 1024, 24, 0, 430.6],
];

describe('numbers of parameters', () => {
  it.each(PUBLISHED)('%s of width %i with %i blocks', (name, dim, blocks, heads, count) => {
    const attention = { ...findArchitecture(name).model.attention, heads };
    expect(Math.abs(millions(name, dim, blocks, heads === 0 ? {} : { attention }) / count - 1)).toBeLessThan(5e-4);
  });
});

describe('names', () => {
  it.each(Object.keys(ARCHITECTURES).filter(isThere))('%s makes a model', (name) =>
    expect(millions(name, 64, 2)).toBeGreaterThan(VOCABULARY * 64e-6),
  );
  it('xLSTM by its ratio', () => {
    expect(findArchitecture('xlstm[2:1]')).toEqual({
      label: 'xLSTM[2:1]',
      pattern: ['mlstm', 'mlstm', 'slstm'],
      model: {},
    });
  });
  it('a wrong one names the nearest', () => expect(() => findArchitecture('lama')).toThrow('did you mean "llama"?'));
});
