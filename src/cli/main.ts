#!/usr/bin/env node
/** @file The command `xlstm`: train, generate, inspect, doctor. Each subcommand is a file beside this one. */
import { Command } from 'commander';
import { packageVersion } from '../package-version.js';

/** Subcommands, in the order of the help. A module and all that it needs take longer to load than a short command to run. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  train: async () => (await import('./train.js')).trainCommand(),
  generate: async () => (await import('./generate.js')).generateCommand(),
  state: async () => (await import('./state.js')).stateCommand(),
  eval: async () => (await import('./eval.js')).evalCommand(),
  inspect: async () => (await import('./inspect.js')).inspectCommand(),
  logits: async () => (await import('./logits.js')).logitsCommand(),
  serve: async () => (await import('./serve.js')).serveCommand(),
  verify: async () => (await import('./verify.js')).verifyCommand(),
  check: async () => (await import('./check.js')).checkCommand(),
  compare: async () => (await import('./compare.js')).compareCommand(),
  reproduce: async () => (await import('./reproduce.js')).reproduceCommand(),
  convert: async () => (await import('./convert.js')).convertCommand(),
  quantize: async () => (await import('./quantize.js')).quantizeCommand(),
  export: async () => (await import('./export.js')).exportCommand(),
  'scaling-fit': async () => (await import('./scaling-fit.js')).scalingFitCommand(),
  doctor: async () => (await import('./doctor.js')).doctorCommand(),
  selftest: async () => (await import('./selftest.js')).selftestCommand(),
};

/** The subcommand that is asked for; all of them where none is, for the help and for what is said of a wrong name. */
async function subcommands(): Promise<Command[]> {
  const asked = process.argv[2];
  const loaders = asked !== undefined && Object.hasOwn(COMMANDS, asked) ? [COMMANDS[asked]!] : Object.values(COMMANDS);
  return Promise.all(loaders.map((load) => load()));
}

const program = new Command('xlstm')
  .description('Train, study and run xLSTM language models (arXiv 2405.04517).')
  .version(packageVersion())
  .showHelpAfterError('(add --help for what there is)')
  .addHelpText(
    'after',
    `
Examples:
  xlstm train book.txt                      train a small model on a text, into runs/<date>
  xlstm generate runs/2026-01-31-1200 "Once upon a time"
  xlstm inspect runs/2026-01-31-1200        what it is and what it was trained on
  xlstm doctor                              which devices work here

Errors are one sentence; set XLSTM_DEBUG=1 for the stack.`,
  );

try {
  for (const command of await subcommands()) program.addCommand(command);
  await program.parseAsync();
} catch (error) {
  const debug = process.env['XLSTM_DEBUG'] !== undefined && process.env['XLSTM_DEBUG'] !== '';
  process.stderr.write(`xlstm: ${debug && error instanceof Error ? error.stack : (error as Error).message}\n`);
  process.exitCode = 1;
}
