#!/usr/bin/env node
/**
 * @file Builds the CPU library from native/ with the system's C++ compiler. Run it as `node native/build.mjs`.
 * Kernel files are compiled once per instruction set, the rest once; what did not change is kept.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { compileAll, findCompiler, hash, jobsOf, writeIfChanged } from './tools/compiler.mjs';
import { dispatcher, kernelDeclarations } from './tools/generate.mjs';
import { abiVersion, parseHeader } from './tools/header.mjs';
import { foreignSymbols } from './tools/symbols.mjs';
import { COMMON_FLAGS, KERNEL_FLAGS, installAdvice, isasFor, libraryName, linkFlags } from './tools/targets.mjs';

/** @import { Compiler, Outcome, Unit } from './tools/compiler.mjs' */
/** @import { Isa } from './tools/generate.mjs' */

const NATIVE = dirname(fileURLToPath(import.meta.url));
const ROOT = dirname(NATIVE);

const HELP = `Usage: node native/build.mjs [options]

Builds the kernels of the CPU device into build/native/<platform>-<arch>/. Needs a C++17 compiler.

  --target ARCH      build for arm64 or x64 instead of this machine (Linux cross compilers, such as
                     aarch64-linux-gnu-g++)
  --out FOLDER       write there instead
  --jobs N           compile N files at once (default: one per core, at most 8)
  --strict           exit with 1, not 0, when there is no compiler
  --quiet            say nothing unless something is wrong
  --help             this text

Compiler: $CXX if set, else g++, clang++ or c++.`;

/** @typedef {{ target: string, out: string, jobs: number, strict: boolean, quiet: boolean }} Options */

