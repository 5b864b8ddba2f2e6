/** @file `xlstm export`: a model as one HTML file that generates offline. */
import fs from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import type { KernelName } from '../device/kernels.js';
import { ABSENT } from '../device/webgpu/absent.js';
import { formatBytes, formatCount } from '../format.js';
import { offlinePage, type OfflinePage } from '../generate/offline-page.js';
import { DEFAULT_SAMPLING } from '../generate/sampling-options.js';
import { TextModel } from '../generate/text-model.js';
import { writeFileWhole } from '../model/disk.js';
import { kernelsOf } from '../model/kernels-of.js';
import { heldModelFiles } from '../model/model-files.js';
import { addModelOptions, loadOptions, tellFallback, type ModelOptions } from './model-options.js';

interface Options extends ModelOptions {
  html: string;
  title?: string;
  prompt: string;
}

export function exportCommand(): Command {
  const command = new Command('export')
    .description(
      'Write a model as one HTML file that generates offline: opened from disk, on the GPU, nothing installed.',
    )
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .requiredOption('--html <file>', 'the file to write')
    .option('--title <text>', 'heading of the page (default: the name of the model)')
    .option('--prompt <text>', 'what stands in the field of the prompt', '');
  return addModelOptions(command)
    .addHelpText(
      'after',
      `
The page has everything in it: the weights, as --weights says, the tokenizer and the program. It needs a browser with
WebGPU; without one a small model runs slowly.

Examples:
  xlstm export runs/sotu --html sotu.html --prompt "My fellow citizens"
  xlstm export runs/sotu --html sotu.html --weights int8`,
    )
    .action(exportModel);
}

async function exportModel(folder: string, options: Options): Promise<void> {
  const { html: file } = options;
  using text = await TextModel.load(folder, { ...loadOptions(options), ...tellFallback });
  const lacking = [...kernelsOf(text.model.config, { training: false })].filter((name) => name in ABSENT);
  if (lacking.length > 0) throw new Error(`export: ${folder}: ${lackingSentence(lacking)}`);
  const page = await pageOf(text, path.basename(path.resolve(folder)), options);
  writeFileWhole(file, offlinePage(page), 'the page');
  const { length } = page.files['model.safetensors'];
  process.stdout.write(`${file}: ${formatBytes(fs.statSync(file).size)}, ${formatBytes(length)} of weights\n`);
}

const lackingSentence = (lacking: readonly KernelName[]): string =>
  `a page cannot run it: the webgpu device has no ${lacking.join(', ')} yet; pages run models of mLSTM, sLSTM and LSTM blocks`;

async function pageOf(text: TextModel, name: string, { title = name, prompt }: Options): Promise<OfflinePage> {
  const { model, tokenizer, facts, generation } = text;
  const { blocks, dim } = model.config;
  const kinds = [...new Set(blocks)].map((kind) => `${blocks.filter((one) => one === kind).length} ${kind}`);
  const sampling =
    generation === null || Object.keys(generation.sampling).length === 0 ? DEFAULT_SAMPLING : generation.sampling;
  return {
    title,
    about: `xLSTM, ${kinds.join(' and ')} blocks of width ${dim}, ${formatCount(model.parameterCount)} parameters`,
    prompt,
    files: await heldModelFiles(model, facts),
    model: {
      tokenizer: tokenizer.files(),
      parameters: model.parameterCount,
      stopTokens: text.stopTokens,
      sampling,
      maxTokens: generation?.maxTokens ?? 256,
    },
  };
}
