/**
 * @file results.csv: what all runs of a comparison measured, one row per run and measure (RFC 4180), for the report and
 * for whatever else reads tables. It does not summarise; `report/` does.
 */
import { writeFileWhole } from '../model/disk.js';
import type { RunResult, RunSpec } from './run-spec.js';

/** The columns in their order, each with what it holds. */
export const RESULT_COLUMNS = {
  run: 'Name of the run and of its folder in runs/.',
  status: '"done" or "failed". A failed run has one row, without set, measure and value.',
  reason: 'Why it failed, in a sentence.',
  task: 'Name of the task in the registry, or "text".',
  taskLabel: 'How tables call the task: "mqar (64,4)".',
  model: 'How tables call the model: "xLSTM[1:1]".',
  mixers: 'The different mixers of its blocks, with blanks between them.',
  size: 'How tables call the size.',
  dim: 'Width of the model.',
  blocks: 'Number of blocks.',
  parameters: 'Number of parameters.',
  stateBytes: "Bytes of the state of one sequence at the task's longest example.",
  flopsPerToken: "Of a forward pass over the task's longest example; a multiply-add counts as two.",
  learningRate: 'Peak learning rate.',
  seed: 'Seed of initial values, dropout and order of data.',
  steps: 'Optimizer steps done.',
  batchSize: 'Sequences per step.',
  seconds: 'Time of training and evaluation.',
  tokensPerSecond: 'Tokens trained on per second.',
  finalTrainLoss: 'Mean training loss over the last tenth of the steps.',
  set: 'What was measured on: "validation", "test 40-256", "length 64".',
  measure: 'What was measured: "loss" (nats, or squared error), "perplexity", "accuracy", "scaledAccuracy".',
  value: 'The value.',
} as const satisfies Record<keyof ResultRow, string>;

export interface ResultRow {
  readonly run: string;
  readonly status: 'done' | 'failed';
  readonly reason: string;
  readonly task: string;
  readonly taskLabel: string;
  readonly model: string;
  readonly mixers: readonly string[];
  readonly size: string;
  readonly dim: number;
  readonly blocks: number;
  readonly parameters: number;
  readonly stateBytes: number;
  readonly flopsPerToken: number;
  readonly learningRate: number;
  readonly seed: number;
  readonly steps: number;
  readonly batchSize: number;
  readonly seconds: number;
  readonly tokensPerSecond: number;
  /** null where it is not known. */
  readonly finalTrainLoss: number | null;
  /** Empty in the one row of a failed run. */
  readonly set: string;
  readonly measure: string;
  readonly value: number | null;
}

const COLUMNS = Object.keys(RESULT_COLUMNS) as (keyof ResultRow)[];
const TEXTS = new Set<keyof ResultRow>([
  'run',
  'status',
  'reason',
  'task',
  'taskLabel',
  'model',
  'size',
  'set',
  'measure',
]);

/** The rows of one run, a measure each; what a failed run measured before it broke is not in them. */
export function resultRows(spec: RunSpec, result: RunResult): ResultRow[] {
  const { parameters, stateBytes, flopsPerToken, steps, seconds, tokensPerSecond, finalTrainLoss } = result;
  const facts = {
    run: spec.name,
    status: result.status,
    reason: result.reason ?? '',
    task: spec.task.name,
    taskLabel: spec.task.label,
    model: spec.label,
    mixers: spec.mixers,
    size: spec.size,
    dim: spec.model.dim ?? 0,
    blocks: spec.model.blocks?.length ?? 0,
    ...{ parameters, stateBytes, flopsPerToken },
    learningRate: spec.training.learningRate,
    seed: spec.seed,
    steps,
    batchSize: spec.training.batchSize,
    ...{ seconds, tokensPerSecond, finalTrainLoss },
  };
  if (result.status === 'failed') return [{ ...facts, set: '', measure: '', value: null }];
  return Object.entries(result.metrics).map(([name, value]) => {
    const slash = name.lastIndexOf('/');
    return { ...facts, set: name.slice(0, Math.max(0, slash)), measure: name.slice(slash + 1), value };
  });
}

/** The rows as a table with a line of column names, lines ended as RFC 4180 has it. */
export function formatResults(rows: readonly ResultRow[]): string {
  const lines = rows.map((row) => COLUMNS.map((column) => field(row[column])));
  return [COLUMNS, ...lines].map((cells) => `${cells.join(',')}\r\n`).join('');
}

function field(value: ResultRow[keyof ResultRow]): string {
  const text = value === null ? '' : Array.isArray(value) ? value.join(' ') : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @throws WriteError when the disk refuses; the file before stands. */
export const writeResults = (file: string, rows: readonly ResultRow[]): void =>
  writeFileWhole(file, formatResults(rows), 'the table of results');

/**
 * Reads what `formatResults` wrote; columns in any order, unknown ones left out.
 * @param what  where the text comes from, for messages
 * @throws Error naming the line when a column is missing or a cell is not what it must be.
 */
export function parseResults(text: string, what = 'results.csv'): ResultRow[] {
  const [header, ...records] = parseCsv(text);
  const places = COLUMNS.map((column): [keyof ResultRow, number] => [column, header?.indexOf(column) ?? -1]);
  const missing = places.flatMap(([column, at]) => (at < 0 ? [column] : []));
  if (missing.length > 0) throw new Error(`${what}: there is no column ${missing.join(', ')}; write the file anew`);
  return records.map((cells, index) => {
    if (cells.length !== header!.length) {
      throw new Error(`${what}: row ${index + 2} has ${cells.length} cells, the first row has ${header!.length}`);
    }
    const cell = ([column, at]: [keyof ResultRow, number]) => [
      column,
      read(column, cells[at]!, `${what}: row ${index + 2}`),
    ];
    return Object.fromEntries(places.map(cell));
  });
}

function read(column: keyof ResultRow, text: string, where: string): ResultRow[keyof ResultRow] {
  if (TEXTS.has(column)) return text;
  if (column === 'mixers') return text.split(' ').filter((name) => name !== '');
  if (text === '' && (column === 'value' || column === 'finalTrainLoss')) return null;
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isNaN(value) && text !== 'NaN') throw new Error(`${where}: ${column} must be a number, found "${text}"`);
  return value;
}

/** Cells of a text in the form of RFC 4180; line ends of any kind. @throws Error when a quote does not end. */
export function parseCsv(text: string): string[][] {
  const cell = /"((?:[^"]|"")*)"|([^",\r\n]*)/y;
  const rows: string[][] = [];
  let row: string[] = [];
  for (let at = 0; at < text.length;) {
    cell.lastIndex = at;
    const match = cell.exec(text)!;
    row.push(match[1]?.replaceAll('""', '"') ?? match[2]!);
    at = cell.lastIndex;
    if (text[at] === ',') {
      at++;
      if (at < text.length) continue;
      row.push('');
    } else if (at < text.length && text[at] !== '\r' && text[at] !== '\n') {
      throw new Error(`not a table of RFC 4180: a stray ${text[at]} at character ${at}`);
    }
    at += text.startsWith('\r\n', at) ? 2 : 1;
    rows.push(row);
    row = [];
  }
  return rows;
}
