/** @file `xlstm check`: puts a mixer of one's own, or one of the library's, through what every mixer must hold. */
import { Command } from 'commander';
import type { Device, DeviceName } from '../device/device.js';
import { surveyDevices, type DeviceReport } from '../device/open.js';
import { checkMixer, passes, type MixerCheck } from '../experiments/check-mixer.js';
import { loadMixerFile } from '../experiments/mixer-file.js';
import { formatBytes, formatCount, formatNumber } from '../format.js';
import { countParameters } from '../layers/parameter.js';
import type { MixerDefinition } from '../mixers/definition.js';
import { stateSize } from '../mixers/mixer.js';
import { findMixer, mixerNames } from '../mixers/registry.js';
import { placeOf } from '../model/block.js';
import { checkConfig, suggestion } from '../model/check-config.js';
import { modelConfigSchema } from '../model/config.js';
import { numberFrom } from './options.js';
import { applySetting } from './settings.js';

/** Those that have every kernel. */
const CHECKED: readonly DeviceName[] = ['reference', 'cpu'];

/** Length of the sequence that operations are counted over. */
const STEPS = 1024;

interface Options {
  dim: number;
  set: string[];
  seed: number;
  json?: boolean;
}

export function checkCommand(): Command {
  return new Command('check')
    .description('Check a sequence mixer: gradients, steps = sequence, causality, packed documents.')
    .argument('<mixer>', 'a .ts, .mts, .js or .mjs file with a mixer as its default export, or a name of the library')
    .option('--dim <n>', 'width', numberFrom(1, true), 32)
    .option('--set <option=value...>', 'set an option of the mixer, e.g. --set heads=2', [])
    .option('--seed <n>', 'decides inputs, parameters and cuts', numberFrom(0, true), 0)
    .option('--json', 'print the checks as JSON')
    .addHelpText(
      'after',
      `
Each check compares the mixer with itself: gradients by the tape with central differences in float64, the sequence in one
pass with the same in pieces whose state is carried, outputs before and after a later input changes, documents packed in one
row with each alone. All on the reference device and on the cpu. The code is 1 when a check does not hold.

A file has its mixer as the default export:

  import { defineMixer, linear } from 'xlstm';
  import * as z from 'zod';
  export default defineMixer({ name, summary, options: z.strictObject({ ... }), feedForward: 'layer', create });

Examples:
  xlstm check ./my-mixer.ts
  xlstm check ./my-mixer.ts --dim 48 --set rate=0.5
  xlstm check mlstm --set heads=2`,
    )
    .action(check);
}

async function check(mixer: string, options: Options): Promise<void> {
  const definition = await definitionOf(mixer);
  const tree: Record<string, unknown> = {};
  for (const setting of options.set) applySetting(tree, setting);
  const given = checkConfig(definition.options, tree, `options of ${definition.name}`);
  const survey = await surveyDevices({}, CHECKED);
  const devices = survey.flatMap(({ device }) => (device === null ? [] : [device])).toReversed();
  const about = describe(definition, given, options.dim);
  const checks = await checkMixer(definition, { dim: options.dim, options: given, devices, seed: options.seed });
  if (!checks.every(passes)) process.exitCode = 1;
  if (options.json) process.stdout.write(`${JSON.stringify(checks.map(asJson), null, 2)}\n`);
  else process.stdout.write(`${about}\n\n${table(checks)}\n\n${conclusion(checks, devices)}\n${absent(survey)}`);
}

async function definitionOf(mixer: string): Promise<MixerDefinition> {
  if (/\.[a-z]+$|[\\/]/i.test(mixer)) return (await loadMixerFile(mixer)).definition;
  const definition = findMixer(mixer);
  if (definition !== undefined) return definition;
  throw new Error(`check: there is no mixer "${mixer}"${suggestion(mixer, mixerNames())}; a file ends in .ts or .js`);
}

/** @throws RangeError when the options do not fit the width. */
function describe(definition: MixerDefinition, options: Record<string, unknown>, dim: number): string {
  // The only block of a model; which mixer the configuration names does not matter.
  const place = placeOf(modelConfigSchema.parse({ dim, blocks: ['mlstm'] }), 0);
  const mixer = definition.create(options, place);
  const facts = [
    `width ${dim}`,
    `${formatCount(countParameters(mixer.parameters))} parameters`,
    `${formatBytes(4 * stateSize(mixer))} of state per sequence`,
    `${formatCount(mixer.flopsPerToken(STEPS))} FLOPs per token of ${STEPS} steps`,
    mixer.causal ? 'causal' : 'not causal: steps and causality are not checked',
  ];
  return `${definition.name}: ${definition.summary}\n  ${facts.join(', ')}`;
}

const number = (value: number): string => (value === 0 ? '0' : formatNumber(value, 2));

function table(checks: readonly MixerCheck[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const row = (mark: string, name: string, error: string, tolerance: string) =>
    `  ${mark.padEnd(4)}  ${name.padEnd(width)}  ${error.padStart(8)}  ${tolerance.padStart(8)}`;
  const lines = checks.flatMap((one) => [
    row(passes(one) ? 'ok' : 'FAIL', one.name, number(one.error), number(one.tolerance)),
    ...(passes(one) ? [] : [`        ${one.meaning}`]),
  ]);
  return [row('', 'check', 'error', 'allowed'), ...lines].join('\n');
}

function conclusion(checks: readonly MixerCheck[], devices: readonly Device[]): string {
  const failed = checks.filter((one) => !passes(one));
  const where = devices.map(({ name }) => name).join(' and ');
  if (failed.length === 0) return `all ${checks.length} checks hold on ${where}`;
  const meanings = [...new Set(failed.map(({ meaning }) => meaning))];
  return `${failed.length} of ${checks.length} checks do not hold: ${meanings.join('; ')}`;
}

const absent = (survey: readonly DeviceReport[]): string =>
  survey.map(({ name, problem }) => (problem === null ? '' : `not checked on ${name}: ${problem}\n`)).join('');

/** JSON has no infinity. */
const asJson = (one: MixerCheck) => ({
  ...one,
  error: Number.isFinite(one.error) ? one.error : null,
  holds: passes(one),
});
