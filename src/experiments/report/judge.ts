/**
 * @file How a claim is judged by the results of a comparison: rules that say themselves, in words with their margins, what
 * they ask. Which claims there are stands in `claims.ts`.
 */
import {
  headlineOf,
  isLowerBetter,
  isTestSet,
  measured,
  setsOf,
  type Cell,
  type Measure,
  writtenSpread,
} from './aggregate.js';
import { parseNumberedSet } from './sets.js';
import type { Statistics } from './statistics.js';

/**
 * `untouched`: the comparison lacks a task or a model that the claim speaks of. `undecided`: it has them, but the numbers
 * lie within the margins.
 */
export type Verdict = 'reproduced' | 'contradicted' | 'undecided' | 'untouched';

export interface Judgement {
  readonly verdict: Verdict;
  /** The numbers behind it, one sentence each; for an untouched claim what is missing. */
  readonly evidence: readonly string[];
}

export interface Rule {
  /** Tasks and models that it needs, in words. */
  readonly needs: string;
  /** What reproduces and what contradicts, in words with the margins. */
  readonly rule: string;
  judge(cells: readonly Cell[]): Judgement;
}

/** Some models of a comparison. */
export interface Group {
  readonly name: string;
  has(cell: Cell): boolean;
}

/** Some tasks of a comparison. */
export interface Tasks {
  readonly name: string;
  has(cell: Cell): boolean;
}

type Finding = readonly [verdict: Exclude<Verdict, 'untouched'>, evidence: string];

/** A verdict and what each finding says, marked where it says otherwise. */
const judgement = (verdict: Finding[0], findings: readonly Finding[]): Judgement => ({
  verdict,
  evidence: findings.map(([one, text]) => (one === verdict ? text : `${text} (${one})`)),
});

/** All must be reproduced; a single contradiction contradicts. */
function together(findings: readonly Finding[], needs: string): Judgement {
  if (findings.length === 0) return { verdict: 'untouched', evidence: [`it needs ${needs}`] };
  const has = (verdict: Verdict): boolean => findings.some(([one]) => one === verdict);
  const verdict = has('contradicted') ? 'contradicted' : has('undecided') ? 'undecided' : 'reproduced';
  return judgement(verdict, findings);
}

/** Where one place is enough, such as one of several widths: the best of them, or the last where all contradict. */
function somewhere(places: readonly (readonly Finding[])[], needs: string): Judgement {
  const judged = places.map((findings) => together(findings, needs));
  const best = (['reproduced', 'undecided', 'contradicted'] as const).flatMap(
    (wanted) => judged.findLast(({ verdict }) => verdict === wanted) ?? [],
  );
  return best[0] ?? together([], needs);
}

/** Cells that may be compared: of one task, one size, one number of steps and one batch size. */
function comparable(cells: readonly Cell[], tasks: Tasks): Cell[][] {
  const groups = new Map<string, Cell[]>();
  for (const cell of cells.filter((one) => tasks.has(one))) {
    const { steps, batchSize } = cell.facts;
    const key = JSON.stringify([cell.taskLabel, cell.size, steps, batchSize]);
    groups.set(key, [...(groups.get(key) ?? []), cell]);
  }
  return [...groups.values()];
}

const where = ({ taskLabel, size }: Cell): string => `${taskLabel}, ${size}`;

// ---- levels --------------------------------------------------------------------------------------------------------

interface Level {
  readonly group: Group;
  /** `least`: a mean of at least the first reproduces, below the second contradicts. `most`: the other way round. */
  readonly least?: readonly [reproduces: number, contradicts: number];
  readonly most?: readonly [reproduces: number, contradicts: number];
}

/**
 * One group reaches a level, the other stays below one. All groups must be there.
 * @param on  `test`: only a test set counts, for claims on sequences that are longer than those of training and
 * validation; `headline`: the test set, else the validation set.
 * @param sizes  whether it must hold at every size that has all groups, or at one.
 */
