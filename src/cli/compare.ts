/** @file `xlstm compare`: trains many models on many tasks under equal conditions, and writes the table and the report. */
import { Command } from 'commander';
import { stringify } from 'yaml';
import { taskNames, TASKS } from '../data/tasks/registry.js';
import { compareSchema } from '../experiments/compare-config.js';
import {
  compareFileOf,
  onlyRuns,
  planComparison,
  runComparison,
  stateOf,
  type Comparison,
  type CompareSummary,
} from '../experiments/compare.js';
import { judgeClaims, type JudgedClaim } from '../experiments/report/claims.js';
import { loadComparison } from '../experiments/report/comparison.js';
import { columns, formatSummary } from '../experiments/summary.js';
import { ARCHITECTURES } from '../model/architectures.js';
import { CompareProgress, describeRun } from './compare-progress.js';
import { configFields, formatFields } from './config-fields.js';
import { interruptSignal } from './interrupt.js';
import { numberFrom } from './options.js';
import { applySetting, assign, readConfigFile } from './settings.js';

export interface CompareCommandOptions {
  jobs?: number;
  only: string[];
  out?: string;
  set: string[];
  resume?: boolean;
  retryFailed?: boolean;
  list?: boolean;
  printConfig?: boolean;
}

interface Options extends CompareCommandOptions {
  helpConfig?: boolean;
  tasks?: boolean;
  architectures?: boolean;
}

export function compareCommand(): Command {
  const command = new Command('compare')
    .description('Train many models on many tasks under equal conditions: a table, figures and a report.')
    .argument('[compare.yaml]', 'what to compare, or the folder of a comparison that was begun')
    .option('--help-config', 'print every field of compare.yaml and stop')
    .option('--tasks', 'print the tasks and stop')
    .option('--architectures', 'print the architectures and stop')
    .addHelpText(
      'after',
      `
Runs tasks x models x sizes x learning rates x seeds, each in a process and a folder of its own. The folder holds
compare.yaml, runs/<name>/config.yaml and result.json, results.csv, figures/*.svg and report.html. A run is done once: the
same command again goes on where it was stopped or killed. A run that breaks is a row of the table; the others go on.

Examples:
  xlstm compare compare.yaml --list
  xlstm compare compare.yaml --jobs 2
  xlstm compare compare.yaml --only slstm lstm --set training.steps=500 seeds=[0]
  xlstm compare runs/compare --retry-failed

  tasks: [parity, {name: recall, preset: small}]
  models: ['xlstm[1:1]', llama, mamba, {mixer: lstm, label: LSTM block}, {mixerFile: ./my-mixer.ts}]
  sizes: [{dim: 64, blocks: 2}]
  learningRates: [1.0e-3, 3.0e-3]
  seeds: [0, 1]
  training: {steps: 1000, batchSize: 32}`,
    )
    .action(compare);
  return addCompareOptions(command);
}

/** Options that `xlstm reproduce` has too. */
export const addCompareOptions = (command: Command): Command =>
  command
    .option('--jobs <n>', 'runs at the same time; each gets its part of the cores', numberFrom(1, true))
    .option('--only <mixers...>', 'only models with these mixers, or of these labels', [])
    .option('--out <folder>', 'where runs, table and report go (default: runs/<name of the file>)')
    .option('--set <path=value...>', 'set one field, e.g. --set training.steps=2000 seeds=[0,1]', [])
    .option('--resume', 'go on with a comparison; an error when it was not begun')
    .option('--retry-failed', 'do runs again that failed')
    .option('--list', 'print the runs and whether they are done, and stop')
    .option('--print-config', 'print the resolved comparison as YAML and stop');

async function compare(given: string | undefined, options: Options): Promise<void> {
  if (options.helpConfig) return void process.stdout.write(`${formatFields(configFields(compareSchema))}\n`);
  if (options.tasks) return void process.stdout.write(taskList());
  if (options.architectures) return void process.stdout.write(architectureList());
  if (given === undefined) throw new Error('compare: give a compare.yaml; see xlstm compare --help');
  const file = compareFileOf(given);
  const comparison = await openComparison(file, file === given ? undefined : given, options);
  await carryOutOrShow(comparison, options, `xlstm compare ${given}`);
}

