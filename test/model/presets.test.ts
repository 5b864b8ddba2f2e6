/** @file Presets: the parameter counts of the published sizes, and errors of wrong names. */
import { describe, expect, it } from 'vitest';
import { countParameters } from '../../src/layers/parameter.js';
import { parameterTable } from '../../src/model/language-model.js';
import { presetConfig, presetNames } from '../../src/model/presets.js';

/** Millions of parameters, arXiv 2405.04517 table 3. */
const PUBLISHED: readonly (readonly [string, number, number])[] = [
  ['125m', 163.8, 163.7],
  ['350m', 409.3, 408.4],
  ['760m', 840.4, 839.7],
  ['1.3b', 1422.6, 1420.1],
];

const millions = (name: string): number => countParameters(parameterTable(presetConfig(name))) / 1e6;

describe('published sizes', () => {
  it.each(PUBLISHED)('%s', (size, mlstmOnly, mixed) => {
    expect(millions(`xlstm[1:0]-${size}`).toFixed(1)).toBe(mlstmOnly.toFixed(1));
    expect(millions(`xLSTM[7:1]-${size}`).toFixed(1)).toBe(mixed.toFixed(1));
  });

  it('xLSTM[1:0] 125M to the parameter: 24 blocks of 3,605,768, embedding, head and norm', () => {
    expect(millions('xlstm[1:0]-125m') * 1e6).toBe(24 * 3_605_768 + 2 * 50_304 * 768 + 768);
  });
});

it('xLSTM-7B to the parameter', () => expect(millions('xlstm-large-7b') * 1e6).toBe(6_865_424_896));

describe('names', () => {
  it('all of them give a model', () => {
    for (const name of presetNames) expect(millions(name)).toBeGreaterThan(0);
  });

  it('a wrong one names the nearest', () => {
    expect(() => presetConfig('xlstm[7:1]-350')).toThrow(
      'preset: there is no "xlstm[7:1]-350"; did you mean "xlstm[7:1]-350m"?',
    );
  });
});
