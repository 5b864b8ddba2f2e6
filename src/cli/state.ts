/** @file `xlstm state`: saves what a model has in mind after a text, and shows what a state file holds. */
import fs from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import { textFile } from '../data/source-files.js';
import { formatBytes, formatCount, formatDuration } from '../format.js';
import { Session } from '../generate/decode.js';
import { readFiles } from '../generate/read-files.js';
import { loadSession, saveSession } from '../generate/session-file.js';
import { TextModel } from '../generate/text-model.js';
import { readStateInfo } from '../model/state-file.js';
import { shortFingerprint } from '../model/fingerprint.js';
import { interruptSignal } from './interrupt.js';
import { addModelOptions, loadOptions, type ModelOptions } from './model-options.js';
import { WorkProgress } from './work-progress.js';

interface SaveOptions extends ModelOptions {
  promptFile?: string;
  prompt?: string;
  state?: string;
  output: string;
}

export function stateCommand(): Command {
  const save = new Command('save')
    .description('Read a text and save the state of the model after it, to go on from later without reading it again.')
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder')
    .option('--prompt-file <file>', 'the text, UTF-8, of any length')
    .option('--prompt <text>', 'text after that of the file, or instead of it')
    .option('--state <file>', 'go on from this state instead of from nothing')
    .requiredOption('-o, --output <file>', 'the state file to write')
    .addHelpText(
      'after',
      '\nExample:\n  xlstm state save runs/sotu --prompt-file book.txt -o book.state\n  xlstm generate runs/sotu --state book.state " And then"',
    )
    .action(saveCommand);
  const show = new Command('show')
    .description('Print what a state file holds.')
    .argument('<file>', 'a file that `xlstm state save` wrote')
    .option('--json', 'print as JSON')
    .action(showCommand);
  return new Command('state')
    .description('Save the state of a model after a text, or show a saved one.')
    .addCommand(addModelOptions(save))
    .addCommand(show);
}

async function saveCommand(folder: string, options: SaveOptions): Promise<void> {
  const { promptFile, prompt = '', state, output } = options;
  if (promptFile === undefined && prompt === '') {
    throw new Error('state save: give the text to read with --prompt-file or --prompt');
  }
  const file = promptFile === undefined ? null : await textFile(promptFile);
  using text = await TextModel.load(folder, loadOptions(options));
  using session = state === undefined ? new Session(text.model) : await loadSession(state, text.model);
  const { signal, release } = interruptSignal(() => process.stderr.write('\nstopping ...\n'));
  const started = performance.now();
  const before = session.position;
  if (file !== null) {
    using progress = new WorkProgress(`reading ${path.basename(file.path)}`);
    const onProgress = ({ bytes, tokens }: { bytes: number; tokens: number }) =>
      progress.update(bytes / file.bytes, tokens);
    await readFiles(session, text.tokenizer, [file], { onProgress, signal });
  }
  await session.read(text.tokenizer.encode(prompt), signal);
  release();
  if (signal.aborted) {
    process.stderr.write(`stopped after ${session.position - before} tokens; no state was saved\n`);
    process.exitCode = 130;
    return;
  }
  await saveSession(output, session);
  const tokens = session.position - before;
  const seconds = (performance.now() - started) / 1000;
  process.stdout.write(
    `${output}: ${formatCount(tokens)} tokens read in ${formatDuration(seconds)} (${formatCount(tokens / seconds)} per second), ` +
      `${formatBytes(fs.statSync(output).size)}\n` +
      `  go on with: xlstm generate ${folder} --state ${output} "your prompt"\n`,
  );
}

function showCommand(file: string, options: { json?: boolean }): void {
  const { tensors, ...info } = readStateInfo(file);
  const bytes = fs.statSync(file).size;
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ...info, bytes, tensors: Object.fromEntries(tensors) }, null, 2)}\n`);
    return;
  }
  const blocks = new Map<string, string[]>();
  for (const [name, shape] of tensors) {
    const [, block, kind] = /^(blocks\.\d+)\.(.*)$/.exec(name) ?? ['', name, ''];
    blocks.set(block, [...(blocks.get(block) ?? []), `${kind} [${shape.join(',')}]`]);
  }
  const ordered = [...blocks].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
  const lines = [
    file,
    `  model ${shortFingerprint(info.model)}, ${info.tokens.toLocaleString('en-US')} tokens read`,
    `  ${info.sequences === 1 ? 'one sequence' : `${info.sequences} sequences`}, ${info.precision}, ${formatBytes(bytes)}` +
      (info.hasLogits ? ', with the logits of the next token' : ''),
    ...ordered.map(([block, list]) => `  ${block.padEnd(10)} ${list.join('  ')}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
