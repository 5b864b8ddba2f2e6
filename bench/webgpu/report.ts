/** @file What the bench of WebGPU measured: a table for people, bench/WEBGPU.md for the repository. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { median } from '../table.js';
import { formatSeconds } from '../peers/lines.js';
import { flopsOf } from './cases.js';
import type { MeasuredCase } from './measure-case.js';

/** What was run, where, and how. */
export interface Circumstances {
  readonly browser: string;
  readonly adapter: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  /** Contenders that could not be opened, with the error. */
  readonly failures: readonly string[];
}

export const HEAD = ['case', 'contender', 'median', 'best', 'GFLOP/s', 'its time / ours', 'asked', 'error'] as const;

/** A line for each contender of a case; the ratio of the best peer is what is asked of. */
export function linesOf({ of, measured }: MeasuredCase): string[][] {
  const times = measured.map(({ seconds, failure }) => (failure === null ? median(seconds) : null));
  const own = times[0] ?? null;
  const best = Math.min(...times.slice(1).map((time) => time ?? Infinity));
  return measured.map(({ name, seconds, error }, k) => {
    const time = times[k] ?? null;
    const first = [k === 0 ? of.id : '', name];
    const agree = error === null ? '' : error.toExponential(1);
    if (time === null) return [...first, 'not timed', '', '', '', '', agree];
    const rate = (flopsOf(of) / time / 1e9).toFixed(1);
    const ratio = k === 0 || own === null ? '' : (time / own).toFixed(2);
    const asked = k > 0 && time === best ? of.target.toFixed(1) : '';
    return [...first, formatSeconds(time), formatSeconds(Math.min(...seconds)), rate, ratio, asked, agree];
  });
}

/** Sentences that belong above every table. */
export function opening({ browser, adapter, versions, rounds }: Circumstances): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return (
    `Adapter: ${adapter}. ${browser} on ${os.cpus()[0]?.model ?? 'an unknown processor'}, ${os.availableParallelism()} ` +
    `processors. ${peers.join(', ')}. Commit ${commit}. Medians of ${rounds} samples, taken in turns; every result was ` +
    'first compared: products with sums in float64, losses with those of the reference device.'
  );
}

/** What could not be run, a sentence each. */
export const failuresOf = (about: Circumstances, results: readonly MeasuredCase[]): string[] => [
  ...about.failures,
  ...results.flatMap(({ of, measured }) =>
    measured.flatMap(({ name, failure }) => (failure === null ? [] : [`${of.id}, ${name}: ${failure}`])),
  ),
];

/** Puts a table into a file between two marks that name the adapter, so that each adapter keeps its own. */
export function writeMarkdown(file: string, about: Circumstances, results: readonly MeasuredCase[]): void {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const cases = results.map(({ of }) => `- \`${of.id}\`: ${of.title}`);
  const failures = failuresOf(about, results).map((text) => `- ${text}`);
  const lines = [
    '# WebGPU beside other libraries',
    '',
    '`npm run bench:webgpu -- --write` makes this file; [docs/performance.md](../docs/performance.md) says what to read in it.',
    '',
    opening(about),
    '',
    ...cases,
    '',
    row(HEAD),
    row(HEAD.map((_, k) => (k < 2 ? '---' : '---:'))),
    ...results.flatMap((result) => linesOf(result).map(row)),
    '',
    ...(failures.length === 0 ? [] : ['What did not run:', '', ...failures, '']),
  ];
  fs.writeFileSync(file, lines.join('\n'));
}
