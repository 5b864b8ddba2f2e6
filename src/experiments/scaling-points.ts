/**
 * @file Measured losses for the scaling law, read from a table, and what is told of a fit: constants, the best size for a
 * budget, slopes over compute, and a figure. The fit itself is in `scaling-fit.ts`.
 */
import { measured, type Cell } from './report/aggregate.js';
import type { Figure, FigureSeries } from './report/chart.js';
import { parseCsv } from './results-csv.js';
import { fitScalingLaw, type ScalingFit, type ScalingFitOptions, type ScalingPoint } from './scaling-fit.js';
import {
  computeOptimum,
  fitPowerLaw,
  FLOPS_PER_PARAMETER_TOKEN,
  predictLoss,
  type ComputeOptimum,
  type PowerLaw,
} from './scaling-law.js';

export interface MeasuredPoint extends ScalingPoint {
  /** FLOPs of the whole training; 6 N D where the table has no column of them. */
  readonly flops: number;
}

const COLUMNS = {
  parameters: ['parameters', 'params', 'n'],
  tokens: ['tokens', 'd'],
  loss: ['loss', 'validation/loss'],
  flops: ['flops', 'c'],
  model: ['model', 'label'],
} as const;

/**
 * Reads a table with a line of names: parameters (or N), tokens (or D), loss, and where there are several models also
 * model; flops (or C) if they were counted.
 * @returns the points by model; one group named "" where there is no column of models.
 * @throws Error naming the column or the line that is wrong.
 */
export function parseScalingPoints(text: string, what: string): Map<string, MeasuredPoint[]> {
  const [header = [], ...lines] = parseCsv(text.replace(/^\ufeff/, ''));
  const names = header.map((name) => name.trim().toLowerCase());
  const place = (column: keyof typeof COLUMNS): number =>
    names.findIndex((name) => (COLUMNS[column] as readonly string[]).includes(name));
  for (const column of ['parameters', 'tokens', 'loss'] as const)
    if (place(column) < 0)
      throw new Error(
        `${what}: there is no column ${COLUMNS[column].join(' or ')}; the first line must name the columns, ` +
          `it has ${header.join(', ')}`,
      );
  const groups = new Map<string, MeasuredPoint[]>();
  lines.forEach((cells, index) => {
    if (cells.every((cell) => cell.trim() === '')) return;
    const number = (column: keyof typeof COLUMNS): number => {
      const cell = cells[place(column)]?.trim() ?? '';
      const value = Number(cell);
      if (cell !== '' && Number.isFinite(value) && value > 0) return value;
      throw new Error(`${what}:${index + 2}: ${column} must be a number above 0, got "${cell}"; leave the line out`);
    };
    const point = { parameters: number('parameters'), tokens: number('tokens'), loss: number('loss') };
    const flops = place('flops') < 0 ? FLOPS_PER_PARAMETER_TOKEN * point.parameters * point.tokens : number('flops');
    const model = cells[place('model')]?.trim() ?? '';
    groups.set(model, [...(groups.get(model) ?? []), { ...point, flops }]);
  });
  if (groups.size === 0) throw new Error(`${what}: there is no point in it`);
  return groups;
}

/**
 * The language models of a comparison by label: mean validation loss of each size over the seeds, the tokens it was trained
 * on, and the FLOPs of the training, three times those of a forward pass.
 */
export function pointsOfCells(cells: readonly Cell[]): Map<string, MeasuredPoint[]> {
  const groups = new Map<string, MeasuredPoint[]>();
  for (const cell of cells) {
    const { parameters, flopsPerToken, steps, batchSize, trainLength } = cell.facts;
    const loss = measured(cell, 'validation', 'loss')?.mean ?? NaN;
    if (cell.task !== 'text' || trainLength === null || !(loss > 0 && loss < Infinity)) continue;
    const tokens = steps * batchSize * trainLength;
    const point = { parameters, tokens, loss, flops: 3 * flopsPerToken * tokens };
    groups.set(cell.model, [...(groups.get(cell.model) ?? []), point]);
  }
  return groups;
}

/** With fewer runs than this gamma is held at 1: its interval would say nothing. */
const ENOUGH_FOR_GAMMA = 30;

/** Studies of the models of a comparison that have runs enough, of three sizes and three lengths at least. */
export function studyCells(cells: readonly Cell[]): ScalingStudy[] {
  return [...pointsOfCells(cells)].flatMap(([model, points]) => {
    const several = (name: 'parameters' | 'tokens') => new Set(points.map((point) => point[name])).size >= 3;
    if (points.length < 7 || !several('parameters') || !several('tokens')) return [];
    return [studyScaling(model, points, { gamma: points.length < ENOUGH_FOR_GAMMA ? 1 : 'free', resamples: 50 })];
  });
}

