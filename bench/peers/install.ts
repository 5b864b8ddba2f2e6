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
  /** Packages that could not be installed, with what the installer said. */
  readonly failures: readonly { readonly name: string; readonly error: string }[];
}

/** What a command said when it failed, or null. */
function failureOf(command: string, args: readonly string[], cwd?: string): string | null {
  const { status, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (error !== undefined) return error.message;
  return status === 0 ? null : stderr.trim().split('\n').slice(-3).join(' ');
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
  const failures: { name: string; error: string }[] = [];
  const note = (name: string, error: string | null): void => {
    if (error !== null) failures.push({ name, error });
  };
  fs.mkdirSync(npm, { recursive: true });
  if (needs.has('python') && python === null) {
    if (!fs.existsSync(own)) note('a Python venv', failureOf('python3', ['-m', 'venv', venv]));
    const missing = PYTHON.filter((name) => failureOf(own, ['-m', 'pip', 'show', '--quiet', name]) !== null);
    for (const name of missing) note(name, failureOf(own, ['-m', 'pip', 'install', '--quiet', name]));
  }
  if (needs.has('npm')) {
    const manifest = path.join(npm, 'package.json');
    if (!fs.existsSync(manifest)) fs.writeFileSync(manifest, '{ "name": "peers", "private": true }\n');
    const options = ['install', '--ignore-scripts', '--no-audit', '--no-fund'];
    for (const name of NPM.filter((name) => !fs.existsSync(path.join(npm, 'node_modules', name)))) {
      note(name, failureOf('npm', [...options, name], npm));
    }
  }
  return { python: python ?? own, npm, failures };
}
