/**
 * @file Builds the library and the replay program for a processor, records the kernel cases and runs them there.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tsImport } from 'tsx/esm/api';
import { writeIfChanged } from '../tools/compiler.mjs';
import { callTable } from '../tools/generate.mjs';
import { parseHeader } from '../tools/header.mjs';

const TEST = dirname(fileURLToPath(import.meta.url));
const NATIVE = dirname(TEST);
const ROOT = dirname(NATIVE);

/**
 * @param {string} command
 * @param {string[]} args
 * @returns {boolean} whether it succeeded; what it says goes to the terminal
 */
const run = (command, args) => spawnSync(command, args, { stdio: 'inherit' }).status === 0;

/** @typedef {{ target: string, compiler: string, runner: string[] }} Machine `runner` starts a program there */

/**
 * @param {Machine} machine
 * @returns {Promise<number>} the exit code: 0 if every case passed
 */
export async function replay({ target, compiler, runner }) {
  const library = join(ROOT, 'build', 'native', `${process.platform}-${target}`);
  if (!run(process.execPath, [join(NATIVE, 'build.mjs'), '--target', target, '--strict'])) return 1;
  const program = buildReplay(library, compiler);
  if (program === '') return 1;
  const record = join(library, 'cases.bin');
  writeFileSync(record, await recordAll());
  const [command, ...args] = [...runner, program, record];
  return run(String(command), args) ? 0 : 1;
}

/**
 * @param {string} library the folder of the library and its generated files
 * @param {string} compiler
 * @returns {string} the program, '' if it does not compile
 */
export function buildReplay(library, compiler) {
  const table = callTable(parseHeader(readFileSync(join(NATIVE, 'include', 'xl.h'), 'utf8')));
  mkdirSync(join(library, 'test', 'generated'), { recursive: true });
  writeIfChanged(join(library, 'test', 'generated', 'calls.h'), table);
  const program = join(library, 'test', 'replay');
  const includes = ['-I', join(NATIVE, 'include'), '-I', join(library, 'test')];
  const libraries = ['-L', library, '-lxl_cpu', `-Wl,-rpath,${library}`, '-static-libstdc++', '-static-libgcc'];
  const flags = ['-std=c++17', '-O1', '-Wall', '-Wextra', ...includes, join(TEST, 'replay.cpp'), '-o', program];
  return run(compiler, [...flags, ...libraries]) ? program : '';
}

/** @returns {Promise<Uint8Array>} all kernel cases with their results on the reference */
async function recordAll() {
  const load = (/** @type {string} */ path) => tsImport(join(ROOT, 'src', 'device', path), import.meta.url);
  const { createReferenceDevice } = await load('reference/reference.ts');
  const { solveCases } = await load('selftest/selftest.ts');
  const { recordCases } = await load('selftest/record.ts');
  return recordCases(await solveCases(createReferenceDevice()));
}
