#!/usr/bin/env node
/** @file The command `xlstm`: train, generate, inspect, doctor. Each subcommand is a file beside this one. */
import { Command } from 'commander';
import { packageVersion } from './package-version.js';
import { checkCommand } from './check.js';
import { compareCommand } from './compare.js';
import { convertCommand } from './convert.js';
import { doctorCommand } from './doctor.js';
import { evalCommand } from './eval.js';
import { generateCommand } from './generate.js';
import { inspectCommand } from './inspect.js';
import { logitsCommand } from './logits.js';
import { stateCommand } from './state.js';
import { quantizeCommand } from './quantize.js';
import { reproduceCommand } from './reproduce.js';
import { selftestCommand } from './selftest.js';
import { scalingFitCommand } from './scaling-fit.js';
import { serveCommand } from './serve.js';
import { trainCommand } from './train.js';
import { verifyCommand } from './verify.js';

const program = new Command('xlstm')
  .description('Train, study and run xLSTM language models (arXiv 2405.04517).')
  .version(packageVersion())
  .showHelpAfterError('(add --help for what there is)')
  .addCommand(trainCommand())
  .addCommand(generateCommand())
  .addCommand(stateCommand())
  .addCommand(evalCommand())
  .addCommand(inspectCommand())
  .addCommand(logitsCommand())
  .addCommand(serveCommand())
  .addCommand(verifyCommand())
  .addCommand(checkCommand())
  .addCommand(compareCommand())
  .addCommand(reproduceCommand())
  .addCommand(convertCommand())
  .addCommand(quantizeCommand())
  .addCommand(scalingFitCommand())
  .addCommand(doctorCommand())
  .addCommand(selftestCommand())
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
  await program.parseAsync();
} catch (error) {
  const debug = process.env['XLSTM_DEBUG'] !== undefined && process.env['XLSTM_DEBUG'] !== '';
  process.stderr.write(`xlstm: ${debug && error instanceof Error ? error.stack : (error as Error).message}\n`);
  process.exitCode = 1;
}
