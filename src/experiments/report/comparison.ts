/**
 * @file The folder of a comparison as the report needs it: the runs of results.csv, their courses of training, and the
 * resolved configurations that belong to them. It writes nothing.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { comparePaths, readRunResult } from '../compare-folder.js';
import { parseResults } from '../results-csv.js';
import type { CurvePoint } from '../run-spec.js';
import { aggregate, collectRuns, type Cell, type Run } from './aggregate.js';

export interface Comparison {
  readonly title: string;
  /** Every run of the table, failed ones too. */
  readonly runs: readonly Run[];
  readonly cells: readonly Cell[];
  /** Course of the training by run; empty where it is not there. */
  readonly curves: ReadonlyMap<string, readonly CurvePoint[]>;
  /** Path of the resolved configuration relative to the folder, by run; absent where there is none. */
  readonly configs: ReadonlyMap<string, string>;
}

/** @throws Error when there is no results.csv, or it or a result is damaged. */
export function loadComparison(folder: string): Comparison {
  const paths = comparePaths(folder);
  if (!fs.existsSync(paths.results))
    throw new Error(`${folder}: there is no results.csv in it; run xlstm compare first, or give its folder`);
  const rows = parseResults(fs.readFileSync(paths.results, 'utf8'), paths.results);
  const names = [...new Set(rows.map(({ run }) => run))];
  const configs = new Map(names.flatMap((name) => configPath(folder, name)));
  const lengths = new Map([...configs].flatMap(([name, file]) => trainLength(name, path.join(folder, file))));
  const runs = collectRuns(rows, lengths);
  return {
    title: titleOf(folder),
    runs,
    cells: aggregate(runs),
    curves: new Map(names.map((name) => [name, readRunResult(folder, name)?.curve ?? []])),
    configs,
  };
}

function configPath(folder: string, name: string): [name: string, file: string][] {
  const file = comparePaths(folder).runConfig(name);
  return fs.existsSync(file) ? [[name, path.relative(folder, file)]] : [];
}

/** Names under which tasks have the longest sequence of their training set. */
const LENGTH_OPTIONS = ['contextLength', 'trainMaxLength', 'maxLength', 'length', 'trainLength'];

function trainLength(name: string, file: string): [name: string, length: number][] {
  const options: unknown = asTree(asTree(readYaml(file))['task'])['options'];
  const length = LENGTH_OPTIONS.map((option) => asTree(options)[option]).find((value) => typeof value === 'number');
  return length === undefined ? [] : [[name, length]];
}

function titleOf(folder: string): string {
  const { title, name } = asTree(readYaml(comparePaths(folder).config)) as { title?: unknown; name?: unknown };
  const given = [title, name].find((text): text is string => typeof text === 'string' && text !== '');
  return given ?? path.basename(path.resolve(folder));
}

/** What a YAML file holds; undefined where it cannot be read: the report then goes without. */
function readYaml(file: string): unknown {
  try {
    return parse(fs.readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

const asTree = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
