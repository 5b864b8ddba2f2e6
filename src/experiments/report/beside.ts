/**
 * @file Published numbers beside measured ones: which published table has tasks and models of a comparison, cell by cell,
 * and that as text. The published numbers are in `../published/`.
 */
import { CERTAINTY, certaintyOf, type Certainty, type PublishedTable } from '../published/table.js';
import { PUBLISHED_TABLES } from '../published/tables.js';
import { headlineOf, MEASURES, measured, writtenSpread, type Cell, type Measure } from './aggregate.js';
import { sameModel, sameName } from './names.js';
import type { Statistics } from './statistics.js';

export interface BesideCell {
  readonly published: number | 'X' | null;
  readonly certainty: Certainty;
  /** Of the largest size of the model; null where it was not measured. */
  readonly measured: Statistics | null;
  readonly measure: Measure;
}

export interface BesideTable {
  readonly table: PublishedTable;
  /** Titles of the columns that the comparison has, with the set and the measure of what was measured. */
  readonly columns: readonly string[];
  readonly rows: readonly { readonly model: string; readonly cells: readonly BesideCell[] }[];
}

/** The published tables of which a comparison has a task and two models at least: one shared model is no table. */
export function besidePublished(
  cells: readonly Cell[],
  tables: readonly PublishedTable[] = PUBLISHED_TABLES,
): BesideTable[] {
  return tables.flatMap((table) => {
    const columns = table.columns.flatMap((column, index) => {
      const { beside } = column;
      if (beside === undefined || !(beside.measure in MEASURES)) return [];
      const own = cells.filter(
        ({ task, taskLabel }) => sameName(task, beside.task) && sameName(taskLabel, beside.taskLabel ?? taskLabel),
      );
      const headline = headlineOf(own, beside.measure as Measure);
      return own.length === 0 || headline === null ? [] : [{ column, index, own, headline }];
    });
    const rows = table.rows.map(({ model, values }) => ({
      model,
      cells: columns.map(({ column, index, own, headline }): BesideCell => {
        const sizes = own.filter((cell) => sameModel(cell.model, model));
        const largest = sizes.toSorted((a, b) => b.facts.parameters - a.facts.parameters)[0];
        return {
          published: values[index] ?? null,
          certainty: certaintyOf(table, model, column.title),
          measure: headline.measure,
          measured: largest === undefined ? null : measured(largest, headline.set, headline.measure),
        };
      }),
    }));
    const shared = rows.filter((row) => row.cells.some((cell) => cell.measured !== null));
    if (shared.length < (table.least ?? 2)) return [];
    return [{ table, columns: columns.map(({ column, headline }) => `${column.title}, ${headline.set}`), rows }];
  });
}

export const writtenPublished = ({ published, certainty }: BesideCell): string =>
  published === null ? '–' : `${published === 'X' ? 'X' : String(published)} [${certainty}]`;

export const writtenMeasured = ({ measured: value, measure }: BesideCell): string =>
  value === null ? '–' : `${writtenSpread(value, measure)} (${value.count})`;

/** What the marks behind published numbers mean. */
export const CERTAINTY_LEGEND = Object.entries(CERTAINTY)
  .map(([mark, meaning]) => `[${mark}] ${meaning}`)
  .join('; ');

/** The tables as text for a terminal: published first, measured as mean ± standard deviation (seeds). */
export function formatBeside(tables: readonly BesideTable[]): string {
  return tables
    .map(({ table, columns, rows }) => {
      const lines = columns.flatMap((column, k) => {
        const entries = rows.map(({ model, cells }) => [
          model,
          writtenPublished(cells[k]!),
          writtenMeasured(cells[k]!),
        ]);
        const grid = [['', 'published', 'measured'], ...entries];
        const widths = [0, 1].map((c) => Math.max(...grid.map((row) => row[c]!.length)));
        const line = (row: readonly string[]) =>
          `    ${row[0]!.padEnd(widths[0]!)}  ${row[1]!.padEnd(widths[1]!)}  ${row[2]!}`;
        return [`  ${column}`, ...grid.map(line)];
      });
      return [`${table.title} (${table.source})`, `  published: ${table.settings}`, ...lines].join('\n');
    })
    .concat(tables.length === 0 ? [] : [`${CERTAINTY_LEGEND}\n`])
    .join('\n\n');
}
