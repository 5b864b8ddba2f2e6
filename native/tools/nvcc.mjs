/**
 * @file Finds CUDA's compiler: $CUDACXX, the PATH, a toolkit, or the wheels of a Python environment. It compiles nothing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** @typedef {{ command: string, version: string, libraries: string[] }} Nvcc `libraries`: folders of libcudart_static */

/** What to compile for by default: machine code for Ampere, Hopper and Blackwell, PTX for what comes between and after. */
export const ARCHITECTURES = ['80', '90a', '100', '80+PTX'];

/**
 * @param {string} architecture such as "90a", or "80+PTX" for code that the driver compiles
 * @returns {string} the option for nvcc
 * @throws {Error} if it is none
 */
export function gencode(architecture) {
  const match = /^(?:sm_)?(\d+[af]?)(\+PTX)?$/i.exec(architecture);
  if (!match) throw new Error(`--arch must be a list such as 80,90a or 80+PTX, got "${architecture}"`);
  const [, number = '', ptx] = match;
  return `-gencode=arch=compute_${number},code=${ptx ? 'compute' : 'sm'}_${number}`;
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {string[]} where nvcc may be, in order of preference; those that need no file are commands
 */
export function nvccCandidates(environment) {
  const chosen = environment['CUDACXX'];
  if (chosen) return [chosen];
  const homes = [environment['CUDA_HOME'], environment['CUDA_PATH'], '/usr/local/cuda'].filter((home) => home);
  return ['nvcc', ...homes.map((home) => join(home ?? '', 'bin', 'nvcc')), ...wheels(environment)];
}

/**
 * The compilers of the wheels nvidia-cuda-nvcc in the Python environments at hand: an active one and that of `python3`.
 * @param {NodeJS.ProcessEnv} environment
 */
function wheels(environment) {
  const folders = (environment['PATH'] ?? '').split(delimiter).filter((folder) => existsSync(join(folder, 'python3')));
  const prefixes = [environment['VIRTUAL_ENV'], ...folders.map((folder) => dirname(folder))].filter((prefix) => prefix);
  return prefixes.flatMap((prefix) => {
    const lib = join(prefix ?? '', 'lib');
    const versions = existsSync(lib) ? readdirSync(lib).filter((name) => name.startsWith('python3')) : [];
    return versions.flatMap((version) =>
      ['cu13', 'cuda_nvcc'].map((wheel) => join(lib, version, 'site-packages', 'nvidia', wheel, 'bin', 'nvcc')),
    );
  });
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Nvcc | undefined} the first that answers
 */
export function findNvcc(environment) {
  for (const command of nvccCandidates(environment)) {
    const answer = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (answer.status !== 0) continue;
    const version = /release .*/.exec(answer.stdout)?.[0] ?? answer.stdout.trim().split('\n').at(-1) ?? '';
    return { command, version: `nvcc ${version}`, libraries: librariesBeside(command, environment) };
  }
  return undefined;
}

/**
 * Wheels keep their libraries in lib, where nvcc, which looks in lib64, does not find them.
 * @param {string} command
 * @param {NodeJS.ProcessEnv} environment
 */
function librariesBeside(command, environment) {
  const folders = (environment['PATH'] ?? '').split(delimiter);
  const path = command.includes('/') ? command : folders.map((f) => join(f, command)).find((file) => existsSync(file));
  if (!path) return [];
  const root = dirname(dirname(realpathSync(path)));
  return ['lib64', 'lib'].map((name) => join(root, name)).filter((folder) => existsSync(folder));
}
