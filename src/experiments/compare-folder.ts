/**
 * @file The folder of a comparison: where its parts lie, and the result of each run, there whole or not at all. A run is
 * finished when its result.json is there; that is the only record.
 */
import fs from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import { checkConfig } from '../model/check-config.js';
import { explainWriteFailure, makeFolder, writeFileWhole } from '../model/disk.js';
import { resultRows, writeResults } from './results-csv.js';
import { runResultSchema, type RunResult, type RunSpec } from './run-spec.js';

/** The parts of the folder of a comparison. */
export const comparePaths = (folder: string) => ({
  config: path.join(folder, 'compare.yaml'),
  results: path.join(folder, 'results.csv'),
  runs: path.join(folder, 'runs'),
  run: (name: string) => path.join(folder, 'runs', name),
  runConfig: (name: string) => path.join(folder, 'runs', name, 'config.yaml'),
  /** What runs share while they go, such as the tokens of a text. */
  shared: path.join(folder, 'shared'),
  runResult: (name: string) => path.join(folder, 'runs', name, 'result.json'),
});

/** @throws WriteError when the disk refuses. */
export function makeRunFolder(folder: string, spec: RunSpec): void {
  const paths = comparePaths(folder);
  try {
    makeFolder(paths.run(spec.name));
  } catch (error) {
    throw explainWriteFailure(error, 'the run', paths.run(spec.name), undefined, 'nothing of it was begun');
  }
  const file = paths.runConfig(spec.name);
  const text = stringify(spec);
  if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text)
    writeFileWhole(file, text, 'the configuration of a run');
}

/** @throws WriteError when the disk refuses: the run then counts as not done. */
export function writeRunResult(folder: string, name: string, result: RunResult): void {
  const text = JSON.stringify(result, (_, value: unknown) => (typeof value === 'number' ? writable(value) : value), 1);
  writeFileWhole(comparePaths(folder).runResult(name), `${text}\n`, 'the result of a run');
}

/** JSON has no infinity and no NaN. */
const writable = (value: number): number | string => (Number.isFinite(value) ? value : String(value));

const readable = (_: string, value: unknown): unknown =>
  value === 'NaN' || value === 'Infinity' || value === '-Infinity' ? Number(value) : value;

/** The result of a run, or null when it is not finished. @throws Error when the file is damaged. */
export function readRunResult(folder: string, name: string): RunResult | null {
  const file = comparePaths(folder).runResult(name);
  let text: string;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    return checkConfig(runResultSchema, JSON.parse(text, readable), file);
  } catch (cause) {
    throw new Error(`${(cause as Error).message}; remove ${file}, and the run is done again`, { cause });
  }
}

/** Writes results.csv anew from all finished runs of the plan, in its order. @throws WriteError when the disk refuses. */
export function writeResultsTable(
  folder: string,
  runs: readonly RunSpec[],
  results: ReadonlyMap<string, RunResult>,
): void {
  const rows = runs.flatMap((spec) => {
    const result = results.get(spec.name);
    return result === undefined ? [] : resultRows(spec, result);
  });
  writeResults(comparePaths(folder).results, rows);
}
