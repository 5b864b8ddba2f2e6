/** @file `xlstm train`: begins or resumes a run from the command line. */
import { Command, Option } from 'commander';
import { stringify } from 'yaml';
import type { DeviceChoice } from '../device/open.js';
import { formatBytes, formatCount, formatDuration, formatNumber } from '../format.js';
import { presetNames } from '../model/presets.js';
import { resolveRunConfig, runConfigSchema, writtenRunConfig, type RunConfig } from '../train/config.js';
import { Run, type TrainOptions } from '../train/run.js';
import type { TrainStep } from '../train/train-step.js';
import { runPaths } from '../train/run-folder.js';
import { configFields, formatFields } from './config-fields.js';
import { interruptSignal } from './interrupt.js';
import { tellFallback } from './model-options.js';
import { deviceOption, numberFrom, threadsOption } from './options.js';
import { Progress } from './progress.js';
import { applySetting, assign, readConfigFile } from './settings.js';

interface Options {
  config?: string;
  set: string[];
  resume?: string;
  preset?: string;
  init?: string;
  steps?: number;
  batchSize?: number;
  context?: number;
  lr?: number;
  tokenizer?: string;
  seed?: number;
  name?: string;
  out?: string;
  device?: DeviceChoice;
  threads?: number;
  printConfig?: boolean;
  helpConfig?: boolean;
  listPresets?: boolean;
}

type Tree = { [name: string]: unknown };

/** Shorthand options and the fields that they set. */
const SHORTHANDS = {
  preset: 'preset',
  init: 'init',
  steps: 'training.steps',
  batchSize: 'training.batchSize',
  context: 'training.contextLength',
  lr: 'optimizer.learningRate',
  tokenizer: 'data.tokenizer',
  seed: 'training.seed',
  name: 'name',
  out: 'out',
  device: 'device.name',
  threads: 'device.threads',
} as const satisfies Partial<Record<keyof Options, string>>;

export function trainCommand(): Command {
  return new Command('train')
    .description('Train a language model on text, or go on with a run.')
    .argument('[files...]', '.txt, .jsonl or .jsonl.zst files (field "text"), or folders of them')
    .option('--config <file>', 'YAML file with the configuration')
    .option('--set <path=value...>', 'set one field, e.g. --set model.dim=256 training.steps=2000', [])
    .option('--resume <run>', 'go on with a run from its last checkpoint')
    .option('--preset <name>', 'model preset, e.g. "xlstm[1:1]-small"')
    .option('--init <model>', 'start from the parameters of this model, with its tokenizer (fine-tuning)')
    .option('--steps <n>', 'optimizer steps', numberFrom(1, true))
    .option('--batch-size <n>', 'sequences per forward pass', numberFrom(1, true))
    .option('--context <n>', 'tokens per sequence', numberFrom(1, true))
    .option('--lr <rate>', 'peak learning rate', numberFrom(0))
    .option('--tokenizer <kind>', 'bytes, chars, bpe, or a tokenizer.json')
    .option('--seed <n>', 'decides everything that is random', numberFrom(0, true))
    .option('--name <name>', 'name of the run (default: the date)')
    .option('--out <folder>', 'where the run folder is made (default: runs)')
    .addOption(optional(deviceOption()))
    .addOption(threadsOption())
    .option('--print-config', 'print the resolved configuration as YAML and stop')
    .option('--help-config', 'print every field of the configuration and stop')
    .option('--list-presets', 'print the model presets and stop')
    .addHelpText(
      'after',
      `
Later ones win: defaults, --preset, --config, options, --set. The run folder holds config.yaml, metrics.jsonl,
TensorBoard events, samples.jsonl, checkpoints/ and report.html.

Examples:
  xlstm train book.txt
  xlstm train corpus/ --preset "xlstm[7:1]-base" --tokenizer bpe --steps 5000
  xlstm train --config run.yaml --set model.dim=256 training.seed=1
  xlstm train notes.txt --init runs/2026-01-31-1200 --lr 1e-4
  xlstm train --resume runs/2026-01-31-1200 --steps 10000

Ctrl-C writes a checkpoint and stops; --resume goes on from there.`,
    )
    .action(train);
}

/** The option without its default, so that a configuration file can set it. */
function optional(option: Option): Option {
  option.defaultValue = undefined;
  return option;
}

