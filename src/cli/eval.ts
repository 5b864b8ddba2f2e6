/** @file `xlstm eval`: how well a model predicts texts: perplexity and bits per byte, by domain, by context length. */
import fs from 'node:fs';
import path from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { isSourceFile, listSourceFiles, textFile, type SourceFile } from '../data/source-files.js';
import {
  type Accuracy,
  readHellaswag,
  readLambada,
  scoreChoices,
  scoreLastWords,
} from '../data/tasks/multiple-choice.js';
import { perplexityByLength } from '../evaluate/context-length.js';
import { ContinuationReader } from '../evaluate/continuation.js';
import { domainScores, listDomains, type Domain } from '../evaluate/domains.js';
import { wholePerplexity, windowPerplexity } from '../evaluate/perplexity.js';
import { writeEvaluation, type Evaluation } from '../evaluate/report.js';
import type { MacroAverage, Score } from '../evaluate/score.js';
import { tokenText, type EvaluateOptions } from '../evaluate/token-text.js';
import { formatBytes, formatNumber } from '../format.js';
import { TextModel } from '../generate/text-model.js';
import { modelFingerprint } from '../model/fingerprint.js';
import { interruptSignal } from './interrupt.js';
import { addModelOptions, loadOptions, type ModelOptions, tellFallback } from './model-options.js';
import { numberFrom } from './options.js';
import { WorkProgress } from './work-progress.js';

interface Options extends ModelOptions {
  text?: string[];
  byDomain?: string;
  window?: number;
  stride?: number;
  lengths?: number[];
  lambada?: string;
  hellaswag?: string;
  limit?: number;
  field: string;
  out?: string;
  json?: boolean;
}

export function evalCommand(): Command {
  const command = new Command('eval')
    .description('Measure how well a model predicts texts: perplexity per token and bits per byte.')
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .option('--text <files...>', 'UTF-8 text, .jsonl or .jsonl.zst files, or folders of them')
    .option('--by-domain <folder>', 'each sub-folder or file of it is a domain')
    .option(
      '--window <n>',
      'read windows of n tokens, each from nothing, instead of carrying the state',
      numberFrom(2, true),
    )
    .option(
      '--stride <n>',
      'tokens by which the window moves; only they are scored (default: half)',
      numberFrom(1, true),
    )
    .option('--lengths <list>', 'also as a function of the context length: 256,1024,4096,16384', wholeNumbers)
    .option('--lambada <file>', 'zero-shot: the last word of each text, .jsonl with "text"')
    .option('--hellaswag <file>', 'zero-shot: the best ending, .jsonl with "ctx", "endings", "label"')
    .option('--limit <n>', 'only the first n items of zero-shot tasks', numberFrom(1, true))
    .option('--field <name>', 'field of a .jsonl record that holds the text', 'text')
    .option('--out <folder>', 'write results.json, report.html and the plots there')
    .option('--json', 'print the results as JSON')
    .addHelpText(
      'after',
      `
Without --window each document is read once and the state carried from its beginning to its end.

Examples:
  xlstm eval runs/sotu --text book.txt
  xlstm eval runs/sotu --text book.txt --window 1024 --stride 512
  xlstm eval runs/sotu --text book.txt --lengths 256,1024,4096 --out evaluation
  xlstm eval runs/sotu --by-domain corpora/
  xlstm eval xlstm-125m --lambada lambada_test.jsonl --hellaswag hellaswag_val.jsonl`,
    )
    .action(evaluateCommand);
  return addModelOptions(command);
}

function wholeNumbers(text: string): number[] {
  return text.split(',').map((part) => {
    if (/^\s*[1-9]\d{0,8}\s*$/.test(part)) return Number(part);
    throw new InvalidArgumentError('It must be whole numbers from 1 with commas between them.');
  });
}

