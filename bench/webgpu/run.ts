/** @file `npm run bench:webgpu`: the webgpu device beside other libraries in a browser. `--help` has the options. */
import path from 'node:path';
import { printTable } from '../table.js';
import { installedVersion, installNpm } from '../peers/install.js';
import { openPage } from './browser.js';
import { casesFor, type Case } from './cases.js';
import { measureCase, messageOf, within, type MeasuredCase } from './measure-case.js';
import { readOptions, type Options } from './options.js';
import { failuresOf, HEAD, linesOf, opening, writeMarkdown, type Circumstances } from './report.js';

const OURS = 'xlstm';
/** Contenders by name: a file under page/ and the package whose version is named. */
const PEERS = {
  'jax-js': { module: 'jax.mjs', package: '@jax-js/jax' },
  tfjs: { module: 'tfjs.mjs', package: '@tensorflow/tfjs-backend-webgpu' },
  'onnxruntime-web': { module: 'onnxruntime.mjs', package: 'onnxruntime-web' },
} as const;
const PACKAGES = [
  '@jax-js/jax@0.1.25',
  '@tensorflow/tfjs@4.22.0',
  '@tensorflow/tfjs-backend-webgpu@4.22.0',
  'onnxruntime-web@1.30.0',
];

function chosen(cases: readonly Case[], only: Options['only']): readonly Case[] {
  const strange = only?.find((name) => !cases.some(({ id }) => id.startsWith(name)));
  if (strange !== undefined) throw new Error(`bench:webgpu: no case begins with "${strange}"; --list names them`);
  return cases.filter(({ id }) => only?.some((name) => id.startsWith(name)) ?? true);
}

async function main(options: Options): Promise<void> {
  const cases = chosen(casesFor(options.adapter === 'swiftshader'), options.only);
  if (options.list) {
    for (const { id, title } of cases) console.log(`${id.padEnd(24)} ${title}`);
    return;
  }
  const cache = path.resolve(options.cache, 'npm');
  const failures = installNpm(cache, PACKAGES).map(({ name, error }) => `${name} was not installed: ${error}`);
  const packages = path.join(cache, 'node_modules');
  const onProgress = (what: string): void => void process.stderr.write(`${what}\n`);
  const modules = Object.fromEntries(Object.entries(PEERS).map(([name, { module }]) => [name, module]));
  const page = await openPage(options.browser, options.adapter, { [OURS]: 'xlstm.ts', ...modules }, packages);
  try {
    const adapter = await page.bench.open(OURS);
    const names: string[] = [OURS];
    for (const name of Object.keys(PEERS)) {
      onProgress(`opening ${name}`);
      try {
        await within(options.timeout, page.bench.open(name));
        names.push(name);
      } catch (error) {
        failures.push(`${name} did not start: ${messageOf(error)}`);
      }
    }
    const results: MeasuredCase[] = [];
    for (const of of cases) results.push(await measureCase(page.bench, of, names, { ...options, onProgress }));
    const versions = Object.fromEntries(
      Object.entries(PEERS).map(([name, { package: of }]) => [name, installedVersion(cache, of) ?? 'not installed']),
    );
    const about: Circumstances = {
      browser: page.browser,
      adapter: adapter!,
      versions,
      rounds: options.rounds,
      failures,
    };
    console.log(`\n${opening(about)}\n`);
    printTable(HEAD, results.flatMap(linesOf));
    for (const failure of failuresOf(about, results)) console.log(`\n${failure}`);
    if (options.write) writeMarkdown('bench/WEBGPU.md', about, results);
  } finally {
    await page.close();
  }
}

const options = readOptions();
if (options !== null) await main(options);
