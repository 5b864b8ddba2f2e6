/** @file The report of a comparison: a table for people, results.json for programs, PEERS.md for the repository. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { packageVersion } from '../../src/package-version.js';
import { printTable } from '../table.js';
import type { Installed } from './install.js';
import { failuresOf, formatThreads, HEAD, linesOf, ODD_HEAD, oddLines, type Result } from './lines.js';
import type { Options } from './options.js';
import { isPinned } from './process.js';

/** What was run, where, and how. */
export interface Circumstances {
  readonly commit: string;
  readonly device: string;
  readonly options: Options;
  readonly failures: Installed['failures'];
  /** Processes that wanted to run in the minute before, on average. */
  readonly loadBefore: number;
}

/** The commit of the clone; the version where it is none. */
function commitOf(): string {
  const { status, stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : packageVersion();
}

export function circumstances(options: Options, device: string, failures: Installed['failures']): Circumstances {
  return { commit: commitOf(), device, options, failures, loadBefore: os.loadavg()[0]! };
}

/** Other work is noticed above it. */
const QUIET_LOAD = 0.5;

const versionsOf = (results: readonly Result[]): Record<string, string> =>
  Object.assign(
    {},
    ...results.flatMap(({ measured }) =>
      measured.flatMap(({ ours, peers }) => [ours, ...peers].map((one) => one.versions)),
    ),
  ) as Record<string, string>;

/** Sentences that belong above every table. */
function opening({ commit, device, options, loadBefore }: Circumstances, results: readonly Result[]): string[] {
  const versions = Object.entries(versionsOf(results)).map(([name, version]) => `${name} ${version}`);
  const { rounds, seconds, quick } = options;
  const pinned = isPinned ? 'bound to as many processors as it has threads' : 'not bound to processors';
  return [
    `xlstm at ${commit}; ${device}; ${versions.toSorted().join(', ')}.`,
    `${rounds} ${rounds === 1 ? 'process' : 'processes'} of each contender in turns, ${pinned}, each with ${seconds} s of timed calls.`,
    ...(quick ? ['Made with --quick: it shows that the contenders agree, and says nothing about speed.'] : []),
    ...(loadBefore > QUIET_LOAD
      ? [`The machine was busy: load ${loadBefore.toFixed(1)} before the run. Do not cite its times.`]
      : []),
  ];
}

export function printResult(result: Result): void {
  console.log(`\n${result.row.id}: ${result.row.title}`);
  for (const { threads, peak } of result.measured) {
    const [flops, bandwidth] = [(peak.flops / 1e9).toFixed(0), (peak.bandwidth / 1e9).toFixed(1)];
    console.log(`  peak with ${formatThreads(threads)}: ${flops} GFLOP/s, reads ${bandwidth} GB/s`);
  }
  printTable(HEAD, linesOf(result));
  for (const failure of failuresOf(result)) console.log(`  ! ${failure}`);
}

export function printEnd(about: Circumstances, results: readonly Result[]): void {
  const odd = oddLines(results);
  if (odd.length > 0) {
    console.log('\nodd sizes beside even ones');
    printTable(ODD_HEAD, odd);
  }
  console.log(`\n${opening(about, results).join('\n')}`);
  for (const { name, error } of about.failures) console.log(`not installed: ${name}: ${error}`);
}

export function writeJson(folder: string, about: Circumstances, results: readonly Result[]): void {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'results.json'), `${JSON.stringify({ ...about, results }, null, 1)}\n`);
}

/** The description of a CPU device without its threads, of which each row says how many it had. */
const machineOf = (device: string): string => device.replace(/, \d+ threads?$/, '');

/**
 * What several runs on one machine wrote, as if it were one: their rows, each with all its numbers of threads, and all
 * commits.
 * @throws Error where the runs are not of one device.
 */
export function joinResults(files: readonly string[]): { about: Circumstances; results: Result[] } {
  const runs = files.map((file) => JSON.parse(fs.readFileSync(file, 'utf8')) as Circumstances & { results: Result[] });
  const [first] = runs;
  if (first === undefined) throw new Error('bench:peers: --from names no file');
  const strange = runs.findIndex(({ device }) => machineOf(device) !== machineOf(first.device));
  if (strange > 0) throw new Error(`bench:peers: ${files[strange]} is of another machine than ${files[0]}`);
  const rows = new Map<string, Result>();
  for (const result of runs.flatMap(({ results }) => results)) {
    const known = rows.get(result.row.id);
    rows.set(
      result.row.id,
      known === undefined ? result : { ...known, measured: [...known.measured, ...result.measured] },
    );
  }
  const loadBefore = Math.max(...runs.map((run) => run.loadBefore));
  const commit = [...new Set(runs.map((run) => run.commit))].join(' and ');
  return { about: { ...first, device: machineOf(first.device), commit, loadBefore }, results: [...rows.values()] };
}

/** A table of Markdown. */
const markdownTable = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);

/** @param note  a sentence to put above the tables; '' for none */
export function writeMarkdown(file: string, note: string, about: Circumstances, results: readonly Result[]): void {
  const sections = results.flatMap((result) => [
    `## ${result.row.title}`,
    '',
    ...markdownTable(HEAD, linesOf(result)),
    '',
    ...failuresOf(result).flatMap((failure) => [`Not timed: ${failure.split('\n')[0]}`, '']),
  ]);
  const odd = oddLines(results);
  const text = [
    '# Beside its peers',
    '',
    'Made by `npm run bench:peers -- --write`; do not edit. A ratio is the time of the peer over ours: above 1 this library',
    'is faster. Medians are over processes, the range is that of the pairs that ran one after the other. "agree to" is',
    'RMS(difference) / RMS(ours) of losses, gradients or logits before any timing, and in brackets what is allowed.',
    '',
    ...opening(about, results),
    ...(note === '' ? [] : [note]),
    '',
    ...about.failures.flatMap(({ name, error }) => [`Not installed: ${name}: ${error}`, '']),
    ...sections,
    ...(odd.length > 0 ? ['## Odd sizes beside even ones', '', ...markdownTable(ODD_HEAD, odd), ''] : []),
  ].join('\n');
  fs.writeFileSync(file, text);
}
