/** @file The arithmetic of the comparison with other libraries: medians, paired ratios, agreement, the lines of its table. */
import { describe, expect, test } from 'vitest';
import { linesOf, oddLines, formatSeconds, failuresOf, HEAD, type Result } from '../../bench/peers/lines.js';
import { bandwidthShare, disagreement, ratioOf, timingOf } from '../../bench/peers/statistics.js';

describe('timing', () => {
  test('the median is that of the medians of processes, the best of all calls', () => {
    expect(timingOf([[3, 1, 2], [9, 9, 0.5], [4]])).toEqual({ median: 4, best: 0.5 });
  });

  test('ratios are of medians, their range that of pairs in the order of the rounds', () => {
    const { ofMedians, range } = ratioOf([[1], [2], [4]], [[6], [4], [8]]);
    expect(ofMedians).toBe(3); // 6 / 2
    expect(range).toEqual([2, 6]);
  });

  test('each call is beside the bandwidth measured before it, medians over calls, then over processes', () => {
    // 5 of 10, 20 and 5; 10 of 10; 40 of 10.
    expect(bandwidthShare(10, [[2, 2, 2], [1], [0.25]], [[10, 20, 5], [10], [10]])).toBe(1);
    expect(bandwidthShare(10, [[2, 2, 2]], [[10, 20, 5]])).toBe(0.5);
    expect(bandwidthShare(10, [[2, 4], [1]], 10)).toBe(1);
  });

  test('contenders that did not run equally often are refused', () => {
    expect(() => ratioOf([[1], [2]], [[1]])).toThrow('2 processes of ours and 1 of the peer');
    expect(() => ratioOf([], [])).toThrow(RangeError);
  });
});

describe('agreement', () => {
  test('is the largest relative RMS of the outputs', () => {
    expect(disagreement({ a: [3, 4], b: [1] }, { a: [3, 4.5], b: [1] })).toBeCloseTo(0.1, 12);
    expect(disagreement({ a: [0, 0] }, { a: [0, 0] })).toBe(0);
  });

  test('numbers that are none, or off where zero is right, never agree', () => {
    expect(disagreement({ a: [1] }, { a: [NaN] })).toBe(Infinity);
    expect(disagreement({ a: [0] }, { a: [1] })).toBe(Infinity);
  });

  test('what is missing on one side is an error', () => {
    expect(() => disagreement({ a: [1] }, {})).toThrow('a: 1 numbers of ours, no of the peer');
    expect(() => disagreement({ a: [1] }, { a: [1, 2] })).toThrow('a: 1 numbers of ours, 2 of the peer');
  });
});

const measured = (name: string, seconds: number | null, found: number | null = null) => ({
  name,
  disagreement: found,
  tolerance: 1e-4,
  failure: seconds === null ? 'exit 1: it fell over' : null,
  versions: {},
  seconds: (seconds === null ? {} : { '': [[seconds]] }) as Record<string, number[][]>,
});

/** A row that took so long for 1 GFLOP and 1 GB, on a machine of 10 GFLOP/s and 4 GB/s, of which 2 were left beside it. */
const result = (id: string, seconds: number, near?: string): Result => ({
  row: {
    ...{
      id,
      title: id,
      targets: [
        { ratio: 3, peer: 'fast' },
        { ratio: 9, threads: 2 },
      ],
      bandwidth: 0.85,
    },
    ...(near !== undefined && { near }),
  },
  measured: [
    {
      threads: 1,
      peak: { flops: 1e10, bandwidth: 4e9 },
      ours: { ...measured('xlstm', seconds), bandwidth: [[2e9]] },
      peers: [measured('fast one', 2 * seconds, 2e-6), measured('broken', null)],
      work: { '': { flops: 1e9, bytes: 1e9 } },
    },
  ],
});

describe('table', () => {
  test('a line for each peer, our numbers on the first', () => {
    const lines = linesOf(result('row', 1));
    expect(lines.every((line) => line.length === HEAD.length)).toBe(true);
    expect(lines).toEqual([
      [
        '',
        '1',
        '1.00 s',
        '1.00 s',
        '10 %',
        '50 % (85 %)',
        'fast one',
        '2.00 s',
        '2.00 s',
        '2.00',
        '2.00 - 2.00',
        '3',
        '2.0e-6 (1e-4)',
      ],
      ['', '', '', '', '', '', 'broken', 'not timed', '', '', '', '', ''],
    ]);
    expect(failuresOf(result('row', 1))).toEqual(['row with 1 thread, broken: exit 1: it fell over']);
  });

  test('without a reading beside the calls their share is that of the peak', () => {
    const { row, measured: all } = result('row', 1);
    const { bandwidth: _, ...ours } = all[0]!.ours;
    expect(linesOf({ row, measured: [{ ...all[0]!, ours }] })[0]![5]).toBe('25 % (85 %)');
  });

  test('odd sizes are held to the rate of even ones', () => {
    expect(oddLines([result('even', 1), result('odd', 1.25, 'even')])).toEqual([
      ['odd', 'even', '1', '0.8', '1.0', '0.80', '0.8'],
    ]);
    expect(oddLines([result('odd', 1.25, 'even')])).toEqual([]);
  });

  test('times are in the unit that suits them', () => {
    expect([12.345, 0.0123, 4.5e-6].map(formatSeconds)).toEqual(['12.3 s', '12.3 ms', '4.50 us']);
  });
});