async function evaluateCommand(folder: string, options: Options): Promise<void> {
  const { text = [], byDomain, window, stride, lengths, lambada, hellaswag } = options;
  if (text.length === 0 && [byDomain, lambada, hellaswag].every((given) => given === undefined)) {
    throw new Error('eval: give texts with --text or --by-domain, or a task with --lambada or --hellaswag');
  }
  if (lengths !== undefined && text.length === 0) throw new Error('eval: --lengths needs a text; give it with --text');
  if (stride !== undefined && window === undefined) throw new Error('eval: --stride needs --window');
  const domains = byDomain === undefined ? [] : await listDomains(byDomain);
  const files = await sourcesOf(text);
  using model = await TextModel.load(folder, { ...loadOptions(options), ...tellFallback });
  const { signal, release } = interruptSignal(() => process.stderr.write('\nstopping ...\n'));
  try {
    const found = await evaluate(folder, model, { files, name: text.join(', ') }, domains, options, signal);
    process.stdout.write(options.json ? `${JSON.stringify(found, null, 2)}\n` : describe(found));
    if (options.out !== undefined) {
      const names = await writeEvaluation(options.out, found);
      if (!options.json) process.stdout.write(`${names.join(', ')} in ${options.out}\n`);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    process.exitCode = 130;
  } finally {
    release();
  }
}

/** A file that is given by its name is read as text whatever it is called. */
async function sourcesOf(paths: readonly string[]): Promise<SourceFile[]> {
  const lists = paths.map(async (given) => {
    const isFile = fs.statSync(given, { throwIfNoEntry: false })?.isFile() === true;
    return isFile && !isSourceFile(given) ? [await textFile(given)] : listSourceFiles(given);
  });
  return (await Promise.all(lists)).flat();
}

async function evaluate(
  folder: string,
  { model, tokenizer }: TextModel,
  text: { readonly files: readonly SourceFile[]; readonly name: string },
  domains: readonly Domain[],
  options: Options,
  signal: AbortSignal,
): Promise<Evaluation> {
  const zeroShot = await zeroShotScores(new ContinuationReader(model, tokenizer), options, signal);
  const { window, stride = Math.max(1, (window ?? 0) >> 1), lengths, field } = options;
  const source = (files: readonly SourceFile[]) => tokenText(files, tokenizer, field);
  const score = (files: readonly SourceFile[]): Promise<Score> =>
    watched('reading', files, signal, (watch) =>
      window === undefined
        ? wholePerplexity(model, source(files), watch)
        : windowPerplexity(model, source(files), { window, stride, ...watch }),
    );
  return {
    model: folder,
    fingerprint: await modelFingerprint(model),
    device: `${model.device.name}: ${model.device.info.description}`,
    method:
      window === undefined
        ? 'each document in one pass, the state carried from its beginning to its end'
        : `windows of ${window} tokens, each from nothing, of which the last ${stride} are scored`,
    ...(text.files.length === 0 ? {} : { text: { name: text.name, ...(await score(text.files)) } }),
    ...(domains.length === 0 ? {} : { domains: await domainScores(domains, ({ files }) => score(files)) }),
    ...(lengths === undefined
      ? {}
      : {
          lengths: await watched('reading at each length', text.files, signal, (watch) =>
            perplexityByLength(model, source(text.files), lengths, watch),
          ),
        }),
    ...zeroShot,
  };
}

/** The scores of the tasks that were given. */
async function zeroShotScores(
  reader: ContinuationReader,
  { lambada, hellaswag, limit }: Options,
  signal: AbortSignal,
): Promise<Pick<Evaluation, 'lambada' | 'hellaswag'>> {
  using scorer = reader;
  const score = (context: string, continuation: string) => scorer.score(context, continuation);
  async function run<Item, Found>(
    file: string,
    read: (file: string) => Item[],
    scoring: (items: readonly Item[], by: typeof score, options: object) => Promise<Found>,
  ): Promise<Found & { name: string }> {
    const items = read(file).slice(0, limit);
    using progress = new WorkProgress(`answering ${path.basename(file)}`);
    const onItem = (done: number): void => progress.update(done / items.length);
    return { name: file, ...(await scoring(items, score, { signal, onItem })) };
  }
  return {
    ...(lambada === undefined ? {} : { lambada: await run(lambada, readLambada, scoreLastWords) }),
    ...(hellaswag === undefined ? {} : { hellaswag: await run(hellaswag, readHellaswag, scoreChoices) }),
  };
}

/** Shows how far the reading of files has come. */
async function watched<T>(
  what: string,
  files: readonly SourceFile[],
  signal: AbortSignal,
  work: (options: EvaluateOptions) => Promise<T>,
): Promise<T> {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const names = files.length === 1 ? path.basename(files[0]!.path) : `${files.length} files`;
  using progress = new WorkProgress(`${what} ${names}`);
  let bytes = 0;
  let tokens = 0;
  return await work({
    signal,
    onProgress: (some) => {
      bytes += some.bytes;
      tokens += some.tokens;
      progress.update(bytes / total, tokens);
    },
  });
}

// ---- text for people -----------------------------------------------------------------------------------------------

const measures = ({ perplexity, bitsPerByte, loss }: MacroAverage): string =>
  `perplexity ${formatNumber(perplexity)}  bits/byte ${formatNumber(bitsPerByte)}  loss ${formatNumber(loss)}`;

const share = ({ accuracy, standardError }: Accuracy): string =>
  `${(100 * accuracy).toFixed(2)} % +- ${(100 * standardError).toFixed(2)}`;

function describe({ method, text, domains, lengths, lambada, hellaswag }: Evaluation): string {
  const lines: string[] = [];
  if (text !== undefined || domains !== undefined) lines.push(method);
  if (text !== undefined) {
    lines.push(
      text.name,
      `  ${measures(text)}`,
      `  ${text.predicted.toLocaleString('en-US')} of ${text.tokens.toLocaleString('en-US')} tokens predicted, ` +
        `${formatBytes(text.bytes)}, ${text.documents === 1 ? 'one document' : `${text.documents} documents`}`,
    );
  }
  if (domains !== undefined) {
    const width = Math.max(5, ...domains.domains.map(({ name }) => name.length));
    const row = (name: string, score: MacroAverage): string => `  ${name.padEnd(width)}  ${measures(score)}`;
    lines.push(
      'by domain',
      ...domains.domains.map((score) => `${row(score.name, score)}  ${score.predicted.toLocaleString('en-US')} tokens`),
      `${row('macro', domains.macro)}  each domain counts the same`,
      `${row('micro', domains.micro)}  each token counts the same`,
    );
  }
  if (lengths !== undefined) {
    const { predicted } = lengths.lengths[0]!;
    lines.push(
      `by context length, over the same ${predicted.toLocaleString('en-US')} tokens`,
      ...lengths.lengths.map((score) => `  ${String(score.length).padStart(7)}  ${measures(score)}`),
    );
  }
  if (lambada !== undefined) {
    const { name, items, perplexity } = lambada;
    lines.push(
      `${name}, the last word of ${items.toLocaleString('en-US')} texts`,
      `  accuracy ${share(lambada)}  perplexity of the word ${formatNumber(perplexity)}`,
    );
  }
  if (hellaswag !== undefined) {
    const { name, items, sum, perByte } = hellaswag;
    lines.push(
      `${name}, the ending of ${items.toLocaleString('en-US')} texts`,
      `  accuracy ${share(sum)}  by log p per byte ${share(perByte)}`,
    );
  }
  return `${lines.join('\n')}\n`;
}
