/** @file `xlstm generate`: text from a run or a model folder, streamed; or several completions, of several prompts. */
import fs from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import type { Completion } from '../generate/complete.js';
import type { GenerateOptions } from '../generate/generate-text.js';
import { TextModel } from '../generate/text-model.js';
import { DEFAULT_SAMPLING, MAX_LOGPROBS, type SamplingOptions } from '../generate/sampling-options.js';
import { formatNumber } from '../format.js';
import { loadState } from '../model/state-file.js';
import { interruptSignal } from './interrupt.js';
import { addModelOptions, loadOptions, type ModelOptions, tellFallback } from './model-options.js';
import { numberFrom } from './options.js';

interface Options extends ModelOptions {
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  typical?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  logitBias: Record<number, number>;
  stop: string[];
  seed: number;
  n: number;
  logprobs?: number;
  promptFile?: string;
  promptsFile?: string;
  state?: string;
  json?: boolean;
  stats?: boolean;
}

export function generateCommand(): Command {
  const command = new Command('generate')
    .description('Continue a prompt. The text streams to standard output as it is made.')
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .argument('[prompt]', 'text to continue; empty begins a new document, "-" reads standard input', '')
    .option('--prompt-file <file>', 'continue the text of a file')
    .option('--prompts-file <file>', 'continue each line of a file; all of them together')
    .option('--state <file>', 'go on from this state (see `xlstm state save`); the prompt comes after what it has read')
    .option('--max-tokens <n>', 'largest number of tokens (default: 256)', numberFrom(1, true))
    .option(
      '--temperature <t>',
      'below 1 is bolder on the probable, above 1 wilder; 0 always takes the most probable (default: 0.8)',
      numberFrom(0),
    )
    .option('--top-k <k>', 'choose among the k most probable tokens; 0 for all', numberFrom(0, true))
    .option(
      '--top-p <p>',
      'choose among the most probable tokens that together hold this probability (default: 0.95)',
      numberFrom(0),
    )
    .option('--min-p <p>', 'drop tokens less probable than this share of the most probable one', numberFrom(0))
    .option('--typical <p>', 'choose among the tokens of typical information that together hold it', numberFrom(0))
    .option('--repetition-penalty <r>', 'above 1 makes tokens that were there before less probable', numberFrom(0))
    .option('--presence-penalty <p>', 'taken from the logit of a token that was generated, -2 to 2', numberFrom(-2))
    .option('--frequency-penalty <p>', 'taken for each time that it was generated, -2 to 2', numberFrom(-2))
    .option('--logit-bias <id=value>', 'added to the logit of a token; repeat for more', addBias, {})
    .option('--stop <text>', 'end before this text; repeat for more', (text, all: string[]) => [...all, text], [])
    .option('--seed <n>', 'same seed, same text', numberFrom(0, true), 0)
    .option('-n <n>', 'completions of each prompt', numberFrom(1, true), 1)
    .option(
      '--logprobs <k>',
      `with --json: log-probabilities, and the k most probable tokens (to ${MAX_LOGPROBS})`,
      numberFrom(0, true),
    )
    .option('--json', 'print completions as JSON, one a line')
    .option('--stats', 'print tokens per second to standard error at the end');
  return addModelOptions(command)
    .addHelpText(
      'after',
      `
What is left out is as generation_config.json of the model says, if there is one.

Examples:
  xlstm generate runs/sotu "My fellow citizens" --max-tokens 200 --temperature 0.7 --top-k 40
  xlstm generate runs/sotu "My fellow" -n 3 --stop "." --json`,
    )
    .action(generate);
}

function addBias(text: string, before: Record<number, number>): Record<number, number> {
  const match = /^(\d{1,9})=(-?(?:\d+(?:\.\d+)?|Infinity))$/.exec(text);
  if (match === null) throw new InvalidArgumentError('It must be a token and what is added: 50=-100.');
  return { ...before, [Number(match[1])]: Number(match[2]) };
}

