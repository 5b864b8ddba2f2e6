import { describe, expect, it } from 'vitest';
import {
  aggregate,
  chooseRate,
  collectRuns,
  headlineOf,
  measured,
  setsOf,
} from '../../src/experiments/report/aggregate.js';
import { statistics } from '../../src/experiments/report/statistics.js';
import { constructedRows, type ConstructedRun } from '../support/results.js';

const runsOf = (runs: readonly ConstructedRun[]) => collectRuns(constructedRows(runs));
const cellsOf = (runs: readonly ConstructedRun[]) => aggregate(runsOf(runs));

/** Runs at two rates, two seeds each: the low rate is better on validation, the high one on the test set. */
const twoRates: ConstructedRun[] = [
  [1e-3, 0, 0.9, 0.7],
  [1e-3, 1, 0.8, 0.5],
  [1e-2, 0, 0.7, 0.99],
  [1e-2, 1, 0.9, 0.99],
].map(([learningRate, seed, validation, test]) => ({
  learningRate: learningRate!,
  seed: seed!,
  metrics: { 'validation/loss': 1 - validation!, 'validation/accuracy': validation!, 'test/accuracy': test! },
}));

describe('statistics', () => {
  it('have the deviation of a sample and the interval of Student', () => {
    const { count, mean, std, ci95 } = statistics([1, 2, 4]);
    expect([count, mean]).toEqual([3, 7 / 3]);
    expect(std).toBeCloseTo(1.527525, 5);
    expect(ci95).toBeCloseTo((4.303 * 1.527525) / Math.sqrt(3), 5);
    expect(statistics([5])).toEqual({ count: 1, mean: 5, std: NaN, ci95: NaN });
    expect(statistics([5, Infinity])).toMatchObject({ mean: Infinity, std: NaN });
    // 40 degrees of freedom: 2.021 in the tables.
    const many = statistics(Array.from({ length: 41 }, (_, i) => i));
    expect((many.ci95 / many.std) * Math.sqrt(41)).toBeCloseTo(2.021, 2);
  });
});

describe('the learning rate', () => {
  it('is chosen on validation, never on a test set', () => {
    const [cell] = cellsOf(twoRates);
    expect(cell!.choice).toMatchObject({ learningRate: 1e-3, measure: 'accuracy' });
    expect(measured(cell!, 'test', 'accuracy')).toMatchObject({ mean: 0.6, count: 2 });
    expect(cell!.choice.rates.map(({ validation }) => validation.mean)).toEqual([0.8500000000000001, 0.8]);
  });

  it('is chosen by the least loss or perplexity where there is no accuracy', () => {
    const byLoss = [1e-2, 1e-3, 1e-4].map((learningRate, k) => ({
      learningRate,
      metrics: { 'validation/loss': [2, 1.5, 1.7][k]!, 'test/loss': [1, 2, 3][k]! },
    }));
    expect(chooseRate(runsOf(byLoss))).toMatchObject({ learningRate: 1e-3, measure: 'loss' });
    const byPerplexity = byLoss.map((run) => ({
      ...run,
      metrics: { ...run.metrics, 'validation/perplexity': run.learningRate === 1e-4 ? 3 : 9 },
    }));
    expect(chooseRate(runsOf(byPerplexity))).toMatchObject({ learningRate: 1e-4, measure: 'perplexity' });
  });

  it('is told apart by the loss where accuracies are equal, then the smaller one is taken', () => {
    const runs = [1e-2, 1e-3, 1e-4].map((learningRate, k) => ({
      learningRate,
      metrics: { 'validation/accuracy': 1, 'validation/loss': [0.02, 0.01, 0.03][k]! },
    }));
    expect(chooseRate(runsOf(runs))!.learningRate).toBe(1e-3);
    const equal = runs.map((run) => ({ ...run, metrics: { 'validation/accuracy': 1, 'validation/loss': 0.1 } }));
    expect(chooseRate(runsOf(equal))!.learningRate).toBe(1e-4);
  });

  it('is chosen by the plain accuracy where papers give that', () => {
    const metrics = { 'validation/accuracy': 0.9, 'validation/scaledAccuracy': 0.8 };
    expect(chooseRate(runsOf([{ task: 'recall', metrics }]))!.measure).toBe('accuracy');
    expect(chooseRate(runsOf([{ task: 'parity', metrics }]))!.measure).toBe('scaledAccuracy');
  });

  it('is not one at which a run failed, unless all have failures', () => {
    const failed = { learningRate: 1e-3, seed: 2 };
    expect(cellsOf([...twoRates, failed])[0]!.choice.learningRate).toBe(1e-2);
    const everywhere = [...twoRates, failed, { learningRate: 1e-2, seed: 2 }, { learningRate: 1e-2, seed: 3 }];
    const [cell] = cellsOf(everywhere);
    expect(cell!.choice.learningRate).toBe(1e-3);
    expect(cell!.runs).toHaveLength(2);
    expect(cell!.all).toHaveLength(7);
    expect(cellsOf([failed])).toEqual([]);
  });

  it('ranks a value that is not a number last', () => {
    const runs = [NaN, 3, Infinity].map((loss, k) => ({ learningRate: k + 1, metrics: { 'validation/loss': loss } }));
    expect(chooseRate(runsOf(runs))!.learningRate).toBe(2);
  });
});

describe('cells', () => {
  it('are apart by task, model and size, and named with the size where there are several', () => {
    const runs = ['a', 'b'].flatMap((model) =>
      ['D32', 'D64'].flatMap((size) =>
        [0, 1, 2].map((seed) => ({ model, size, seed, metrics: { 'validation/loss': seed + 1 } })),
      ),
    );
    const cells = cellsOf(runs);
    expect(cells.map(({ label, runs: { length } }) => [label, length])).toEqual([
      ['a D32', 3],
      ['a D64', 3],
      ['b D32', 3],
      ['b D64', 3],
    ]);
    expect(measured(cells[0]!, 'validation', 'loss')).toMatchObject({ mean: 2, std: 1, count: 3 });
    expect(measured(cells[0]!, 'validation', 'accuracy')).toBeNull();
    expect(cellsOf(runs.filter(({ size }) => size === 'D32')).map(({ label }) => label)).toEqual(['a', 'b']);
  });

  it('have a headline: the test set and the measure that says most', () => {
    const metrics = {
      'validation/loss': 1,
      'validation/scaledAccuracy': 1,
      'length 64/scaledAccuracy': 0.5,
      'test 40-256/accuracy': 0.9,
      'test 40-256/scaledAccuracy': 0.8,
    };
    const cells = cellsOf([{ metrics }]);
    expect(headlineOf(cells)).toEqual({ set: 'test 40-256', measure: 'scaledAccuracy' });
    expect(setsOf(cells, 'scaledAccuracy')).toEqual(['validation', 'length 64', 'test 40-256']);
    expect(headlineOf(cellsOf([{ metrics: { 'validation/loss': 1, 'validation/perplexity': 3 } }]))).toEqual({
      set: 'validation',
      measure: 'perplexity',
    });
  });
});