export function levels(
  tasks: Tasks,
  measure: Measure,
  on: 'test' | 'headline',
  sizes: 'every' | 'some',
  wanted: readonly Level[],
): Rule {
  const needs = `${tasks.name}${on === 'test' ? ' with a test set' : ''} with ${listed(wanted.map(({ group }) => group.name))} at one size`;
  const inWords = wanted.map(({ group, least, most }) =>
    least !== undefined
      ? `${group.name} at least ${least[0]} (below ${least[1]} contradicts)`
      : `${group.name} at most ${most![0]} (above ${most![1]} contradicts)`,
  );
  return {
    needs,
    rule: `at ${sizes} size, mean ${measureName(measure)} on the test set${on === 'test' ? '' : ', else the validation set'}: ${inWords.join('; ')}`,
    judge(cells) {
      const places = comparable(cells, tasks).map((group) => {
        const found = wanted.map((level) => {
          const own = group.filter((cell) => level.group.has(cell));
          return own.flatMap((cell) => levelFinding(cell, level, measure, on));
        });
        return found.some(({ length }) => length === 0) ? [] : found.flat();
      });
      return sizes === 'some' ? somewhere(places, needs) : together(places.flat(), needs);
    },
  };
}

function levelFinding(cell: Cell, { least, most }: Level, measure: Measure, on: 'test' | 'headline'): Finding[] {
  const set = headlineOf([cell], measure)?.set;
  const value = set === undefined || (on === 'test' && !isTestSet(set)) ? null : measured(cell, set, measure);
  if (value === null) return [];
  const [reproduces, contradicts] =
    least !== undefined
      ? [value.mean >= least[0], value.mean < least[1]]
      : [value.mean <= most![0], value.mean > most![1]];
  const text = `${cell.model} (${where(cell)}) has ${written(value, measure)}`;
  return [[reproduces ? 'reproduced' : contradicts ? 'contradicted' : 'undecided', text]];
}

// ---- order ---------------------------------------------------------------------------------------------------------

interface Order {
  readonly tasks: Tasks;
  readonly measure: Measure;
  readonly better: Group;
  readonly worse: Group;
  /** Part of the worse one's value by which the better one must lead. */
  readonly margin: number;
  /** Largest difference of the numbers of parameters, as a part. Infinity where it does not matter. */
  readonly parameters?: number;
  /** Which of the sets that were measured; default the headline. */
  readonly sets?: (sets: readonly string[]) => readonly string[];
}

/** One group is better than another, pair by pair, at equal steps and batches and about equal parameters. */
export function order({ tasks, measure, better, worse, margin, parameters = 0.1, sets }: Order): Rule {
  const equal = parameters === Infinity ? '' : `, parameters within ${100 * parameters} %`;
  const needs = `${tasks.name} with ${better.name} and ${worse.name} at one size and one number of steps${equal}`;
  return {
    needs,
    rule:
      `${measureName(measure)} of ${better.name} better than that of ${worse.name} by more than ${100 * margin} % and ` +
      'two standard errors of the difference; the reverse contradicts',
    judge: (cells) =>
      together(
        comparable(cells, tasks).flatMap((group) =>
          group
            .filter((cell) => better.has(cell))
            .flatMap((a) =>
              group
                .filter((cell) => worse.has(cell) && alike(a, cell, parameters))
                .flatMap((b) => orderFindings(a, b, { measure, margin, sets })),
            ),
        ),
        needs,
      ),
  };
}

const alike = (a: Cell, b: Cell, tolerance: number): boolean =>
  Math.abs(a.facts.parameters - b.facts.parameters) <= tolerance * Math.max(a.facts.parameters, b.facts.parameters);

function orderFindings(
  a: Cell,
  b: Cell,
  { measure, margin, sets }: Pick<Order, 'measure' | 'margin'> & { readonly sets: Order['sets'] | undefined },
): Finding[] {
  const headline = headlineOf([a, b], measure);
  const chosen = sets === undefined ? (headline === null ? [] : [headline.set]) : sets(setsOf([a, b], measure));
  return chosen.flatMap((name): Finding[] => {
    const [x, y] = [measured(a, name, measure), measured(b, name, measure)];
    if (x === null || y === null) return [];
    const text = `${a.model} ${written(x, measure)}, ${b.model} ${written(y, measure)} (${where(a)}${sets === undefined ? '' : `, ${name}`})`;
    return [[orderVerdict(x, y, isLowerBetter(measure), margin), text]];
  });
}

/** Whether x is better than y by the margin and beyond the noise. An infinite value is worse than any other. */
function orderVerdict(x: Statistics, y: Statistics, lower: boolean, margin: number): Finding[0] {
  const [good, bad] = lower ? [x.mean, y.mean] : [y.mean, x.mean]; // good below bad reproduces
  const variance = ({ std, count }: Statistics): number => (Number.isNaN(std) ? 0 : std ** 2 / count);
  const noise = 2 * Math.sqrt(variance(x) + variance(y));
  const leads = (low: number, high: number): boolean =>
    high === Infinity ? low < Infinity : high - low > Math.max(margin * Math.abs(high), noise);
  if (leads(good, bad)) return 'reproduced';
  return leads(bad, good) ? 'contradicted' : 'undecided';
}