/** @param folder  of a comparison that was begun, when that was given. */
export async function openComparison(
  file: string,
  folder: string | undefined,
  { set, jobs, out, resume }: CompareCommandOptions,
): Promise<Comparison> {
  const tree = readConfigFile(file);
  for (const setting of set) applySetting(tree, setting);
  if (jobs !== undefined) assign(tree, 'jobs', jobs);
  const target = out ?? folder;
  if (target !== undefined) assign(tree, 'out', target);
  const comparison = await planComparison(tree, file);
  if (resume && comparison.plan.every((spec) => stateOf(comparison.folder, spec) === 'open')) {
    throw new Error(`${comparison.folder}: nothing of this comparison is done; start it without --resume`);
  }
  return comparison;
}

/** @param command  with which to go on, for the message */
export async function carryOutOrShow(
  comparison: Comparison,
  options: CompareCommandOptions,
  command: string,
): Promise<CompareSummary | null> {
  if (options.printConfig) {
    process.stdout.write(stringify(comparison.config));
    return null;
  }
  if (options.list) {
    process.stdout.write(list(comparison, options.only));
    return null;
  }
  return carryOut(comparison, options, command);
}

async function carryOut(
  comparison: Comparison,
  { only, retryFailed = false }: CompareCommandOptions,
  command: string,
): Promise<CompareSummary> {
  const { plan, folder, config } = comparison;
  const chosen = plan.filter(onlyRuns(plan, only));
  const states = chosen.map((spec) => stateOf(folder, spec));
  const open = states.filter((state) => state === 'open' || (retryFailed && state === 'failed')).length;
  const before = open === chosen.length ? '' : `, ${chosen.length - open} of them done before`;
  process.stdout.write(`${chosen.length} runs into ${folder}${before}, ${config.jobs} at a time\n`);
  const { signal, release } = interruptSignal(() =>
    process.stderr.write('\nstopping: runs in progress are given up\n'),
  );
  let summary: CompareSummary;
  try {
    using progress = new CompareProgress({ total: open });
    const onEvent = progress.update.bind(progress);
    summary = await runComparison(comparison, { only, retryFailed, signal, onEvent });
  } finally {
    release();
  }
  process.stdout.write(conclusion(comparison, summary, command));
  if (summary.left > 0) process.exitCode = 130;
  return summary;
}

function conclusion({ folder }: Comparison, summary: CompareSummary, command: string): string {
  const { left, results, strange, report } = summary;
  const lines: string[] = [];
  if (report !== null) {
    const { cells } = loadComparison(folder);
    lines.push('', formatSummary(cells), ...formatClaims(judgeClaims(cells)));
  }
  const failed = [...results].filter(([, { status }]) => status === 'failed');
  if (failed.length > 0) {
    lines.push(`${failed.length} of ${results.size} runs failed:`);
    lines.push(...failed.map(([name, { reason }]) => `  ${name}: ${reason}`), '  (--retry-failed does them again)');
  }
  if (strange.length > 0) {
    lines.push(`${strange.length} folders in ${folder}/runs are of an earlier form of the file, and not in the table`);
  }
  if (report !== null) lines.push(`table   ${folder}/results.csv`, `report  ${report}`);
  if (left > 0) lines.push(`stopped with ${left} runs to do; go on with: ${command}`);
  return `${lines.join('\n')}\n`;
}

/** The claims of the paper that the comparison touches. */
function formatClaims(judged: readonly JudgedClaim[]): string[] {
  const touched = judged.filter(({ verdict }) => verdict !== 'untouched');
  if (touched.length === 0) return [];
  const lines = touched.map(({ verdict, sentence, source }) => `  ${verdict.padEnd(12)}  ${sentence} (${source})`);
  return ["claims of the paper, by this project's margins:", ...lines, ''];
}

function list({ plan, folder }: Comparison, only: readonly string[]): string {
  const chosen = plan.filter(onlyRuns(plan, only));
  const rows = chosen.map((spec) => [
    stateOf(folder, spec),
    describeRun(spec),
    String(spec.model.dim),
    String(spec.training.steps),
    String(spec.training.batchSize),
  ]);
  const open = rows.filter(([state]) => state === 'open').length;
  return `${columns([['', 'run', 'width', 'steps', 'batch'], ...rows])}${chosen.length} runs, ${open} to do, in ${folder}\n`;
}

const taskList = (): string =>
  columns([
    ...taskNames().map((name) => [name, TASKS.get(name)!.summary]),
    ['text', 'language modelling on texts: options files, tokenizer, contextLength, lengths'],
  ]);

const architectureList = (): string =>
  columns([
    ...Object.entries(ARCHITECTURES).map(([name, { label, pattern }]) => [name, `${label}: ${pattern.join(', ')}`]),
    ['xlstm[a:b]', 'a mlstm blocks, then b slstm blocks, and so on: xlstm[1:1], xlstm[7:1]'],
  ]);
