/** @file Installs the peers, apart from the project: a Python venv and a folder of npm packages in the cache. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import type { Needs } from './row.js';

const PYTHON = ['torch', 'xlstm', 'mlstm_kernels', 'transformers', 'tokenizers', 'tiktoken', 'numpy', 'safetensors'];
const NPM = ['@jax-js/jax', '@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm'];

export interface Installed {
  /** The Python to run contenders with. */
  readonly python: string;
  /** The folder that has node_modules. */
  readonly npm: string;
  readonly failures: readonly Failure[];
}

/** A package that could not be installed, with what the installer said. */
interface Failure {
  readonly name: string;
  readonly error: string;
}

/** What a command said when it failed, or null. */
function failureOf(command: string, args: readonly string[], cwd?: string): string | null {
  const { status, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (error !== undefined) return error.message;
  return status === 0 ? null : stderr.trim().split('\n').slice(-3).join(' ');
}

/** The version of a package in a folder with node_modules, or null. */
export function installedVersion(folder: string, name: string): string | null {
  const manifest = path.join(folder, 'node_modules', name, 'package.json');
  if (!fs.existsSync(manifest)) return null;
  return (JSON.parse(fs.readFileSync(manifest, 'utf8')) as { version: string }).version;
}

/**
 * Installs npm packages that a folder does not have yet.
 * @param packages  names, with "@" and a version where it must be that one
 * @returns         what could not be installed
 */
export function installNpm(folder: string, packages: readonly string[]): Failure[] {
  fs.mkdirSync(folder, { recursive: true });
  const manifest = path.join(folder, 'package.json');
  if (!fs.existsSync(manifest)) fs.writeFileSync(manifest, '{ "name": "peers", "private": true }\n');
  const isMissing = (text: string): boolean => {
    const at = text.lastIndexOf('@');
    const [name, version] = at > 0 ? [text.slice(0, at), text.slice(at + 1)] : [text, null];
    const installed = installedVersion(folder, name);
    return installed === null || (version !== null && version !== installed);
  };
  return packages.filter(isMissing).flatMap((name) => {
    const error = failureOf('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', name], folder);
    return error === null ? [] : [{ name, error }];
  });
}

/**
 * Installs what is not there yet, package by package, so that one that fails stops no other.
 * @param python  one that has the packages, which is left as it is; null for a venv in the cache
 * @param needs   what the rows at hand need
 */
export function installPeers(cache: string, python: string | null, needs: ReadonlySet<Needs>): Installed {
  const npm = path.join(cache, 'npm');
  const venv = path.join(cache, 'venv');
  const own = path.join(venv, 'bin', 'python');
  const failures: Failure[] = [];
  const note = (name: string, error: string | null): void => {
    if (error !== null) failures.push({ name, error });
  };
  if (needs.has('python') && python === null) {
    if (!fs.existsSync(own)) note('a Python venv', failureOf('python3', ['-m', 'venv', venv]));
    const missing = PYTHON.filter((name) => failureOf(own, ['-m', 'pip', 'show', '--quiet', name]) !== null);
    for (const name of missing) note(name, failureOf(own, ['-m', 'pip', 'install', '--quiet', name]));
  }
  if (needs.has('npm')) failures.push(...installNpm(npm, NPM));
  return { python: python ?? own, npm, failures };
}
