/** @file `xlstm inspect`: what a model is: blocks, parameters by part, bytes of its state, what it was trained on. */
import fs from 'node:fs';
import { Command } from 'commander';
import { formatName } from '../device/packing.js';
import { formatBytes, formatCount } from '../format.js';
import { countParameters, type ParameterTable } from '../layers/parameter.js';
import { Backbone } from '../model/backbone.js';
import { countByPart, parameterTable } from '../model/language-model.js';
import { openModelSource } from '../model/formats/open.js';
import type { ModelSource, ParameterSource } from '../model/formats/source.js';
import { checkpointSteps, resolveModelFolder } from '../train/run-folder.js';

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('Print what a model is: blocks, parameters by part, bytes of its state, what it was trained on.')
    .argument('<model>', 'a run, a checkpoint, or a model folder')
    .option('--parameters', 'list every parameter with its shape')
    .option('--json', 'print as JSON')
    .action(inspect);
}

function inspect(path: string, options: { parameters?: boolean; json?: boolean }): void {
  const folder = resolveModelFolder(path);
  using source = openModelSource(folder);
  const table = parameterTable(source.config);
  const summary = summarise(path, source, table);
  if (options.json) {
    process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`);
    return;
  }
  const lines = summaryLines(summary);
  if (options.parameters) {
    lines.push('', 'parameters');
    for (const [name, { shape, decay }] of Object.entries(table)) {
      lines.push(`  ${name.padEnd(44)} [${shape.join(',')}]${decay ? '' : '  no decay'}`);
    }
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** Length of the sequence that operations are counted over, which matters to attention alone. */
const STEPS = 1024;

function summarise(path: string, { folder, format, config, facts, parameters }: ModelSource, table: ParameterTable) {
  const backbone = new Backbone(config);
  const state = backbone.stateSize;
  return {
    folder,
    bytes: fs.readdirSync(folder).reduce((total, file) => total + fs.statSync(`${folder}/${file}`).size, 0),
    checkpoints: folder === path ? [] : checkpointSteps(path),
    format,
    storage: [...new Set([...parameters.values()].map(storageName))].sort(),
    model: config,
    parameters: { total: countParameters(table), parts: countByPart(table) },
    state: { floats: state, bytesPerSequence: 4 * state },
    flopsPerToken: { steps: STEPS, forward: backbone.flopsPerToken(STEPS) },
    training: facts.training,
  };
}

/** "F32", or "int4 in groups of 32". */
const storageName = ({ dtype, packing }: ParameterSource): string =>
  packing === null ? dtype : `${formatName(packing.format)} in groups of ${packing.group}`;

function summaryLines(summary: ReturnType<typeof summarise>): string[] {
  const { parameters, state, model, format, storage } = summary;
  const lines = [
    summary.folder,
    `  xLSTM, ${model.blocks.length} blocks (${model.blocks.join(' ')}), width ${model.dim}, vocabulary ${model.vocabSize}`,
    `  ${formatCount(parameters.total)} parameters, ${formatBytes(summary.bytes)} on disk (${format}: ${storage.join(', ')})`,
    `  state: ${formatBytes(state.bytesPerSequence)} per sequence in float32, whatever its length`,
    '',
    'parameters by part',
    ...Object.entries(parameters.parts).map(([part, count]) => {
      const block = /^blocks\.(\d+)$/.exec(part);
      const kind = block === null ? '' : ` ${model.blocks[Number(block[1])]}`;
      const share = ((100 * count) / parameters.total).toFixed(1);
      return `  ${(part + kind).padEnd(20)} ${formatCount(count).padStart(10)}  ${share.padStart(5)} %`;
    }),
  ];
  if (Object.keys(summary.training).length > 0) {
    lines.push(
      '',
      'trained on',
      ...Object.entries(summary.training).map(([name, value]) => `  ${name}: ${show(value)}`),
    );
  }
  if (summary.checkpoints.length > 0) lines.push('', `checkpoints: ${summary.checkpoints.join(', ')}`);
  return lines;
}

const show = (value: unknown): string =>
  Array.isArray(value) ? value.map(show).join(', ') : typeof value === 'object' ? JSON.stringify(value) : String(value);
