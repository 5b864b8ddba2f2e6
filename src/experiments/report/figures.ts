/**
 * @file The figures of a comparison, task by task: what was reached by length or frequency, in the course of training, by
 * state, parameters, FLOPs and time, by width and by learning rate. It says what is drawn; `chart.ts` draws.
 */
import { formatBytes, formatDuration } from '../../format.js';
import type { CurvePoint } from '../run-spec.js';
import {
  byTask,
  headlineOf,
  isLowerBetter,
  MEASURES,
  measured,
  measuresOf,
  setsOf,
  type Cell,
  type Headline,
  type Measure,
} from './aggregate.js';
import { formatTick, type AxisSpec } from './axis.js';
import type { Figure, FigurePoint, FigureSeries } from './chart.js';
import type { Comparison } from './comparison.js';
import { scalingFigure, studyCells } from '../scaling-points.js';
import { innermost, parseNumberedSet, type NumberedSet } from './sets.js';
import { statistics, type Statistics } from './statistics.js';

/** The figures of one task, the most telling first. */
export interface TaskFigures {
  readonly task: string;
  readonly figures: readonly Figure[];
}

/** Title of the figures that belong to no task. */
export const SCALING_TITLE = 'Scaling law';

export function comparisonFigures({ cells, curves }: Pick<Comparison, 'cells' | 'curves'>): TaskFigures[] {
  const models = [...new Set(cells.map(({ model }) => model))];
  const style = ({ model }: Cell): number => models.indexOf(model);
  const taken = new Set<string>();
  const studies = studyCells(cells);
  const scaling = studies.length === 0 ? [] : [{ task: SCALING_TITLE, figures: [scalingFigure(studies)] }];
  const ofTasks = [...byTask(cells)].map(([task, own]) => {
    const one = largestSize(own);
    const slug = unique(slugOf(task), taken);
    const headline = headlineOf(own);
    const context: Context = { task, slug, cells: own, style };
    const ofOne: Context = { ...context, task: one.title(task), cells: one.cells };
    return {
      task,
      figures: [
        ...numberedSets(ofOne),
        ...(headline === null ? [] : byWidth(context, headline)),
        ...courses(ofOne, curves),
        ...(headline === null ? [] : costs(context, headline)),
        ...byRate(ofOne),
      ],
    };
  });
  return [...ofTasks, ...scaling];
}

interface Context {
  readonly task: string;
  readonly slug: string;
  readonly cells: readonly Cell[];
  style(cell: Cell): number;
}

/** The cells of the largest size: curves of several sizes on one another could not be read. */
function largestSize(cells: readonly Cell[]): { readonly cells: Cell[]; title(task: string): string } {
  const sizes = [...new Set(cells.map(({ size }) => size))];
  const parameters = (size: string): number =>
    statistics(cells.filter((cell) => cell.size === size).map(({ facts }) => facts.parameters)).mean;
  const largest = sizes.toSorted((a, b) => parameters(b) - parameters(a))[0]!;
  const own = cells.filter(({ size }) => size === largest).map((cell) => ({ ...cell, label: cell.model }));
  return { cells: own, title: (task) => (sizes.length === 1 ? task : `${task}, ${largest}`) };
}

const slugOf = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '') || 'task';

function unique(name: string, taken: Set<string>): string {
  const free = [name, ...Array.from({ length: 1000 }, (_, k) => `${name}-${k + 2}`)].find((one) => !taken.has(one))!;
  taken.add(free);
  return free;
}

// ---- parts of a figure ---------------------------------------------------------------------------------------------

const withBar = (x: number, { mean, std }: Statistics): FigurePoint =>
  Number.isNaN(std) ? { x, y: mean } : { x, y: mean, low: mean - std, high: mean + std };

/** Accuracies between 0 and 1, everything else by its logarithm, which may lie decades apart. */
const measureAxis = (measure: Measure): AxisSpec =>
  isLowerBetter(measure)
    ? { title: MEASURES[measure].title, scale: 'log10' }
    : { title: MEASURES[measure].title, scale: 'linear', min: 0, max: 1 };

function seedsNote(cells: readonly Cell[]): string {
  const counts = cells.map(({ runs }) => runs.length);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  if (most === 1) return 'one seed each';
  return `bars: standard deviation over ${least === most ? most : `${least} to ${most}`} seeds`;
}

