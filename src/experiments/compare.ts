/**
 * @file A comparison from its compare.yaml to its folder: what is to be run, carrying it out, the table and the report.
 * What the command prints is in `../cli/compare.ts`.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { stringify } from 'yaml';
import { openProven } from '../device/open-proven.js';
import { suggestion } from '../model/check-config.js';
import { writeFileWhole } from '../model/disk.js';
import { resolveCompareConfig, type CompareConfig } from './compare-config.js';
import { comparePaths, readRunResult } from './compare-folder.js';
import { planRuns } from './plan.js';
import { createPlanTools } from './plan-tools.js';
import { writeReport } from './report/report.js';
import { inProcesses } from './run-process.js';
import type { RunSpec, TrainTask } from './run-spec.js';
import { carryOut, strangeRuns, type RunEvent, type RunnerSummary } from './runner.js';

export interface Comparison {
  readonly config: CompareConfig;
  readonly folder: string;
  /** All its runs, with the threads that each gets. */
  readonly plan: readonly RunSpec[];
}

/**
 * Reads what is to be compared, and plans it.
 * @param input  what stands in compare.yaml
 * @param file   its path: files of mixers are found from there
 * @throws ConfigError naming what is wrong; Error naming a file that cannot be loaded.
 */
export async function planComparison(input: unknown, file: string): Promise<Comparison> {
  const config = resolveCompareConfig(input, file);
  const tools = await createPlanTools(config, path.dirname(file));
  const threads = config.device.threads || Math.max(1, Math.floor(os.availableParallelism() / config.jobs));
  const plan = planRuns(config, tools).map((spec) => ({ ...spec, device: { ...spec.device, threads } }));
  const models = config.models.map(({ mixerFile, ...model }) =>
    mixerFile === undefined ? model : { ...model, mixerFile: tools.mixerFiles.get(mixerFile)!.file },
  );
  return { config: { ...config, models }, folder: config.out, plan };
}

export type RunState = 'open' | 'done' | 'failed';

/** @throws Error when the result of the run is damaged. */
export const stateOf = (folder: string, { name }: RunSpec): RunState => readRunResult(folder, name)?.status ?? 'open';

/**
 * Which runs have one of the mixers, or are of the models of these labels.
 * @throws Error when a name is that of none.
 */
export function onlyRuns(plan: readonly RunSpec[], names: readonly string[]): (spec: RunSpec) => boolean {
  const known = [...new Set(plan.flatMap(({ mixers, label }) => [...mixers, label]))];
  const lower = (name: string) => name.toLowerCase();
  for (const name of names) {
    if (known.some((one) => lower(one) === lower(name))) continue;
    throw new Error(
      `--only: no model of this comparison has the mixer or the label "${name}"${suggestion(name, known)}`,
    );
  }
  const wanted = names.map(lower);
  return ({ mixers, label }) => names.length === 0 || [...mixers, label].some((name) => wanted.includes(lower(name)));
}

export interface CompareOptions {
  readonly only?: readonly string[];
  readonly retryFailed?: boolean;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: RunEvent) => void;
  /** How a run is carried out. Default: in a process of its own. */
  readonly execute?: TrainTask;
}

export interface CompareSummary extends RunnerSummary {
  /** Folders of runs that are not in the plan, and so not in the table. */
  readonly strange: readonly string[];
  /** Path of the report; null when there is nothing to report. */
  readonly report: string | null;
}

const workerFile = (): URL => new URL(`train-worker${path.extname(import.meta.url)}`, import.meta.url);

/**
 * Carries out what is not finished of a comparison, and writes table and report.
 * @throws Error when another process works in the folder, WriteError when the disk refuses; finished runs stand.
 */
export async function runComparison(comparison: Comparison, options: CompareOptions = {}): Promise<CompareSummary> {
  const { config, folder, plan } = comparison;
  const { only = [], execute, ...rest } = options;
  if (execute === undefined) await openProven(config.device.name); // what does not work here would break every run
  const summary = await carryOut(folder, plan, {
    ...rest,
    execute: execute ?? inProcesses(workerFile()),
    jobs: config.jobs,
    only: onlyRuns(plan, only),
    onLocked: () => writeFileWhole(comparePaths(folder).config, stringify(config), 'the configuration'),
  });
  const isReported = summary.results.size > 0;
  if (isReported) await writeReport(folder);
  return {
    ...summary,
    strange: strangeRuns(folder, plan),
    report: isReported ? path.join(folder, 'report.html') : null,
  };
}

/** The compare.yaml that a path means: itself, or the one in the folder of a comparison that was begun. */
export function compareFileOf(fileOrFolder: string): string {
  if (fs.statSync(fileOrFolder, { throwIfNoEntry: false })?.isDirectory() !== true) return fileOrFolder;
  const { config } = comparePaths(fileOrFolder);
  if (fs.existsSync(config)) return config;
  throw new Error(`${fileOrFolder}: there is no compare.yaml in this folder`);
}
