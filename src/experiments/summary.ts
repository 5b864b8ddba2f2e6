/** @file What a comparison found, as tables for a terminal: one per task, a model per line, best first. */
import { formatBytes, formatCount, formatDuration } from '../format.js';
import { byTask, headlineOf, isLowerBetter, MEASURES, measured, writtenSpread, type Cell } from './report/aggregate.js';

const HEAD = ['', 'seeds', 'learning rate', 'parameters', 'state', 'time'];

/** The tables, with mean and standard deviation over the seeds at the learning rate that validation chose. */
export function formatSummary(cells: readonly Cell[]): string {
  return [...byTask(cells)].map(([task, own]) => taskTable(task, own)).join('\n');
}

function taskTable(task: string, cells: readonly Cell[]): string {
  const headline = headlineOf(cells);
  if (headline === null) return `${task}: nothing was measured\n`;
  const { set, measure } = headline;
  const value = (cell: Cell): number => {
    const mean = measured(cell, set, measure)?.mean ?? NaN;
    if (Number.isNaN(mean)) return Infinity;
    return isLowerBetter(measure) ? mean : -mean;
  };
  const lines = cells
    .toSorted((a, b) => value(a) - value(b) || 0)
    .map((cell) => {
      const spread = measured(cell, set, measure);
      const { parameters, stateBytes } = cell.facts;
      return [
        cell.label,
        spread === null ? '–' : writtenSpread(spread, measure),
        String(cell.runs.length),
        String(cell.choice.learningRate),
        formatCount(parameters),
        formatBytes(stateBytes),
        formatDuration(cell.seconds.mean),
      ];
    });
  return `${task}: ${MEASURES[measure].title}, ${set}\n${columns([[HEAD[0]!, 'mean ± std', ...HEAD.slice(1)], ...lines])}`;
}

/** The first two columns to the left, the others to the right. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, k) => Math.max(...rows.map((row) => row[k]!.length)));
  const pad = (text: string, k: number) => (k < 2 ? text.padEnd(widths[k]!) : text.padStart(widths[k]!));
  return rows.map((row) => `  ${row.map(pad).join('  ').trimEnd()}\n`).join('');
}