/** A scale on which values that lie far apart are told apart. */
const scaleOf = (values: readonly number[], far: 'log2' | 'log10'): 'linear' | 'log2' | 'log10' => {
  const positive = values.filter((value) => value > 0);
  return positive.length === values.length && Math.max(...positive) >= 8 * Math.min(...positive) ? far : 'linear';
};

const distinct = (values: readonly number[]): number => new Set(values.filter(Number.isFinite)).size;

// ---- by length, by frequency ---------------------------------------------------------------------------------------

function numberedSets({ task, slug, cells, style }: Context): Figure[] {
  const groups = new Map<string, { measure: Measure; sets: NumberedSet[] }>();
  for (const measure of measuresOf(cells)) {
    for (const set of setsOf(cells, measure)) {
      const numbered = parseNumberedSet(set);
      if (numbered === null) continue;
      const group = groups.get(numbered.what) ?? { measure, sets: [] };
      groups.set(numbered.what, group);
      if (group.measure === measure) group.sets.push(numbered);
    }
  }
  return [...groups]
    .map(([what, { measure, sets }]) => ({ what, measure, sets: innermost(sets) }))
    .filter(({ sets }) => sets.length >= 2)
    .map(({ what, measure, sets }) => {
      const series = cells.map((cell): FigureSeries => {
        const points = sets.flatMap(({ set, end }) => {
          const value = measured(cell, set, measure);
          return value === null ? [] : [withBar(end, value)];
        });
        return { label: cell.label, style: style(cell), draw: 'both', points: points.toSorted((a, b) => a.x - b.x) };
      });
      const isLength = what === 'length';
      const trained = cells.map(({ facts }) => facts.trainLength).find((length) => length !== null);
      return {
        name: `${slug}-by-${slugOf(what)}`,
        title: `${task}: ${MEASURES[measure].title} by ${what}`,
        note: `${isLength && trained !== undefined ? `trained up to length ${trained}; ` : ''}${seedsNote(cells)}`,
        x: {
          title: `${isLength ? 'length of the sequence' : what}${sets.some((s) => s.from < s.end) ? ' (end of the range)' : ''}`,
          scale: scaleOf(
            sets.map(({ end }) => end),
            isLength ? 'log2' : 'log10',
          ),
        },
        y: measureAxis(measure),
        series,
      };
    });
}

// ---- in the course of training -------------------------------------------------------------------------------------

function courses({ task, slug, cells, style }: Context, curves: Comparison['curves']): Figure[] {
  const measure = cells.map(({ choice }) => choice.measure)[0]!;
  const validation = cells.map((cell) => course(cell, curves, ({ validation: found }) => found?.[measure]));
  const training = cells.map((cell) => course(cell, curves, ({ loss }) => loss ?? undefined));
  const figure = (name: string, title: string, y: AxisSpec, points: readonly FigurePoint[][]): Figure => ({
    name: `${slug}-${name}`,
    title: `${task}: ${title}`,
    note: 'mean over the seeds at the learning rate that was best on the validation set',
    x: { title: 'optimizer step', scale: 'linear', min: 0, format: formatTick },
    y,
    series: cells.map((cell, k) => ({ label: cell.label, style: style(cell), draw: 'line', points: points[k]! })),
  });
  const drawn: Figure[] = [];
  if (validation.some(({ length }) => length > 1))
    drawn.push(
      figure('validation', `${MEASURES[measure].title} on the validation set`, measureAxis(measure), validation),
    );
  if (training.some(({ length }) => length > 1))
    drawn.push(figure('training', 'training loss', { title: 'loss of a batch', scale: 'log10' }, training));
  return drawn;
}

/** Means over the seeds, step by step; steps that not every seed has are left out. */
function course(
  { runs }: Cell,
  curves: Comparison['curves'],
  valueOf: (point: CurvePoint) => number | undefined,
): FigurePoint[] {
  const steps = new Map<number, number[]>();
  for (const { run } of runs)
    for (const point of curves.get(run) ?? []) {
      const value = valueOf(point);
      if (value !== undefined) steps.set(point.step, [...(steps.get(point.step) ?? []), value]);
    }
  return [...steps]
    .filter(([, values]) => values.length === runs.length)
    .toSorted(([a], [b]) => a - b)
    .map(([x, values]) => ({ x, y: statistics(values).mean }));
}

