/** @file `npm run bench:peers`: the CPU device beside what one would use instead. `--help` has the options. */
import fs from 'node:fs';
import path from 'node:path';
import { createCpuDevice } from '../../src/device/cpu/cpu.js';
import { installPeers } from './install.js';
import { measureRow, type MeasuredRow, type Measuring } from './measure-row.js';
import { readOptions, type Options } from './options.js';
import { processorCount } from './process.js';
import {
  circumstances,
  joinResults,
  printEnd,
  printResult,
  writeJson,
  writeMarkdown,
  type Circumstances,
} from './report.js';
import type { Row } from './row.js';
import { rowsFor } from './rows.js';
import type { Result } from './lines.js';

function chosen(rows: readonly Row[], only: Options['only']): Row[] {
  const strange = only?.find((name) => !rows.some(({ id }) => id.startsWith(name)));
  if (strange !== undefined) throw new Error(`bench:peers: no row begins with "${strange}"; --list names them`);
  const exact = (name: string): boolean => rows.some(({ id }) => id === name);
  return rows.filter(({ id }) => only?.some((name) => (exact(name) ? id === name : id.startsWith(name))) ?? true);
}

async function main(options: Options): Promise<void> {
  if (options.from !== null) {
    const { about, results } = joinResults(options.from);
    const order = rowsFor({ cache: '', text: null }).map(({ id }) => id);
    const sorted = results.toSorted((a, b) => order.indexOf(a.row.id) - order.indexOf(b.row.id));
    sorted.forEach(printResult);
    finish(options, about, sorted);
    return;
  }
  const cache = path.resolve(options.cache);
  const rows = chosen(rowsFor({ cache, text: options.text }), options.only);
  if (options.list) {
    for (const { id, title } of rows) console.log(`${id.padEnd(20)} ${title}`);
    return;
  }
  const possible = options.threads.filter((threads) => threads <= processorCount);
  if (possible.length < options.threads.length)
    console.log(`only ${processorCount} processors: --threads ${possible.join()}`);
  const { python, npm, failures } = installPeers(cache, options.python, needsOf(rows));
  const about = circumstances(options, createCpuDevice().info.description, failures);
  const { rounds, seconds, timeout, quick } = options;
  const onProgress = (what: string): void => void process.stderr.write(`${what}\n`);
  const results: Result[] = [];
  for (const row of rows) {
    results.push(
      await resultOf(row, possible, { places: { python, npm, cache }, rounds, seconds, timeout, quick, onProgress }),
    );
    printResult(results.at(-1)!);
    writeJson(cache, about, results);
  }
  finish(options, about, results);
}

function finish({ write, to, note }: Options, about: Circumstances, results: readonly Result[]): void {
  printEnd(about, results);
  if (write) writeMarkdown(to, note, about, results);
}

/** Measures a row at each number of threads; when our own side fails, the rows behind it are still measured. */
async function resultOf(row: Row, threads: readonly number[], measuring: Measuring): Promise<Result> {
  const { id, title, targets, bandwidth, near } = row;
  const more = { ...(bandwidth !== undefined && { bandwidth }), ...(near !== undefined && { near }) };
  const facts = { id, title, targets, ...more };
  const folder = path.join(measuring.places.cache, 'work', id);
  const measured: MeasuredRow[] = [];
  try {
    fs.rmSync(folder, { recursive: true, force: true });
    fs.mkdirSync(folder, { recursive: true });
    measuring.onProgress(`${id}: ${title}`);
    const prepared = await row.prepare(folder, measuring.quick);
    for (const count of threads.filter((count) => row.threads?.includes(count) ?? true)) {
      measured.push(await measureRow(row, prepared, count, measuring));
    }
    return { row: facts, measured };
  } catch (error) {
    return { row: facts, measured, failure: error instanceof Error ? error.message : String(error) };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

const needsOf = (rows: readonly Row[]): Set<Row['ours']['needs']> =>
  new Set(rows.flatMap(({ ours, peers }) => [ours, ...peers].map(({ needs }) => needs)));

const options = readOptions();
if (options !== null) await main(options);
