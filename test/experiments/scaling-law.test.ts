import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitScalingLaw, type ScalingPoint } from '../../src/experiments/scaling-fit.js';
import {
  computeOptimum,
  fitPowerLaw,
  logAddExp,
  optimumExponents,
  predictLoss,
  type ScalingLaw,
} from '../../src/experiments/scaling-law.js';
import { PUBLISHED_LAWS } from '../../src/experiments/published/scaling.js';
import { normal, randomKey } from '../../src/tensor/random.js';

const CONSTANTS = ['a', 'b', 'e', 'alpha', 'beta', 'gamma'] as const;

const steps = (low: number, high: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => low * (high / low) ** (i / (count - 1)));

/** A grid of models and budgets, with noise of this standard deviation on log loss. */
function pointsOf(
  law: ScalingLaw,
  parameters: readonly number[],
  tokens: readonly number[],
  noise: number,
  seed = 1,
): ScalingPoint[] {
  const z = normal(randomKey(seed), parameters.length * tokens.length, 0, noise);
  return parameters.flatMap((n, i) =>
    tokens.map((d, j) => ({
      parameters: n,
      tokens: d,
      loss: predictLoss(law, n, d) * Math.exp(z[i * tokens.length + j]!),
    })),
  );
}

/** Largest relative error of the predicted loss over the range of the points and a factor of ten beyond. */
function worstPrediction(fitted: ScalingLaw, law: ScalingLaw): number {
  const errors = steps(1e4, 1e13, 30).flatMap((n) =>
    steps(1e6, 1e16, 30).map((d) => Math.abs(predictLoss(fitted, n, d) / predictLoss(law, n, d) - 1)),
  );
  return Math.max(...errors);
}

describe('fitScalingLaw', () => {
  // Another law than the published ones, near no start of the search.
  const synthetic: ScalingLaw = { a: 6.1, b: 7.4, e: 0.52, alpha: 0.34, beta: 0.28, gamma: 0.8 };

  it('recovers the constants of a law from points without noise', () => {
    for (const law of [synthetic, { ...synthetic, gamma: 1 }, ...Object.values(PUBLISHED_LAWS)]) {
      const fit = fitScalingLaw(pointsOf(law, steps(1e6, 1e10, 7), steps(1e8, 1e12, 7), 0));
      for (const name of CONSTANTS) expect(fit.law[name], name).toBeCloseTo(law[name], 6);
      expect(fit.rms).toBeLessThan(1e-9);
    }
  });

  it('recovers a law whose gamma is held', () => {
    const law = { ...synthetic, gamma: 1 };
    const fit = fitScalingLaw(pointsOf(law, steps(1e6, 1e10, 8), steps(1e8, 1e12, 8), 0), { gamma: 1 });
    for (const name of CONSTANTS) expect(fit.law[name], name).toBeCloseTo(law[name], 6);
  });

  /*
   * 625 points from 1e5 to 1e12 parameters and 1e7 to 1e15 tokens. a, b, alpha, beta and gamma move together: where one
   * term of the inner sum rules, only gamma times the others shows, so gamma comes from the crossing alone. Over eight
   * seeds the largest errors seen with 0.5 % (1 %) noise were: a and b 1.4 % (2.8 %), alpha and beta 1.6 % (3.1 %), gamma
   * 1.3 % (2.5 %), e 0.006 (0.012); the products alpha gamma and beta gamma 0.36 % (0.73 %); the predicted losses, also a
   * factor of ten beyond the points, 0.26 % (0.54 %).
   */
  const published = Object.entries(PUBLISHED_LAWS);
  it.each(published)('recovers the published constants of %s from noisy points', (_, law) => {
    for (const [noise, factor] of [
      [0.005, 1],
      [0.01, 2],
    ] as const) {
      const points = pointsOf(law, steps(1e5, 1e12, 25), steps(1e7, 1e15, 25), noise);
      const { law: fitted, rms } = fitScalingLaw(points);
      expect(rms).toBeCloseTo(noise, 3);
      const error = (name: keyof ScalingLaw): number => Math.abs(fitted[name] / law[name] - 1);
      for (const name of ['a', 'b', 'alpha', 'beta', 'gamma'] as const)
        expect(error(name), name).toBeLessThan(0.02 * factor);
      expect(Math.abs(fitted.e - law.e)).toBeLessThan(0.008 * factor);
      expect(Math.abs((fitted.alpha * fitted.gamma) / (law.alpha * law.gamma) - 1)).toBeLessThan(0.005 * factor);
      expect(Math.abs((fitted.beta * fitted.gamma) / (law.beta * law.gamma) - 1)).toBeLessThan(0.005 * factor);
      expect(worstPrediction(fitted, law)).toBeLessThan(0.004 * factor);
    }
  });

  it('is not moved by a few runs that diverged', () => {
    const law = PUBLISHED_LAWS.xLSTM;
    const points = pointsOf(law, steps(1e6, 1e11, 12), steps(1e8, 1e13, 12), 0.001);
    const spoilt = points.map((point, i) => (i % 29 === 7 ? { ...point, loss: 2 * point.loss } : point));
    const { law: fitted, residuals } = fitScalingLaw(spoilt);
    expect(worstPrediction(fitted, law)).toBeLessThan(0.01);
    expect(residuals[7]).toBeCloseTo(Math.LN2, 1);
  });

  it('gives the same bits again, in any unit of work', () => {
    const points = pointsOf(synthetic, steps(1e6, 1e9, 6), steps(1e8, 1e11, 6), 0.01);
    expect(fitScalingLaw(points, { resamples: 5 })).toEqual(fitScalingLaw(points, { resamples: 5 }));
  });

  it('has intervals that hold the constants, and that shrink with the noise', () => {
    const wide = (noise: number) => {
      const points = pointsOf(synthetic, steps(1e6, 1e10, 12), steps(1e8, 1e12, 12), noise);
      const { intervals } = fitScalingLaw(points, { resamples: 60 });
      return intervals!;
    };
    const [low, high] = wide(0.01).gamma;
    expect(low).toBeLessThan(synthetic.gamma);
    expect(high).toBeGreaterThan(synthetic.gamma);
    const [lowStill, highStill] = wide(0.001).gamma;
    expect(highStill - lowStill).toBeLessThan(0.3 * (high - low));
  });

  it('says what is wrong with the points', () => {
    const points = pointsOf(synthetic, steps(1e6, 1e9, 4), steps(1e8, 1e11, 4), 0);
    const spoilt = points.with(4, { parameters: 1e7, tokens: 1e8, loss: NaN });
    expect(() => fitScalingLaw(spoilt)).toThrow('above 0; point 5 has 10000000, 100000000, NaN; leave it out');
    expect(() => fitScalingLaw(points.slice(0, 6))).toThrow('more than 6 points, got 6; add runs, or hold gamma at 1');
    expect(() => fitScalingLaw(points.slice(0, 8))).toThrow('three different numbers of parameters, got 2');
    expect(() => fitScalingLaw(points, { gamma: 0 })).toThrow("gamma is above 0 or 'free', got 0");
  });
});

