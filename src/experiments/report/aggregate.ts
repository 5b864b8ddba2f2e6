/**
 * @file From the rows of results.csv to what is compared: one cell per task, model and size, at the learning rate that was
 * best on the validation set, with statistics over the seeds. It knows no figure and no claim.
 */
import { formatNumber } from '../../format.js';
import type { ResultRow } from '../results-csv.js';
import { statistics, type Statistics } from './statistics.js';

/** One run: the facts that its rows share, and what it measured by "<set>/<measure>". */
export interface Run extends Omit<ResultRow, 'set' | 'measure' | 'value'> {
  readonly metrics: ReadonlyMap<string, number>;
  /** Steps of the longest training sequence; null where it is not known. The table does not have it. */
  readonly trainLength: number | null;
}

/**
 * The rows of each run together, in the order of their first rows.
 * @param trainLengths  by the name of the run
 */
export function collectRuns(rows: readonly ResultRow[], trainLengths: ReadonlyMap<string, number> = new Map()): Run[] {
  const runs = new Map<string, Run & { metrics: Map<string, number> }>();
  for (const { set, measure, value, ...facts } of rows) {
    const trainLength = trainLengths.get(facts.run) ?? null;
    const run = runs.get(facts.run) ?? { ...facts, metrics: new Map(), trainLength };
    runs.set(facts.run, run);
    if (measure !== '' && value !== null) run.metrics.set(`${set}/${measure}`, value);
  }
  return [...runs.values()];
}

/** Measures in the order in which they speak for a run, and which way is better. */
export const MEASURES = {
  scaledAccuracy: { better: 'higher', title: 'scaled accuracy' },
  accuracy: { better: 'higher', title: 'accuracy' },
  perplexity: { better: 'lower', title: 'perplexity' },
  bitsPerByte: { better: 'lower', title: 'bits per byte' },
  loss: { better: 'lower', title: 'loss (nats, or squared error)' },
} as const satisfies Readonly<Record<string, { better: 'higher' | 'lower'; title: string }>>;

export type Measure = keyof typeof MEASURES;

/** Tasks of which papers give the accuracy as it is. */
const PLAIN_ACCURACY = ['recall', 'listops', 'image', 'pathfinder', 'retrieval', 'text', 'choice'];

/** The measures in the order in which they speak for runs of one task. */
export function measuresOf(runs: readonly Pick<Run, 'task'>[]): Measure[] {
  const names = Object.keys(MEASURES) as Measure[];
  const isPlain = runs.some(({ task }) => PLAIN_ACCURACY.some((part) => task.toLowerCase().includes(part)));
  return isPlain ? [...new Set<Measure>(['accuracy', ...names])] : names;
}

export const isLowerBetter = (measure: Measure): boolean => MEASURES[measure].better === 'lower';

/** A value of a measure for people: accuracies to three places, the others to so many significant digits. */
export const writtenValue = (value: number, measure: Measure, digits = 4): string =>
  isLowerBetter(measure) || !Number.isFinite(value) ? formatNumber(value, digits) : value.toFixed(3);

/** "0.994 ± 0.007"; of one value only the value. */
export const writtenSpread = ({ mean, std }: Statistics, measure: Measure): string =>
  Number.isNaN(std) ? writtenValue(mean, measure) : `${writtenValue(mean, measure)} ± ${writtenValue(std, measure, 2)}`;

/** The learning rate that was chosen, and what the choice was made of. */
export interface RateChoice {
  readonly learningRate: number;
  /** Measure on the validation set that decided. */
  readonly measure: Measure;
  readonly rates: readonly {
    readonly learningRate: number;
    /** Over the runs that did not fail. */
    readonly validation: Statistics;
    readonly failed: number;
  }[];
}

export interface Cell {
  readonly task: string;
  readonly taskLabel: string;
  readonly model: string;
  readonly mixers: readonly string[];
  readonly size: string;
  /** How figures call it: the model, and its size where there are several. */
  readonly label: string;
  readonly choice: RateChoice;
  /** The runs at the chosen learning rate that did not fail. */
  readonly runs: readonly Run[];
  /** All runs of the cell, at every learning rate. */
  readonly all: readonly Run[];
  /** Of the first run: equal for all of them. */
  readonly facts: Pick<
    Run,
    'dim' | 'blocks' | 'parameters' | 'stateBytes' | 'flopsPerToken' | 'steps' | 'batchSize' | 'trainLength'
  >;
  /** Over the seeds at the chosen rate. */
  readonly seconds: Statistics;
}

/**
 * The cells in the order of their first runs. A cell has at least one run that did not fail; the others are in the list
 * of failures of the report alone.
 */