export interface ScalingStudy {
  readonly model: string;
  readonly points: readonly MeasuredPoint[];
  readonly fit: ScalingFit;
  /** Best sizes at whole powers of ten within the range of the points. */
  readonly optima: readonly ComputeOptimum[];
  /** How the least loss falls with compute, by the law, over the range of the points. */
  readonly frontier: PowerLaw;
  /** How the measured loss falls with compute at one number of tokens per parameter, for each with three runs or more. */
  readonly byRatio: readonly (PowerLaw & { readonly ratio: number; readonly runs: number })[];
}

/** @throws RangeError for points that cannot be fitted. */
export function studyScaling(
  model: string,
  points: readonly MeasuredPoint[],
  options: ScalingFitOptions,
): ScalingStudy {
  const fit = fitScalingLaw(points, options);
  const [low, high] = flopsRange(points);
  const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
  const powers = Array.from({ length: Math.max(0, last - first + 1) }, (_, k) => 10 ** (first + k));
  const budgets = powers.length > 0 ? powers : [Math.sqrt(low * high)];
  const spread = Array.from({ length: 9 }, (_, k) => low * (high / low) ** (k / 8));
  return {
    model,
    points,
    fit,
    optima: budgets.map((flops) => computeOptimum(fit.law, flops)),
    frontier: fitPowerLaw(spread.map((flops) => [flops, computeOptimum(fit.law, flops).loss])),
    byRatio: slopesByRatio(points),
  };
}

function flopsRange(points: readonly MeasuredPoint[]): [number, number] {
  const flops = points.map((point) => point.flops);
  return [Math.min(...flops), Math.max(...flops)];
}

/** Ratios that differ by less than this belong together: sizes are rounded to heads and blocks, tokens to batches. */
const SAME_RATIO = 1.1;

function slopesByRatio(points: readonly MeasuredPoint[]): ScalingStudy['byRatio'] {
  const sorted = points
    .map((point) => ({ ...point, ratio: point.tokens / point.parameters }))
    .toSorted((a, b) => a.ratio - b.ratio);
  const groups: (typeof sorted)[] = [];
  for (const point of sorted) {
    const group = groups.at(-1);
    if (group !== undefined && point.ratio < group[0]!.ratio * SAME_RATIO) group.push(point);
    else groups.push([point]);
  }
  return groups
    .filter((group) => group.length >= 3 && new Set(group.map(({ flops }) => flops)).size >= 2)
    .map((group) => ({
      ...fitPowerLaw(group.map(({ flops, loss }) => [flops, loss])),
      ratio: group[group.length >> 1]!.ratio,
      runs: group.length,
    }));
}

/** Measured losses over compute, the law's curve of each size, and the least loss at each compute. */
export function scalingFigure(studies: readonly ScalingStudy[]): Figure {
  const series = studies.flatMap(({ model, points, fit }, style): FigureSeries[] => {
    const name = (what: string): string => (model === '' ? what : `${model}: ${what}`);
    const [low, high] = flopsRange(points);
    const budgets = Array.from({ length: 40 }, (_, k) => low * (high / low) ** (k / 39));
    const sizes = [...new Set(points.map(({ parameters }) => parameters))].toSorted((a, b) => a - b);
    const shown = sizes.length <= 12 ? sizes : sizes.filter((_, k) => k % Math.ceil(sizes.length / 12) === 0);
    const curves = shown.map((parameters): FigureSeries => {
      const own = points.filter((point) => point.parameters === parameters);
      const [least, most] = [Math.min(...own.map((p) => p.tokens)), Math.max(...own.map((p) => p.tokens))];
      const perToken = own[0]!.flops / own[0]!.tokens;
      const along = Array.from({ length: 24 }, (_, k) => least * (most / least) ** (k / 23));
      const curve = along.map((tokens) => ({ x: perToken * tokens, y: predictLoss(fit.law, parameters, tokens) }));
      return { label: '', style, draw: 'line', faint: true, points: curve };
    });
    const best = budgets.map((flops) => ({ x: flops, y: computeOptimum(fit.law, flops).loss }));
    return [
      ...curves,
      {
        label: '',
        style,
        draw: 'points',
        faint: true,
        points: points.map(({ flops, loss }) => ({ x: flops, y: loss })),
      },
      { label: name('best size'), style, draw: 'line', points: best },
    ];
  });
  return {
    name: 'scaling-law',
    title: 'Loss by training compute',
    note: 'dots: measured; thin lines: the law at one model size; thick: the law at the best size for the compute',
    x: { title: 'training compute in FLOPs', scale: 'log10' },
    y: { title: 'loss in nats per token', scale: 'log10' },
    series,
  };
}