/** @returns {Options | undefined} undefined after --help */
function readOptions() {
  const { values } = parseArgs({
    options: {
      target: { type: 'string', default: process.arch },
      out: { type: 'string' },
      jobs: { type: 'string', default: String(Math.min(8, availableParallelism())) },
      strict: { type: 'boolean', default: false },
      quiet: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return undefined;
  }
  const jobs = jobsOf(values.jobs);
  isasFor(values.target);
  return {
    target: values.target,
    out: resolve(values.out ?? join(ROOT, 'build', 'native', `${process.platform}-${values.target}`)),
    jobs,
    strict: values.strict,
    quiet: values.quiet,
  };
}

/**
 * @param {string} target
 * @returns {Compiler | undefined}
 */
function compilerFor(target) {
  const fromEnvironment = process.env['CXX'];
  if (target === process.arch) return findCompiler(fromEnvironment ? [fromEnvironment] : ['g++', 'clang++', 'c++']);
  const triple = target === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  return findCompiler([`${triple}-g++`]);
}

/** @param {Options} options */
function noCompiler({ target, strict }) {
  const advice =
    target === process.arch
      ? installAdvice(process.platform)
      : `install a cross compiler, on Debian and Ubuntu: sudo apt install g++-${target === 'arm64' ? 'aarch64' : 'x86-64'}-linux-gnu`;
  const looked = process.env['CXX'] && target === process.arch ? `$CXX (${process.env['CXX']})` : 'a C++ compiler';
  console.error(
    `The CPU library was not built: ${looked} was not found. To get one, ${advice}; then run ` +
      'node native/build.mjs again. Until then everything works with --device reference, only far slower.',
  );
  return strict ? 1 : 0;
}

/** @param {string} folder */
const sourcesIn = (folder) =>
  readdirSync(join(NATIVE, folder))
    .filter((name) => name.endsWith('.cpp'))
    .sort()
    .map((name) => join(NATIVE, folder, name));

/**
 * Kernels that a source file defines, by the text XL_KERNEL(xl_...).
 * @param {string} source
 */
const kernelsOf = (source) =>
  [...readFileSync(source, 'utf8').matchAll(/extern "C" int XL_KERNEL\((xl_\w+)\)/g)].map((match) => match[1] ?? '');

/**
 * @param {string[]} files sources of one kind
 * @param {Options} options
 * @param {Isa | undefined} isa
 * @returns {Unit[]}
 */
function unitsOf(files, { out }, isa) {
  const include = ['-I', join(NATIVE, 'include'), '-I', join(NATIVE, 'common'), '-I', out];
  const flags = isa
    ? [...COMMON_FLAGS, ...KERNEL_FLAGS, ...isa.flags, `-DXL_ISA=${isa.suffix}`]
    : [...COMMON_FLAGS, '-pthread'];
  return files.map((source) => ({
    source,
    object: join(out, 'obj', isa?.suffix ?? 'common', `${basename(source, '.cpp')}.o`),
    flags: [...flags, ...include],
  }));
}

/**
 * @param {Options} options
 * @returns {Promise<number>} the exit code
 */
async function build(options) {
  const started = Date.now();
  const { out, target, jobs, quiet } = options;
  const say = quiet ? () => {} : console.log;
  const compiler = compilerFor(target);
  if (!compiler) return noCompiler(options);
  const isas = isasFor(target);
  const header = readFileSync(join(NATIVE, 'include', 'xl.h'), 'utf8');
  const prototypes = parseHeader(header);
  const kernelFiles = sourcesIn('cpu');
  const written = new Set(kernelFiles.flatMap(kernelsOf));
  const missing = prototypes.filter(({ name, kernel }) => kernel && !written.has(name)).map(({ name }) => name);
  if (missing.length > 0) throw new Error(`native/cpu has no XL_KERNEL(...) for ${missing.join(', ')} of xl.h`);
  writeIfChanged(join(out, 'generated', 'kernels.h'), kernelDeclarations(prototypes));
  const dispatch = join(out, 'generated', 'dispatch.cpp');
  writeIfChanged(dispatch, dispatcher(prototypes, isas, abiVersion(header)));

  const compiled = new Map(isas.map((isa) => [isa.suffix, isa]));
  const kernelUnits = [...compiled.values()].flatMap((isa) => unitsOf(kernelFiles, options, isa));
  const units = [...kernelUnits, ...unitsOf([...sourcesIn('common'), dispatch], options, undefined)];
  const outcomes = await compileAll(compiler, units, jobs, (done, total, { source, object }) =>
    say(`[${done}/${total}] ${relative(ROOT, source)} ${basename(dirname(object))}`),
  );
  if (!report(outcomes)) return 1;
  const foreign = foreignSymbols(kernelUnits.map(({ object }) => object));
  if (foreign.length > 0) {
    const list = foreign.join('\n');
    throw new Error(`Symbols that the linker would merge across instruction sets (see native/cpu/kernel.h):\n${list}`);
  }
  const done = link(compiler, options, outcomes);
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (done) say(`${done} ${join(out, libraryName(process.platform))} (${compiler.version}, ${seconds} s)`);
  return done ? 0 : 1;
}

/**
 * Prints errors and warnings.
 * @param {Outcome[]} outcomes
 * @returns {boolean} whether everything compiled
 */
function report(outcomes) {
  for (const { error, warnings } of outcomes) if (error || warnings) console.error(error || warnings);
  return outcomes.every(({ error }) => error === '');
}

/**
 * Links if an object changed; the new library is renamed into place, so that a process that runs the old one goes on.
 * @param {Compiler} compiler
 * @param {Options} options
 * @param {Outcome[]} outcomes
 * @returns {string} what was done, '' after an error
 */
function link(compiler, { out }, outcomes) {
  const library = join(out, libraryName(process.platform));
  const flags = linkFlags(process.platform);
  const key = hash(compiler.version, ...flags, ...outcomes.map(({ unit, key }) => `${unit.object} ${key}`).sort());
  const record = `${library}.key`;
  if (existsSync(library) && existsSync(record) && readFileSync(record, 'utf8') === key) return 'Up to date:';
  const fresh = `${library}.${process.pid}`;
  const objects = outcomes.map(({ unit }) => unit.object).sort();
  const result = spawnSync(compiler.command, [...objects, '-o', fresh, ...flags], { encoding: 'utf8' });
  if (result.status !== 0) {
    rmSync(fresh, { force: true });
    console.error(result.stderr || String(result.error));
    return '';
  }
  renameSync(fresh, library);
  writeFileSync(record, key);
  return 'Built';
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    const options = readOptions();
    if (options) process.exitCode = await build(options);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
