/** @file The parts of HiPPO-LegS against the matrix itself. */
import { expect, it } from 'vitest';
import { hippoLegs } from '../../src/layers/hippo.js';

/** C e^(A t) B is basis-free; so are moments B^T A^k B, here B^T A B and B^T A^2 B of the real matrix. */
function moments(N: number): number[] {
  const b = Array.from({ length: N }, (_, n) => Math.sqrt(2 * n + 1));
  const apply = (x: number[]): number[] =>
    x.map((_, n) => x.reduce((sum, v, k) => sum - (n > k ? b[n]! * b[k]! * v : n === k ? (n + 1) * v : 0), 0));
  const dot = (x: number[], y: number[]): number => x.reduce((sum, v, n) => sum + v * y[n]!, 0);
  const first = apply(b);
  return [dot(b, b), dot(b, first), dot(b, apply(first))];
}

it.each([2, 4, 16, 64])('N = %i: the same products with A as the matrix', (N) => {
  const { eigenvalues, P, B } = hippoLegs(N);
  expect(eigenvalues).toHaveLength(N / 2);
  // Over both halves: u* v = 2 Re sum conj(u) v.
  const inner = (u: typeof B, v: typeof B): number =>
    2 * u.reduce((sum, x, n) => sum + x.re * v[n]!.re + x.im * v[n]!.im, 0);
  const apply = (x: typeof B): typeof B => {
    const projection = inner(P, x);
    return x.map(({ re, im }, n) => {
      const l = eigenvalues[n]!;
      return {
        re: l.re * re - l.im * im - P[n]!.re * projection,
        im: l.re * im + l.im * re - P[n]!.im * projection,
      };
    });
  };
  const first = apply(B);
  const found = [inner(B, B), inner(B, first), inner(B, apply(first))];
  moments(N).forEach((value, k) => expect(found[k]! / value).toBeCloseTo(1, 10));
  expect(eigenvalues.every(({ im }) => im < 0)).toBe(true);
  expect(() => hippoLegs(3)).toThrow(/must be even, got 3/);
});
