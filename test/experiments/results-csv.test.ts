/** @file results.csv: what is written is what is read, whatever the texts hold. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatResults,
  parseCsv,
  parseResults,
  RESULT_COLUMNS,
  resultRows,
} from '../../src/experiments/results-csv.js';
import { failedResult, type RunResult } from '../../src/experiments/run-spec.js';
import { exampleSpec } from '../support/run-specs.js';

const done: RunResult = {
  status: 'done',
  parameters: 12_345,
  stateBytes: 256,
  flopsPerToken: 24_690,
  seconds: 1.25,
  tokensPerSecond: 1e5,
  steps: 10,
  finalTrainLoss: 0.1 + 0.2,
  metrics: { 'validation/loss': 1e-300, 'test 40-256/scaledAccuracy': -0.0625, 'a/b/accuracy': 1 },
  curve: [],
};

describe('results.csv', () => {
  it('has a row per measure, and reads back to the same bits', () => {
    const rows = resultRows(exampleSpec(), done);
    expect(rows.map(({ set, measure, value }) => [set, measure, value])).toEqual([
      ['validation', 'loss', 1e-300],
      ['test 40-256', 'scaledAccuracy', -0.0625],
      ['a/b', 'accuracy', 1],
    ]);
    expect(parseResults(formatResults(rows))).toEqual(rows);
  });

  it('has one row of a failed run, whose reason may hold anything', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.constantFrom('', ',', '"', '\r\n', '\n', '""'),
        (text, special) => {
          const rows = resultRows(exampleSpec({ label: `${special}a` }), failedResult(`${text}${special}${text}`));
          expect(rows).toHaveLength(1);
          expect(parseResults(formatResults([...rows, ...rows]))).toEqual([...rows, ...rows]);
        },
      ),
    );
  });

  it('names what is wrong with a table', () => {
    const text = formatResults(resultRows(exampleSpec(), done));
    expect(() => parseResults(text.replace('learningRate', 'rate'))).toThrow('there is no column learningRate');
    expect(() => parseResults(text.replace(',12345,', ',many,'))).toThrow(
      'row 2: parameters must be a number, found "many"',
    );
    expect(() => parseResults(`${text}1,2\r\n`)).toThrow(
      `row 5 has 2 cells, the first row has ${Object.keys(RESULT_COLUMNS).length}`,
    );
    expect(() => parseResults('')).toThrow('there is no column run');
  });

  it('reads cells of RFC 4180 with line ends of any kind', () => {
    expect(parseCsv('a,"b ""c"", d",\r\n"x\ny",,z\n1,2,3')).toEqual([
      ['a', 'b "c", d', ''],
      ['x\ny', '', 'z'],
      ['1', '2', '3'],
    ]);
    expect(parseCsv('1,\n,2,')).toEqual([
      ['1', ''],
      ['', '2', ''],
    ]);
    expect(() => parseCsv('"open')).toThrow('stray');
  });
});
