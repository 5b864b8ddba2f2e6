/** @file `xlstm verify`: whether a model folder is whole: names, shapes, types, every value. */
import fs from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import { openDevice, type DeviceChoice } from '../device/open.js';
import { formatCount, formatNumber } from '../format.js';
import { openModelSource } from '../model/formats/open.js';
import { verifyModel, type ParameterReport, type VerifyReport } from '../model/verify.js';
import { loadTokenizer } from '../tokens/load.js';
import { resolveModelFolder } from '../train/run-folder.js';
import { interruptSignal } from './interrupt.js';
import { deviceOption, sourceBackendOption } from './options.js';
import { WorkProgress } from './work-progress.js';

interface Options {
  json?: boolean;
  device: DeviceChoice;
  sourceBackend?: 'vanilla' | 'cuda';
}

export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      'Check a model folder: names, shapes, types, values that are not finite, and how large the values are.',
    )
    .argument('<model>', 'a run (its best checkpoint), a checkpoint, or a model folder of any layout')
    .option('--json', 'print the result as JSON')
    .addOption(sourceBackendOption())
    .addOption(deviceOption())
    .addHelpText('after', '\nEnds with exit code 1 where something is wrong.\n\nExample:\n  xlstm verify runs/sotu')
    .action(verify);
}

async function verify(input: string, { json, device, sourceBackend }: Options): Promise<void> {
  const folder = resolveModelFolder(input);
  using source = openModelSource(folder, sourceBackend && { sourceBackend });
  const { signal, release } = interruptSignal(() => process.stderr.write('\nstopping ...\n'));
  let report: VerifyReport;
  {
    using progress = new WorkProgress(`reading ${path.basename(folder)}`);
    const onProgress = (share: number): void => {
      signal.throwIfAborted();
      progress.update(share);
    };
    report = await verifyModel(source, await openDevice(device), { onProgress });
  }
  release();
  const problems = [
    ...report.problems,
    ...(await tokenizerProblems(folder, source.config.vocabSize, source.facts.tokenizer)),
  ];
  if (json) {
    const finite = (_: string, value: unknown) => (typeof value === 'number' && Number.isNaN(value) ? null : value);
    process.stdout.write(`${JSON.stringify({ folder, format: source.format, ...report, problems }, finite, 2)}\n`);
  } else {
    process.stdout.write(
      `${[...table(report.parameters), ...report.warnings.map((text) => `unusual: ${text}`)].join('\n')}\n`,
    );
    const values = report.parameters.reduce((sum, { count }) => sum + count, 0);
    const outcome =
      problems.length === 0 ? 'whole' : `${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`;
    process.stdout.write(
      `${folder}: ${source.format}, ${report.parameters.length} tensors, ${formatCount(values)} values: ${outcome}\n`,
    );
  }
  for (const problem of problems) process.stderr.write(`xlstm: ${problem}\n`);
  if (problems.length > 0) process.exitCode = 1;
}

/** What is wrong between a tokenizer beside the model, if there is one, and the model. */
async function tokenizerProblems(folder: string, vocabSize: number, fingerprint: string | null): Promise<string[]> {
  if (!fs.existsSync(path.join(folder, 'tokenizer.json'))) {
    return fingerprint === null ? [] : ['tokenizer.json: is missing; the model was trained with one'];
  }
  try {
    const tokenizer = await loadTokenizer(folder);
    if (tokenizer.vocabSize > vocabSize) {
      return [`tokenizer.json: has ${tokenizer.vocabSize} tokens, the model ${vocabSize}`];
    }
    const same = fingerprint === null || tokenizer.fingerprint() === fingerprint;
    return same ? [] : ['tokenizer.json: is not the one that the model was trained with'];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** The tensors as aligned lines. */
function table(parameters: readonly ParameterReport[]): string[] {
  const rows = parameters.map(({ name, shape, dtype, rms, min, max, zeros, count }) => [
    name,
    `[${shape.join(',')}]`,
    dtype,
    formatNumber(rms),
    formatNumber(min),
    formatNumber(max),
    `${((100 * zeros) / Math.max(1, count)).toFixed(1)} %`,
  ]);
  const all = [['tensor', 'shape', 'type', 'rms', 'min', 'max', 'zeros'], ...rows];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  return all.map((row) =>
    row.map((cell, column) => (column < 3 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  '),
  );
}
