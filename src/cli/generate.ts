/** @file `xlstm generate`: streams text from a run or a model folder. */
import { Command } from 'commander';
import type { DeviceChoice } from '../device/open.js';
import { TextModel } from '../generate/text-model.js';
import { formatNumber } from '../format.js';
import { loadState } from '../model/state-file.js';
import { interruptSignal } from './interrupt.js';
import type { WeightStorage } from '../model/load-weights.js';
import { deviceOption, numberFrom, sourceBackendOption, threadsOption, weightsOption } from './options.js';

interface Options {
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  seed: number;
  device: DeviceChoice;
  threads?: number;
  weights: WeightStorage;
  sourceBackend?: 'vanilla' | 'cuda';
  state?: string;
  stats?: boolean;
}

export function generateCommand(): Command {
  return new Command('generate')
    .description('Continue a prompt. The text streams to standard output as it is made.')
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .argument('[prompt]', 'text to continue; empty begins a new document, "-" reads standard input', '')
    .option('--max-tokens <n>', 'largest number of tokens', numberFrom(1, true), 256)
    .option(
      '--temperature <t>',
      'below 1 is bolder on the probable, above 1 wilder; 0 always takes the most probable',
      numberFrom(0),
      0.8,
    )
    .option('--top-k <k>', 'choose among the k most probable tokens; 0 for all', numberFrom(0, true), 0)
    .option(
      '--top-p <p>',
      'choose among the most probable tokens that together hold this probability',
      numberFrom(0),
      0.95,
    )
    .option('--min-p <p>', 'drop tokens less probable than this share of the most probable one', numberFrom(0), 0)
    .option('--repetition-penalty <r>', 'above 1 makes tokens that were there before less probable', numberFrom(0), 1)
    .option('--seed <n>', 'same seed, same text', numberFrom(0, true), 0)
    .option('--state <file>', 'go on from this state (see `xlstm state save`); the prompt comes after what it has read')
    .option('--stats', 'print tokens per second to standard error at the end')
    .addOption(weightsOption())
    .addOption(sourceBackendOption())
    .addOption(deviceOption())
    .addOption(threadsOption())
    .addHelpText(
      'after',
      '\nExample:\n  xlstm generate runs/sotu "My fellow citizens" --max-tokens 200 --temperature 0.7 --top-k 40',
    )
    .action(generate);
}

async function generate(folder: string, promptArgument: string, options: Options): Promise<void> {
  const { device, threads, weights, sourceBackend, state: stateFile, stats, ...decoding } = options;
  const prompt = promptArgument === '-' ? await readStandardInput() : promptArgument;
  using model = await TextModel.load(folder, {
    device,
    storage: weights,
    ...(threads && { threads }),
    ...(sourceBackend && { sourceBackend }),
  });
  const state = stateFile === undefined ? undefined : await loadState(stateFile, model.model);
  const { signal, release } = interruptSignal(() => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0); // the reader has closed the pipe
    throw error;
  });
  process.stdout.write(prompt);
  const started = performance.now();
  let tokens = 0;
  for await (const text of model.generate(prompt, { ...decoding, ...(state && { state }), signal })) {
    process.stdout.write(text);
    tokens += 1;
  }
  process.stdout.write('\n');
  release();
  if (stats) {
    const rate = tokens / ((performance.now() - started) / 1000);
    process.stderr.write(
      `${tokens} pieces, ${formatNumber(rate)} per second, ${model.model.device.info.description}\n`,
    );
  }
  if (signal.aborted) process.exitCode = 130;
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)).replace(/\n$/, '');
}