async function train(files: string[], options: Options): Promise<void> {
  if (options.listPresets) return void process.stdout.write(`${presetNames.join('\n')}\n`);
  if (options.helpConfig) return void process.stdout.write(`${formatFields(configFields(runConfigSchema))}\n`);
  const settings = (tree: Tree): RunConfig => {
    if (files.length > 0) assign(tree, 'data.files', files);
    for (const [option, field] of Object.entries(SHORTHANDS)) {
      const value = options[option as keyof typeof SHORTHANDS];
      if (value !== undefined) assign(tree, field, value);
    }
    for (const setting of options.set) applySetting(tree, setting);
    return resolveRunConfig(tree, options.config ?? 'configuration');
  };
  if (options.printConfig) {
    const tree = options.config === undefined ? {} : readConfigFile(options.config);
    return void process.stdout.write(stringify(writtenRunConfig(settings(tree))));
  }

  const { signal, release } = interruptSignal(() => process.stderr.write('\nstopping after this step ...\n'));
  const prepare: TrainOptions = { signal, onPrepare: prepareReporter(), ...tellFallback };
  using run =
    options.resume === undefined
      ? await Run.start(settings(options.config === undefined ? {} : readConfigFile(options.config)), prepare)
      : await Run.resume(options.resume, (stored) => settings(stored), prepare);
  announce(run, options.resume !== undefined);
  const last = await follow(run);
  release();
  conclude(run, last, signal.aborted);
}

/** Tells on standard error how far reading and tokenising the text has come. */
function prepareReporter(): NonNullable<TrainOptions['onPrepare']> {
  let shown = 0;
  return ({ stage, done, total }) => {
    const now = Date.now();
    if (now - shown < 2000) return;
    shown = now;
    const share = total === 0 ? '' : ` ${Math.floor((100 * done) / total)} %`;
    process.stderr.write(`preparing: ${stage}${share}\n`);
  };
}

function announce(run: Run, resumed: boolean): void {
  const { model, config, data } = run;
  const { batchSize, contextLength, gradientAccumulation } = config.training;
  const lines = [
    `${resumed ? `going on at step ${run.step} with` : 'run'} ${run.folder}`,
    `  model   ${model.config.blocks.join(' ')}, width ${model.config.dim}, vocabulary ${model.config.vocabSize}, ${formatCount(model.parameterCount)} parameters`,
    `  text    ${formatBytes(data.bytes.train)} to train on, ${formatBytes(data.bytes.validation)} held out, ${formatNumber(data.bytesPerToken)} bytes per token`,
    `  step    ${batchSize * gradientAccumulation} sequences of ${contextLength} tokens`,
    `  device  ${model.device.name}: ${model.device.info.description}`,
    '',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function follow(run: Run): Promise<TrainStep | null> {
  const progress = new Progress({ linesEvery: run.config.log.everySteps });
  let last: TrainStep | null = null;
  let validation: TrainStep['validation'];
  try {
    for await (const step of run) {
      progress.update(step);
      if (step.validation !== undefined) {
        const { loss, bitsPerByte, best } = step.validation;
        const text = `loss ${formatNumber(loss)}, perplexity ${formatNumber(Math.exp(loss))}, ${formatNumber(bitsPerByte)} bits per byte`;
        progress.print(`step ${step.step}, held-out text: ${text}${best ? ' (best so far)' : ''}`);
      }
      if (step.sample !== undefined) progress.print(`--- sample\n${step.sample.prompt}${step.sample.text}\n---`);
      validation = step.validation ?? validation;
      last = { ...step, ...(validation === undefined ? {} : { validation }) };
    }
  } finally {
    progress.finish();
  }
  return last;
}

function conclude(run: Run, last: TrainStep | null, aborted: boolean): void {
  const { folder } = run;
  if (aborted) {
    process.stdout.write(`\nstopped at step ${run.step}; go on with: xlstm train --resume ${folder}\n`);
    process.exitCode = 130;
    return;
  }
  if (last === null) {
    process.stdout.write(`nothing to do: the run has all its ${run.step} steps; give more with --steps\n`);
    return;
  }
  process.stdout.write(
    `\ndone in ${formatDuration(last.elapsedSeconds)}` +
      `${last.validation === undefined ? '' : `, held-out loss ${formatNumber(last.validation.loss)} (${formatNumber(last.validation.bitsPerByte)} bits per byte)`}\n` +
      `  report    ${runPaths(folder).report}\n` +
      `  generate  npx xlstm generate ${folder} "your prompt"\n`,
  );
}
