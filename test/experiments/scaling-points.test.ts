import { describe, expect, it } from 'vitest';
import { PUBLISHED_LAWS } from '../../src/experiments/published/scaling.js';
import { standaloneFigure } from '../../src/experiments/report/chart.js';
import { aggregate, collectRuns } from '../../src/experiments/report/aggregate.js';
import { scalingTable } from '../../src/experiments/report/tables.js';
import { predictLoss, type ScalingLaw } from '../../src/experiments/scaling-law.js';
import {
  parseScalingPoints,
  pointsOfCells,
  scalingFigure,
  studyCells,
  studyScaling,
} from '../../src/experiments/scaling-points.js';
import { checkMarkup } from '../support/markup.js';
import { constructedRows } from '../support/results.js';

const SIZES = [1e8, 4e8, 1.4e9, 7e9];
const RATIOS = [22, 110, 550];

const table = Object.entries(PUBLISHED_LAWS).flatMap(([model, law]) =>
  SIZES.flatMap((n) => RATIOS.map((ratio) => [model, n, n * ratio, predictLoss(law, n, n * ratio)].join(','))),
);

describe('a table of runs', () => {
  it('is read by the names of its columns, model by model', () => {
    const groups = parseScalingPoints(`Model,N,D,loss\n${table.join('\n')}\n\n`, 'points.csv');
    expect([...groups].map(([model, points]) => [model, points.length])).toEqual([
      ['Transformer', 12],
      ['xLSTM', 12],
    ]);
    expect(groups.get('xLSTM')![0]).toMatchObject({ parameters: 1e8, tokens: 2.2e9, flops: 6 * 2.2e17 });
    const counted = parseScalingPoints('flops,tokens,loss,parameters\n5e18,1e9,3.1,1e8\n', 'points.csv');
    expect(counted.get('')).toEqual([{ parameters: 1e8, tokens: 1e9, loss: 3.1, flops: 5e18 }]);
  });

  it('says what is wrong with it', () => {
    expect(() => parseScalingPoints('N,D\n1,2\n', 'p.csv')).toThrow('p.csv: there is no column loss');
    expect(() => parseScalingPoints('N,D,loss\n1,2,3\n1,x,3\n', 'p.csv')).toThrow(
      'p.csv:3: tokens must be a number above 0, got "x"; leave the line out',
    );
    expect(() => parseScalingPoints('N,D,loss\n', 'p.csv')).toThrow('there is no point in it');
  });
});

describe('language models of a comparison', () => {
  const law: ScalingLaw = { a: 5, b: 6, e: 0.4, alpha: 0.3, beta: 0.35, gamma: 1 };
  const rows = constructedRows(
    [1e5, 4e5, 1.6e6].flatMap((parameters) =>
      [100, 1000, 10_000].map((steps) => ({
        ...{ task: 'text', model: 'Llama', mixers: ['attention'], parameters, steps, flopsPerToken: 2 * parameters },
        size: `${parameters} ${steps}`,
        metrics: { 'validation/loss': predictLoss(law, parameters, steps * 32 * 128) },
      })),
    ),
  );
  const cells = aggregate(collectRuns(rows, new Map(rows.map(({ run }) => [run, 128]))));

  it('are points: steps times sequences times their length, and three forward passes of FLOPs', () => {
    const points = pointsOfCells(cells).get('Llama')!;
    expect(points).toHaveLength(9);
    expect(points[0]).toMatchObject({ parameters: 1e5, tokens: 409_600, flops: 6 * 1e5 * 409_600 });
  });

  it('are studied where there are enough of them, gamma held with few', () => {
    const [study] = studyCells(cells);
    for (const name of ['a', 'b', 'e', 'alpha', 'beta', 'gamma'] as const)
      expect(study!.fit.law[name], name).toBeCloseTo(law[name], 5);
    expect(studyCells(cells.filter(({ facts }) => facts.parameters > 1e5))).toEqual([]);
    expect(scalingTable([study!]).markup).toContain('published: xLSTM');
    expect(checkMarkup(scalingTable([study!]).markup)).toBeNull();
  });
});

describe('a study', () => {
  const groups = parseScalingPoints(`model,N,D,loss\n${table.join('\n')}\n`, 'points.csv');
  const studies = [...groups].map(([model, points]) => studyScaling(model, points, {}));

  it('has the constants, the best sizes and the slopes at each number of tokens per parameter', () => {
    for (const { model, fit, optima, byRatio, frontier } of studies) {
      expect(fit.law.gamma).toBeCloseTo(PUBLISHED_LAWS[model as keyof typeof PUBLISHED_LAWS].gamma, 5);
      expect(optima.map(({ flops }) => Math.round(Math.log10(flops)))).toEqual([19, 20, 21, 22, 23]);
      expect(byRatio.map(({ ratio, runs }) => [Math.round(ratio), runs])).toEqual(RATIOS.map((ratio) => [ratio, 4]));
      for (const { slope } of [...byRatio, frontier]) expect(slope).toBeCloseTo(0.047, 2);
    }
  });

  it('is drawn with all its points', () => {
    const figure = scalingFigure(studies);
    const dots = figure.series.filter(({ draw }) => draw === 'points').map(({ points }) => points.length);
    expect(dots).toEqual([12, 12]);
    expect(checkMarkup(standaloneFigure(figure))).toBeNull();
  });
});