describe('the law', () => {
  const law = PUBLISHED_LAWS.Transformer;

  it('is the formula as it is printed', () => {
    const { a, b, e, alpha, beta, gamma } = law;
    const [n, d] = [4.0664e8, 1.48e10];
    const plain = Math.exp(e) + (Math.exp(a) / n ** alpha + Math.exp(b) / d ** beta) ** gamma;
    expect(predictLoss(law, n, d)).toBeCloseTo(plain, 12);
    expect(logAddExp(-Infinity, 3)).toBe(3);
    expect(logAddExp(800, 800)).toBeCloseTo(800 + Math.LN2, 12);
  });

  it('has its least loss at the optimum of the compute, and the optimum moves by the exponents', () => {
    fc.assert(
      fc.property(fc.double({ min: 16, max: 26, noNaN: true }), (exponent) => {
        const flops = 10 ** exponent;
        const best = computeOptimum(law, flops);
        expect(6 * best.parameters * best.tokens).toBeCloseTo(flops, -exponent + 12 > 0 ? 0 : -(exponent - 8));
        for (const factor of [0.9, 1.1]) {
          const n = best.parameters * factor;
          expect(predictLoss(law, n, flops / 6 / n)).toBeGreaterThan(best.loss);
        }
      }),
    );
    const { parameters, tokens } = optimumExponents(law);
    expect(parameters + tokens).toBeCloseTo(1, 12);
    const [near, far] = [computeOptimum(law, 1e20), computeOptimum(law, 1e22)];
    expect(Math.log(far.parameters / near.parameters) / Math.log(100)).toBeCloseTo(parameters, 9);
    expect(Math.log(far.tokens / near.tokens) / Math.log(100)).toBeCloseTo(tokens, 9);
  });

  /* The paper gives slopes of 0.047 to 0.053 (Transformer) and 0.046 to 0.047 (xLSTM) of its measured losses over its own
   * FLOPs at 22 to 1100 tokens per parameter; the laws with 6 N D give 0.0448 to 0.0479 and 0.0463 to 0.0485. */
  it('falls with compute about as published', () => {
    for (const published of Object.values(PUBLISHED_LAWS)) {
      const slopes = [22, 110, 1100].map((ratio) => {
        const sizes = steps(1.6e8, 7e9, 8);
        return fitPowerLaw(sizes.map((n) => [6 * n * n * ratio, predictLoss(published, n, n * ratio)])).slope;
      });
      for (const slope of slopes) {
        expect(slope).toBeGreaterThan(0.044);
        expect(slope).toBeLessThan(0.049);
      }
    }
  });
});

describe('fitPowerLaw', () => {
  it('finds the slope and says how well it fits', () => {
    const exact = fitPowerLaw([1e15, 1e17, 1e20].map((c) => [c, 12 * c ** -0.05]));
    expect(exact.slope).toBeCloseTo(0.05, 12);
    expect(Math.exp(exact.offset)).toBeCloseTo(12, 9);
    expect(exact.r2).toBeCloseTo(1, 12);
    expect(fitPowerLaw([[1, 3], [2, 1], [4, 3]]).r2).toBeLessThan(0.1); // prettier-ignore
  });

  it('refuses what has no line', () => {
    expect(() => fitPowerLaw([[1, 3], [1, 2]])).toThrow('two different x'); // prettier-ignore
    expect(() => fitPowerLaw([[1, 3], [2, NaN]])).toThrow('leave out runs that have no loss'); // prettier-ignore
  });
});
