/** @file `xlstm reproduce`: carries out an experiment of the paper that comes with the package, and prints published beside measured. */
import { Command, Option } from 'commander';
import { besidePublished, formatBeside } from '../experiments/report/beside.js';
import { loadComparison } from '../experiments/report/comparison.js';
import { experimentFile, shippedExperiments } from '../experiments/shipped.js';
import { columns } from '../experiments/summary.js';
import { addCompareOptions, carryOutOrShow, openComparison, type CompareCommandOptions } from './compare.js';

interface Options extends CompareCommandOptions {
  preset?: string;
  small?: boolean;
  paper?: boolean;
}

export function reproduceCommand(): Command {
  const command = new Command('reproduce')
    .description('Carry out an experiment of the paper, and print published numbers beside measured ones.')
    .argument('[name]', 'an experiment that comes with the package; without it they are listed')
    .addOption(new Option('--small', 'small models and few steps (default)').conflicts('paper'))
    .option('--paper', 'the published settings: days on one machine')
    .addOption(new Option('--preset <name>', 'other settings that the experiment has').conflicts(['small', 'paper']))
    .addHelpText(
      'after',
      `
All of xlstm compare holds here: a run is done once, and the same command goes on where it was stopped. Small settings show
which way a result goes, not its published value.

Examples:
  xlstm reproduce
  xlstm reproduce formal-languages --jobs 2
  xlstm reproduce formal-languages --paper --list
  xlstm reproduce recall --preset paper-2 --list`,
    )
    .action(reproduce);
  return addCompareOptions(command);
}

async function reproduce(name: string | undefined, options: Options): Promise<void> {
  if (name === undefined) {
    const all = shippedExperiments().map(({ name: own, title, presets }) => [own, title, presets.join(', ')]);
    process.stdout.write(columns(all));
    return;
  }
  const preset = options.preset ?? (options.paper ? 'paper' : 'small');
  const file = experimentFile(name, preset);
  const folder = preset === 'small' ? `runs/${name}` : `runs/${name}-${preset}`;
  const comparison = await openComparison(file, folder, options);
  const command = `xlstm reproduce ${name}${preset === 'small' ? '' : ` --preset ${preset}`}`;
  const summary = await carryOutOrShow(comparison, options, command);
  if (summary === null || summary.report === null) return;
  const beside = besidePublished(loadComparison(comparison.folder).cells);
  const text = beside.length === 0 ? 'no published table has two of these models\n' : formatBeside(beside);
  process.stdout.write(`\n${text}`);
}