export function aggregate(runs: readonly Run[]): Cell[] {
  const groups = new Map<string, Run[]>();
  for (const run of runs) {
    const key = JSON.stringify([run.taskLabel, run.model, run.size]);
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  const severalSizes = new Set(runs.map(({ size }) => size)).size > 1;
  return [...groups.values()].flatMap((group) => {
    const choice = chooseRate(group);
    if (choice === null) return [];
    const chosen = group.filter(
      ({ status, learningRate }) => status === 'done' && learningRate === choice.learningRate,
    );
    const {
      task,
      taskLabel,
      model,
      mixers,
      size,
      dim,
      blocks,
      parameters,
      stateBytes,
      flopsPerToken,
      steps,
      batchSize,
      trainLength,
    } = chosen[0]!;
    return {
      ...{ task, taskLabel, model, mixers, size },
      label: severalSizes ? `${model} ${size}` : model,
      choice,
      runs: chosen,
      all: group,
      facts: { dim, blocks, parameters, stateBytes, flopsPerToken, steps, batchSize, trainLength },
      seconds: statistics(chosen.map(({ seconds }) => seconds)),
    };
  });
}

/**
 * The learning rate of the best mean on the validation set, never on a test set: the first of scaled accuracy, accuracy,
 * perplexity, ... loss that was measured there; equal means are told apart by the validation loss, then the smaller rate
 * is taken. A rate at which a run failed comes after every rate at which none did.
 * @returns null when no run has finished, or none was measured on the validation set.
 */
export function chooseRate(runs: readonly Run[]): RateChoice | null {
  const done = runs.filter(({ status }) => status === 'done');
  const measure = measuresOf(runs).find((name) => done.some(({ metrics }) => metrics.has(`validation/${name}`)));
  if (measure === undefined) return null;
  const rates = [...new Set(runs.map(({ learningRate }) => learningRate))].toSorted((a, b) => a - b);
  const candidates = rates.flatMap((learningRate) => {
    const here = runs.filter((run) => run.learningRate === learningRate);
    const finished = here.filter(({ status }) => status === 'done');
    const of = (name: Measure) =>
      statistics(finished.flatMap(({ metrics }) => metrics.get(`validation/${name}`) ?? []));
    const facts = { learningRate, validation: of(measure), failed: here.length - finished.length };
    return finished.length === 0 ? [] : [{ ...facts, loss: of('loss').mean }];
  });
  const best = candidates.toSorted(
    (a, b) =>
      a.failed - b.failed ||
      byValue(a.validation.mean, b.validation.mean, isLowerBetter(measure)) ||
      byValue(a.loss, b.loss, true),
  )[0];
  if (best === undefined) return null;
  const shown = candidates.map(({ learningRate, validation, failed }) => ({ learningRate, validation, failed }));
  return { learningRate: best.learningRate, measure, rates: shown };
}

/** The better value first; what is not a number last. */
function byValue(a: number, b: number, lowerIsBetter: boolean): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a === b ? 0 : a < b === lowerIsBetter ? -1 : 1;
}

/** Statistics of one measure over the seeds of a cell; null where no run has it. */
export function measured(cell: Cell, set: string, measure: Measure): Statistics | null {
  const values = cell.runs.flatMap(({ metrics }) => metrics.get(`${set}/${measure}`) ?? []);
  return values.length === 0 ? null : statistics(values);
}

/** The sets on which any of the cells has the measure, in the order in which they were written. */
export function setsOf(cells: readonly Cell[], measure: Measure): string[] {
  const ending = `/${measure}`;
  const keys = cells.flatMap(({ runs }) => runs.flatMap(({ metrics }) => [...metrics.keys()]));
  return [...new Set(keys.filter((key) => key.endsWith(ending)).map((key) => key.slice(0, -ending.length)))];
}

export const isTestSet = (set: string): boolean => /^test\b/.test(set);

/** Where a task's result is read, in words of results.csv. */
export interface Headline {
  readonly set: string;
  readonly measure: Measure;
}

/**
 * The test set where there is one (those by length are none), else the validation set; of the measure, or of that which
 * speaks first.
 */
export function headlineOf(cells: readonly Cell[], measure?: Measure): Headline | null {
  for (const name of measure === undefined ? measuresOf(cells) : [measure]) {
    const sets = setsOf(cells, name);
    const set = sets.find(isTestSet) ?? sets.find((one) => one === 'validation') ?? sets[0];
    if (set !== undefined) return { set, measure: name };
  }
  return null;
}

/** Cells by task, as tables show them. */
export function byTask(cells: readonly Cell[]): Map<string, Cell[]> {
  const groups = new Map<string, Cell[]>();
  for (const cell of cells) groups.set(cell.taskLabel, [...(groups.get(cell.taskLabel) ?? []), cell]);
  return groups;
}