// ---- against cost, width and learning rate -------------------------------------------------------------------------

/** One line per model over its sizes, or one point where there is one size. */
function overSizes({ cells, style }: Context, headline: Headline, x: (cell: Cell) => number): FigureSeries[] {
  const models = [...new Set(cells.map(({ model }) => model))];
  return models.map((model) => {
    const own = cells.filter((cell) => cell.model === model).toSorted((a, b) => x(a) - x(b));
    const points = own.flatMap((cell) => {
      const value = measured(cell, headline.set, headline.measure);
      return value === null ? [] : [withBar(x(cell), value)];
    });
    return { label: model, style: style(own[0]!), draw: points.length > 1 ? 'both' : 'points', points };
  });
}

const headlineTitle = ({ set, measure }: Headline): string => `${MEASURES[measure].title} (${set})`;

const shortBytes = (bytes: number): string => formatBytes(bytes).replace(/\.0(?= )/, '');

const COSTS = [
  [
    'state',
    'state of one sequence',
    'bytes of state of one sequence',
    (cell: Cell) => cell.facts.stateBytes,
    shortBytes,
  ],
  ['parameters', 'parameters', 'number of parameters', (cell: Cell) => cell.facts.parameters, formatTick],
  ['flops', 'FLOPs', 'FLOPs per token, forward', (cell: Cell) => cell.facts.flopsPerToken, formatTick],
  ['time', 'time', 'time of training and evaluation per run', (cell: Cell) => cell.seconds.mean, formatDuration],
] as const;

/** A model without a state of finite size stands at 0 and has no place on a scale of logarithms. */
function costs(context: Context, headline: Headline): Figure[] {
  const { task, slug, cells } = context;
  return COSTS.flatMap(([name, short, title, costOf, format]): Figure[] => {
    const shown = cells.filter((cell) => costOf(cell) > 0);
    const values = shown.map(costOf);
    if (Math.max(...values) < 1.05 * Math.min(...values)) return []; // nothing to be seen
    const left = [...new Set(cells.filter((cell) => !(costOf(cell) > 0)).map(({ model }) => model))];
    return [
      {
        name: `${slug}-by-${name}`,
        title: `${task}: ${MEASURES[headline.measure].title} by ${short}`,
        note: seedsNote(shown) + (left.length === 0 ? '' : `; not shown, it has none: ${left.join(', ')}`),
        x: { title, scale: 'log10', format },
        y: { ...measureAxis(headline.measure), title: headlineTitle(headline) },
        series: overSizes({ ...context, cells: shown }, headline, costOf),
      },
    ];
  });
}

function byWidth(context: Context, headline: Headline): Figure[] {
  const { task, slug, cells } = context;
  const models = [...new Set(cells.map(({ model }) => model))];
  const several = models.some((model) => distinct(cells.filter((c) => c.model === model).map((c) => c.facts.dim)) > 1);
  if (!several) return [];
  return [
    {
      name: `${slug}-by-width`,
      title: `${task}: ${MEASURES[headline.measure].title} by width`,
      note: seedsNote(cells),
      x: { title: 'width of the model', scale: 'log2' },
      y: { ...measureAxis(headline.measure), title: headlineTitle(headline) },
      series: overSizes(context, headline, ({ facts }) => facts.dim),
    },
  ];
}

function byRate({ task, slug, cells, style }: Context): Figure[] {
  if (!cells.some(({ choice }) => choice.rates.length > 1)) return [];
  const measure = cells[0]!.choice.measure;
  return [
    {
      name: `${slug}-by-learning-rate`,
      title: `${task}: ${MEASURES[measure].title} on the validation set by learning rate`,
      note: 'bars: standard deviation over the seeds; failed runs are not in it',
      x: { title: 'peak learning rate', scale: 'log10', format: formatTick },
      y: measureAxis(measure),
      series: cells.map((cell) => ({
        label: cell.label,
        style: style(cell),
        draw: 'both',
        points: cell.choice.rates.map(({ learningRate, validation }) => withBar(learningRate, validation)),
      })),
    },
  ];
}
