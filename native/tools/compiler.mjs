/**
 * @file Finds a C++ compiler and runs it: one object at a time, only what changed, several at once.
 */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** @typedef {{ command: string, version: string }} Compiler */
/** @typedef {{ source: string, object: string, flags: string[] }} Unit one object file to be made */
/** @typedef {{ unit: Unit, key: string, compiled: boolean, error: string, warnings: string }} Outcome */

/**
 * @param {string[]} candidates commands in order of preference
 * @returns {Compiler | undefined} the first that answers to --version
 */
export function findCompiler(candidates) {
  for (const command of candidates) {
    const answer = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (answer.status === 0) return { command, version: answer.stdout.split('\n')[0] ?? '' };
  }
  return undefined;
}

/**
 * Brings every unit up to date, `jobs` at a time. A unit is compiled again when its source, a header it included,
 * the flags or the compiler have changed, by content.
 * @param {Compiler} compiler
 * @param {Unit[]} units
 * @param {number} jobs
 * @param {(done: number, total: number, unit: Unit) => void} progress
 * @returns {Promise<Outcome[]>}
 */
export async function compileAll(compiler, units, jobs, progress) {
  /** @type {Outcome[]} */
  const outcomes = [];
  /** @type {Map<string, string>} */
  const hashes = new Map();
  const stale = units.filter((unit) => {
    const key = recordedKey(compiler, unit, hashes);
    if (key) outcomes.push({ unit, key, compiled: false, error: '', warnings: '' });
    return !key;
  });
  let next = 0;
  let done = 0;
  const worker = async () => {
    for (let unit = stale[next++]; unit; unit = stale[next++]) {
      outcomes.push(await compile(compiler, unit));
      progress(++done, stale.length, unit);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, jobs) }, worker));
  return outcomes;
}

/**
 * Writes beside and renames, so that neither a build at the same time nor a process that has the file loaded is hurt.
 * @param {string} path
 * @param {string} text
 */
export function writeIfChanged(path, text) {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}`, text);
  renameSync(`${path}.${process.pid}`, path);
}

/** @param {...string} parts */
export function hash(...parts) {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(`${part.length}:`).update(part);
  return sum.digest('hex');
}

/**
 * The key under which the object was made, or '' if it must be made again.
 * @param {Compiler} compiler
 * @param {Unit} unit
 * @param {Map<string, string>} hashes of files already read
 */
function recordedKey(compiler, unit, hashes) {
  try {
    const record = JSON.parse(readFileSync(`${unit.object}.json`, 'utf8'));
    const current = keyOf(compiler, unit, record.dependencies, hashes);
    return existsSync(unit.object) && record.key === current ? current : '';
  } catch {
    return ''; // no record, or a header that is gone
  }
}

/**
 * @param {Compiler} compiler
 * @param {Unit} unit
 * @param {string[]} dependencies
 * @param {Map<string, string>} hashes
 */
function keyOf(compiler, unit, dependencies, hashes) {
  const contents = dependencies.map((file) => {
    const known = hashes.get(file) ?? hash(readFileSync(file, 'utf8'));
    hashes.set(file, known);
    return `${file} ${known}`;
  });
  return hash(compiler.command, compiler.version, ...unit.flags, unit.source, ...contents);
}

/**
 * @param {Compiler} compiler
 * @param {Unit} unit
 * @returns {Promise<Outcome>}
 */
function compile(compiler, unit) {
  mkdirSync(dirname(unit.object), { recursive: true });
  const fresh = `${unit.object}.${process.pid}`;
  const list = `${fresh}.d`;
  const args = [...unit.flags, '-MMD', '-MF', list, '-c', unit.source, '-o', fresh];
  return new Promise((resolve) => {
    execFile(compiler.command, args, { maxBuffer: 1 << 26 }, (error, _stdout, stderr) => {
      const result = { unit, key: '', compiled: true, error: '', warnings: stderr };
      if (error) {
        rmSync(list, { force: true });
        resolve({ ...result, error: stderr || error.message });
        return;
      }
      const dependencies = readDependencies(list);
      rmSync(list, { force: true });
      const key = keyOf(compiler, unit, dependencies, new Map());
      renameSync(fresh, unit.object);
      writeFileSync(`${unit.object}.json`, JSON.stringify({ key, dependencies }));
      resolve({ ...result, key });
    });
  });
}

/**
 * The files named in a make rule "object: source header ...", with its escapes.
 * @param {string} path
 */
function readDependencies(path) {
  const rule = readFileSync(path, 'utf8').replace(/\\\r?\n/g, ' ');
  const list = rule.slice(rule.search(/:\s/) + 1).trim();
  return list.split(/(?<!\\)\s+/).map((name) => name.replace(/\\([ #])/g, '$1').replace(/\$\$/g, '$'));
}

/**
 * @param {string} text what --jobs was given
 * @returns {number} how many files to compile at once
 * @throws {Error} if it is no whole number from 1 on
 */
export function jobsOf(text) {
  const jobs = Number(text);
  if (!Number.isInteger(jobs) || jobs < 1) throw new Error(`--jobs must be a whole number from 1 on, got ${text}`);
  return jobs;
}