/** Each of a list is better than the one before: all the steps of an ablation that the comparison has. */
export function chain(tasks: Tasks, measure: Measure, steps: readonly Group[], margin: number): Rule {
  const pairs = steps
    .slice(1)
    .map((better, k) => order({ tasks, measure, better, worse: steps[k]!, margin, parameters: Infinity }));
  const needs = `${tasks.name} with ${listed(steps.map(({ name }) => name))} at one number of steps`;
  return {
    needs,
    rule:
      `${measureName(measure)} better at each step by more than ${100 * margin} % and two standard errors: ` +
      steps.map(({ name }) => name).join(', then '),
    judge: (cells) => {
      const judgements = pairs.map((pair) => pair.judge(cells));
      if (judgements.some(({ verdict }) => verdict === 'untouched')) return together([], needs);
      return together(
        judgements.flatMap(({ verdict, evidence }) => evidence.map((text): Finding => [verdict as Finding[0], text])),
        needs,
      );
    },
  };
}

// ---- length --------------------------------------------------------------------------------------------------------

/** Beyond the training length by this factor at the least. */
const FAR = 4;

interface Flatness {
  readonly tasks: Tasks;
  readonly measure: Measure;
  readonly flat: Group;
  readonly steep?: Group;
}

/** Ratios of the measure far beyond the training length to that at it: at most 1.1 is flat, from 1.5 on it diverges. */
const [FLAT, DIVERGES] = [1.1, 1.5];

/** The measure of one group stays as it is far beyond the training length, that of the other becomes much worse. */
export function flatness({ tasks, measure, flat, steep }: Flatness): Rule {
  const groups = steep === undefined ? [flat] : [flat, steep];
  const needs = `${tasks.name} by length, from the training length to ${FAR} times as far, with ${listed(groups.map(({ name }) => name))}`;
  const worse = `${measureName(measure)} at the longest length over that at the training length`;
  return {
    needs,
    rule:
      `${worse}: ${flat.name} at most ${FLAT} (from ${DIVERGES} on contradicts)` +
      (steep === undefined ? '' : `; ${steep.name} at least ${DIVERGES} (at most ${FLAT} contradicts)`),
    judge: (cells) => {
      const found = groups.map((group) =>
        cells
          .filter((cell) => tasks.has(cell) && group.has(cell))
          .flatMap((cell) => flatnessFinding(cell, measure, group === flat)),
      );
      return together(found.some(({ length }) => length === 0) ? [] : found.flat(), needs);
    },
  };
}

function flatnessFinding(cell: Cell, measure: Measure, shouldBeFlat: boolean): Finding[] {
  const { trainLength } = cell.facts;
  const lengths = setsOf([cell], measure)
    .flatMap((set) => {
      const numbered = parseNumberedSet(set);
      if (numbered?.what !== 'length') return [];
      return [{ length: numbered.end, value: measured(cell, set, measure)! }];
    })
    .toSorted((a, b) => a.length - b.length);
  const far = lengths.at(-1);
  if (trainLength === null || far === undefined || far.length < FAR * trainLength) return [];
  const near = lengths.find(({ length }) => length === trainLength)?.value ?? measured(cell, 'validation', measure);
  if (near === null) return [];
  const ratio = isLowerBetter(measure) ? far.value.mean / near.mean : near.mean / far.value.mean;
  const [isFlat, diverges] = [ratio <= FLAT, !(ratio < DIVERGES)];
  const text = `${cell.model} (${where(cell)}) has ${written(near, measure)} at ${trainLength} and ${written(far.value, measure)} at ${far.length}`;
  const [reproduces, contradicts] = shouldBeFlat ? [isFlat, diverges] : [diverges, isFlat];
  return [[reproduces ? 'reproduced' : contradicts ? 'contradicted' : 'undecided', text]];
}

// ---- words ---------------------------------------------------------------------------------------------------------

const written = (value: Statistics, measure: Measure): string =>
  `${writtenSpread(value, measure)} (${value.count === 1 ? 'one seed' : `${value.count} seeds`})`;

const measureName = (measure: Measure): string =>
  (({ scaledAccuracy: 'scaled accuracy', bitsPerByte: 'bits per byte' }) as Partial<Record<Measure, string>>)[
    measure
  ] ?? measure;

const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
