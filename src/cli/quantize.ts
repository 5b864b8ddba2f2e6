/** @file `xlstm quantize`: writes a model with its matrices in int8 or int4, and says what it loses by that. */
import fs from 'node:fs';
import { Command, Option } from 'commander';
import { textFile } from '../data/source-files.js';
import { openDevice, type DeviceChoice } from '../device/open.js';
import type { Device } from '../device/device.js';
import { wholePerplexity } from '../evaluate/perplexity.js';
import type { Score } from '../evaluate/score.js';
import { tokenText } from '../evaluate/token-text.js';
import { formatBytes, formatNumber } from '../format.js';
import { copyGenerationConfig } from '../generate/generation-config.js';
import { loadModel } from '../model/checkpoint.js';
import { openModelSource } from '../model/formats/open.js';
import { quantizeModel } from '../model/quantize.js';
import { loadTokenizer } from '../tokens/load.js';
import { copyTokenizerFiles } from '../tokens/tokenizer-files.js';
import { writeFolderAtomically } from '../train/atomic-folder.js';
import { resolveModelFolder } from '../train/run-folder.js';
import { interruptSignal } from './interrupt.js';
import { deviceOption, numberFrom, sourceBackendOption, threadsOption } from './options.js';
import { WorkProgress } from './work-progress.js';

interface Options {
  bits: '8' | '4';
  group?: number;
  text?: string;
  sourceBackend?: 'vanilla' | 'cuda';
  json?: boolean;
  device: DeviceChoice;
  threads?: number;
}

export function quantizeCommand(): Command {
  return new Command('quantize')
    .description(
      'Write a model with its matrices in 8 or 4 bits: a folder that opens in place and runs everywhere here.',
    )
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .argument('<out>', 'the folder to write')
    .addOption(new Option('--bits <n>', 'bits per element').choices(['8', '4']).default('8'))
    .option(
      '--group <n>',
      'elements that share a scale, a multiple of 16, or 0 for one scale per row of 8 bits (default: 64 and 32)',
      numberFrom(0, true),
    )
    .option('--text <file>', 'print the perplexity on this text before and after')
    .option('--json', 'print the result as JSON')
    .addOption(sourceBackendOption())
    .addOption(deviceOption())
    .addOption(threadsOption())
    .addHelpText(
      'after',
      `
With 4 bits the embedding and the output layer take 8. Norms, biases, gates and convolutions stay as they are.

Example:
  xlstm quantize runs/sotu sotu-int4 --bits 4 --text book.txt`,
    )
    .action(quantize);
}

async function quantize(path: string, out: string, options: Options): Promise<void> {
  const { bits, group, text, sourceBackend, json, threads } = options;
  if (fs.existsSync(out)) throw new Error(`quantize: ${out} exists already; give a folder that is not there yet`);
  const folder = resolveModelFolder(path);
  const device = await openDevice(options.device, threads === undefined ? {} : { threads });
  const { signal, release } = interruptSignal(() => process.stderr.write('\nstopping ...\n'));
  const measure = (model: string) => (text === undefined ? null : perplexityOf(model, text, device, signal, options));
  const before = await measure(folder);

  using source = openModelSource(folder, sourceBackend && { sourceBackend });
  const from = [...source.parameters.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  let to = 0;
  await writeFolderAtomically(
    out,
    async (unfinished) => {
      using progress = new WorkProgress(`writing ${out}`);
      const onProgress = (share: number): void => {
        signal.throwIfAborted();
        progress.update(share);
      };
      const packing = { bits: Number(bits) as 8 | 4, ...(group !== undefined && { group }), onProgress };
      to = await quantizeModel(source, unfinished, device, packing);
      copyTokenizerFiles(folder, unfinished);
      copyGenerationConfig(folder, unfinished);
    },
    'the model',
  );
  const after = await measure(out);
  release();
  report({ out, bits: Number(bits), bytes: { before: from, after: to }, before, after }, json === true);
}

/** Perplexity of a model on a text, read in one pass. */
async function perplexityOf(
  folder: string,
  text: string,
  device: Device,
  signal: AbortSignal,
  { sourceBackend }: Options,
): Promise<Score> {
  const loading = { trainable: false, ...(sourceBackend && { sourceBackend }) };
  using model = loadModel(folder, device, loading).model;
  const file = await textFile(text);
  using progress = new WorkProgress(`reading ${text} with ${folder}`);
  let bytes = 0;
  let tokens = 0;
  const onProgress = (done: { bytes: number; tokens: number }): void => {
    progress.update((bytes += done.bytes) / file.bytes, (tokens += done.tokens));
  };
  const tokenizer = await loadTokenizer(folder);
  return await wholePerplexity(model, tokenText([file], tokenizer), { signal, onProgress }); // before the model is gone
}

interface Result {
  readonly out: string;
  readonly bits: number;
  readonly bytes: { readonly before: number; readonly after: number };
  readonly before: Score | null;
  readonly after: Score | null;
}

function report(result: Result, json: boolean): void {
  const { out, bits, bytes, before, after } = result;
  if (json) {
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  const lines = [`${out}: ${bits} bits, ${formatBytes(bytes.before)} -> ${formatBytes(bytes.after)}`];
  if (before !== null && after !== null) {
    lines.push(
      `perplexity    ${formatNumber(before.perplexity)} -> ${formatNumber(after.perplexity)}` +
        ` (${formatNumber(100 * (after.perplexity / before.perplexity - 1), 3)} % more)`,
      `bits per byte ${formatNumber(before.bitsPerByte)} -> ${formatNumber(after.bitsPerByte)}`,
    );
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}
