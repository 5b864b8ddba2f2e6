/** @file `xlstm logits`: what a model computes for given tokens, printed or written, to compare it with another program. */
import { Command } from 'commander';
import { openProven } from '../device/open-proven.js';
import { logitsOf, topTokens, writeLogits } from '../evaluate/logits.js';
import { checkTokens, parseTokens, readTokensFile } from '../evaluate/token-input.js';
import { kernelsOfFolder, loadModel } from '../model/checkpoint.js';
import type { LanguageModel } from '../model/language-model.js';
import { resolveModelFolder } from '../train/run-folder.js';
import { interruptSignal } from './interrupt.js';
import { addModelOptions, loadOptions, type ModelOptions, tellFallback } from './model-options.js';
import { numberFrom } from './options.js';
import { WorkProgress } from './work-progress.js';

interface Options extends ModelOptions {
  tokens?: string;
  tokensFile?: string;
  step?: boolean;
  out?: string;
  json?: boolean;
  top: number;
}

export function logitsCommand(): Command {
  const command = new Command('logits')
    .description('Print or write the logits of given tokens. Needs no tokenizer.')
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .option('--tokens <ids>', 'token ids: 1,2,3')
    .option('--tokens-file <file>', 'text with a sequence of ids a line, or safetensors with a tensor "tokens" [B,T]')
    .option('--step', 'use the step form, one token after the other, instead of the form over sequences')
    .option('--top <k>', 'print the k most probable tokens after each', numberFrom(1, true), 5)
    .option('--json', 'print all logits as JSON: sequences, tokens, vocabulary')
    .option('--out <file>', 'write the float32 tensor "logits" [B,T,V] to a safetensors file instead')
    .addHelpText(
      'after',
      '\nExamples:\n  xlstm logits runs/sotu --tokens 70,111,117,114\n  xlstm logits runs/sotu --tokens-file ids.txt --out logits.safetensors',
    )
    .action(printLogits);
  return addModelOptions(command);
}

async function printLogits(path: string, options: Options): Promise<void> {
  const { tokens, tokensFile, step = false, out, json, top } = options;
  if ((tokens === undefined) === (tokensFile === undefined)) {
    throw new Error('logits: give either --tokens 1,2,3 or --tokens-file FILE');
  }
  const sequences = tokens === undefined ? readTokensFile(tokensFile!) : parseTokens(tokens, '--tokens');
  const loading = loadOptions(options);
  const folder = resolveModelFolder(path);
  const device = await openProven(loading.device, {
    ...loading,
    ...tellFallback,
    needs: () => kernelsOfFolder(folder, loading),
  });
  using model = loadModel(folder, device, loading).model;
  checkTokens(sequences, model.config.vocabSize);
  const { signal, release } = interruptSignal(() => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0); // the reader has seen enough
    throw error;
  });
  const total = sequences.reduce((sum, { length }) => sum + length, 0);
  let done = 0;
  try {
    if (out !== undefined) {
      using progress = new WorkProgress(`writing ${out}`);
      const onTokens = (count: number): void => progress.update((done += count) / total, done);
      await writeLogits(out, model, sequences, { step, signal, onTokens });
      const shape = [sequences.length, sequences[0]!.length, model.config.vocabSize];
      process.stdout.write(`${out}: logits [${shape.join(',')}]\n`);
    } else if (json) {
      await printJson(model, sequences, step, signal);
    } else {
      await printTop(model, sequences, step, signal, top);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    process.exitCode = 130;
  } finally {
    release();
  }
}

/** A line per token: its position, the token, and the most probable next ones with their logits. */
async function printTop(
  model: LanguageModel,
  sequences: readonly Int32Array[],
  step: boolean,
  signal: AbortSignal,
  top: number,
): Promise<void> {
  const V = model.config.vocabSize;
  for (const [row, tokens] of sequences.entries()) {
    if (sequences.length > 1) process.stdout.write(`sequence ${row}\n`);
    for await (const { start, logits } of logitsOf(model, tokens, { step, signal })) {
      for (let k = 0; k < logits.length / V; k++) {
        const best = topTokens(logits.subarray(k * V, (k + 1) * V), top);
        const next = best.map(({ token, logit }) => `${token} (${logit.toFixed(6)})`).join('  ');
        await print(`${String(start + k).padStart(6)}  ${String(tokens[start + k]).padStart(6)} -> ${next}\n`);
      }
    }
  }
}

async function printJson(
  model: LanguageModel,
  sequences: readonly Int32Array[],
  step: boolean,
  signal: AbortSignal,
): Promise<void> {
  const V = model.config.vocabSize;
  await print('{"logits":[');
  for (const [row, tokens] of sequences.entries()) {
    await print(row === 0 ? '[' : ',[');
    for await (const { start, logits } of logitsOf(model, tokens, { step, signal })) {
      for (let k = 0; k < logits.length / V; k++) {
        // Nine digits give every float32 back exactly.
        const values = Array.from(logits.subarray(k * V, (k + 1) * V), (value) => Number(value.toPrecision(9)));
        await print(`${start + k === 0 ? '' : ','}${JSON.stringify(values)}`);
      }
    }
    await print(']');
  }
  await print(']}\n');
}

/** Waits where the reader is slower, so that the text does not pile up in memory. */
const print = (text: string): Promise<void> | void =>
  process.stdout.write(text) ? undefined : new Promise((resolve) => process.stdout.once('drain', resolve));