async function generate(folder: string, promptArgument: string, options: Options): Promise<void> {
  const prompts = await promptsOf(promptArgument, options);
  using model = await TextModel.load(folder, { ...loadOptions(options), ...tellFallback });
  const state = options.state === undefined ? undefined : await loadState(options.state, model.model);
  const { signal, release } = interruptSignal(() => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0); // the reader has closed the pipe
    throw error;
  });
  const { stop } = options;
  const maxTokens = options.maxTokens ?? model.generation?.maxTokens ?? 256;
  const decoding = { ...samplingOf(model, options), maxTokens, stop, ...(state && { state }), signal };
  const started = performance.now();
  const tokens =
    options.json || options.n > 1 || prompts.length > 1
      ? await printAll(model, prompts, decoding, options)
      : await stream(model, prompts[0]!, decoding);
  release();
  state?.state.dispose();
  if (options.stats) {
    const rate = tokens / ((performance.now() - started) / 1000);
    process.stderr.write(
      `${tokens} tokens, ${formatNumber(rate)} per second, ${model.model.device.info.description}\n`,
    );
  }
  if (signal.aborted) process.exitCode = 130;
}

async function promptsOf(argument: string, { promptFile, promptsFile }: Options): Promise<string[]> {
  const given = [argument !== '', promptFile !== undefined, promptsFile !== undefined].filter(Boolean).length;
  if (given > 1) throw new Error('generate: give one of a prompt, --prompt-file and --prompts-file');
  if (promptsFile !== undefined) {
    const lines = fs
      .readFileSync(promptsFile, 'utf8')
      .split(/\r?\n/)
      .filter((line) => line !== '');
    if (lines.length === 0) throw new Error(`generate: ${promptsFile} has no lines`);
    return lines;
  }
  if (promptFile !== undefined) return [fs.readFileSync(promptFile, 'utf8')];
  return [argument === '-' ? await readStandardInput() : argument];
}

/** What was asked for, over what the model's makers say, over the defaults of this command. */
function samplingOf({ generation }: TextModel, options: Options): SamplingOptions {
  const { temperature, topK, topP, minP, typical, repetitionPenalty, presencePenalty, frequencyPenalty } = options;
  const asked = { temperature, topK, topP, minP, typical, repetitionPenalty, presencePenalty, frequencyPenalty };
  const given = Object.entries(asked).filter(([, value]) => value !== undefined);
  const { seed, logitBias, logprobs } = options;
  const base =
    generation === null || Object.keys(generation.sampling).length === 0 ? DEFAULT_SAMPLING : generation.sampling;
  return { ...base, ...Object.fromEntries(given), seed, logitBias, ...(logprobs !== undefined && { logprobs }) };
}

/** Writes the prompt and what comes after it as it comes. @returns tokens given out */
async function stream(model: TextModel, prompt: string, decoding: GenerateOptions): Promise<number> {
  process.stdout.write(prompt);
  let tokens = 0;
  const onToken = (): void => void tokens++;
  for await (const piece of model.generate(prompt, { ...decoding, onToken })) process.stdout.write(piece);
  process.stdout.write('\n');
  return tokens;
}

/** Writes whole completions, in the order of the prompts. @returns tokens given out */
async function printAll(
  model: TextModel,
  prompts: readonly string[],
  decoding: GenerateOptions,
  { n, json, logprobs }: Options,
): Promise<number> {
  const completions = await model.complete(prompts, { ...decoding, n });
  for (const completion of completions) {
    const prompt = prompts[completion.prompt]!;
    if (json) process.stdout.write(`${JSON.stringify(jsonOf(model, completion, prompt, logprobs !== undefined))}\n`);
    else process.stdout.write(`--- ${completion.prompt + 1}.${completion.index + 1}\n${prompt}${completion.text}\n`);
  }
  return completions.reduce((sum, { tokens }) => sum + tokens.length, 0);
}

function jsonOf({ tokenizer }: TextModel, completion: Completion, prompt: string, withLogprobs: boolean) {
  const { index, text, tokens, finishReason, promptTokens } = completion;
  const named = (token: number) => ({ token, text: tokenizer.decode([token]) });
  const logprobs = tokens.map(({ token, logprob, top }) => ({
    ...named(token),
    logprob,
    top: top.map((one) => ({ ...named(one.token), logprob: one.logprob })),
  }));
  return {
    ...{ prompt, index, text, finishReason, promptTokens, tokens: tokens.map(({ token }) => token) },
    ...(withLogprobs && { logprobs }),
  };
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)).replace(/\n$/, '');
}
