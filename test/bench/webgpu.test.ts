/** @file The arithmetic of the bench of WebGPU: what is right, how much work a case is, the lines of its table. */
import { describe, expect, test } from 'vitest';
import { flopsOf, matmulError, matmulInputs, type Case } from '../../bench/webgpu/cases.js';
import type { Measured, MeasuredCase } from '../../bench/webgpu/measure-case.js';
import { failuresOf, linesOf } from '../../bench/webgpu/report.js';

const product: Case = {
  ...{ id: 'matmul-2x3x4', title: 'a product', target: 1 },
  kind: 'matmul',
  sizes: { M: 2, N: 3, K: 4 },
};

describe('what is right', () => {
  const inputs = matmulInputs({ M: 9, N: 5, K: 7 });
  const right = Float64Array.from({ length: 45 }, (_, e) => {
    let sum = 0;
    for (let k = 0; k < 7; k++) sum += inputs.a[Math.floor(e / 5) * 7 + k]! * inputs.b[k * 5 + (e % 5)]!;
    return sum;
  });

  test('of a product are sums in float64', () => {
    expect(matmulError(inputs, right)).toBeLessThan(1e-14);
    expect(
      matmulError(
        inputs,
        right.map((value) => 1.01 * value),
      ),
    ).toBeCloseTo(0.01, 10);
  });

  test('and never what is no number', () => {
    expect(matmulError(inputs, right.with(3, NaN))).toBe(Infinity);
  });
});

test('work is that of the matrix products', () => {
  expect(flopsOf(product)).toBe(48);
  const mlp = { N: 2, D: 3, H: 5, V: 7 };
  // x w1^T, its weight's gradient; h w2^T, its two gradients
  expect(flopsOf({ ...product, kind: 'mlp', sizes: mlp })).toBe(2 * (2 * 2 * 3 * 5 + 3 * 2 * 5 * 7));
});

describe('lines', () => {
  const measured = (name: string, seconds: number[], failure: string | null = null): Measured => ({
    ...{ name, failure, seconds },
    error: failure === null ? 1e-7 : null,
  });
  const result: MeasuredCase = {
    of: product,
    measured: [
      measured('xlstm', [2, 1, 9]),
      measured('a', [6, 6, 6]),
      measured('b', [3, 4, 5]),
      measured('c', [], 'no'),
    ],
  };

  test('have ratios of medians, and what is asked of the best peer', () => {
    const cells = linesOf(result).map(([, name, time, , , ratio, asked]) => [name, time, ratio, asked]);
    expect(cells).toEqual([
      ['xlstm', '2.00 s', '', ''],
      ['a', '6.00 s', '3.00', ''],
      ['b', '4.00 s', '2.00', '1.0'],
      ['c', 'not timed', '', ''],
    ]);
  });

  test('are all there where ours failed', () => {
    const failed = { ...result, measured: [measured('xlstm', [], 'no'), ...result.measured.slice(1)] };
    expect(linesOf(failed).map(([, , , , , ratio]) => ratio)).toEqual(['', '', '', '']);
  });

  test('failures are sentences', () => {
    const about = { browser: '', adapter: '', versions: {}, rounds: 1, failures: ['d did not start: why'] };
    expect(failuresOf(about, [result])).toEqual(['d did not start: why', 'matmul-2x3x4, c: no']);
  });
});
