/** @file Runs a contender as a process of its own, on as many processors as it may use. It knows no row. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Contender } from './row.js';

const HERE = path.dirname(fileURLToPath(import.meta.url));

/** Where the peers are. */
export interface Places {
  /** The Python that has the packages. */
  readonly python: string;
  /** A folder with node_modules. */
  readonly npm: string;
  /** Compiled kernels are kept here between processes. */
  readonly cache: string;
}

export interface Finished {
  /** What its last line says, as JSON. */
  readonly answer: unknown;
  /** From the start of the process to its end. */
  readonly seconds: number;
}

/** The processors that this process may run on; null where the system does not tell or cannot bind a process to some. */
function processors(): number[] | null {
  const status = '/proc/self/status';
  if (!fs.existsSync(status) || spawnSync('taskset', ['--version']).status !== 0) return null;
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(fs.readFileSync(status, 'utf8'))?.[1] ?? '';
  return list.split(',').flatMap((range) => {
    const ends = range.split('-').map(Number);
    const [first, last] = [ends[0]!, ends.at(-1)!];
    return Array.from({ length: last - first + 1 }, (_, k) => first + k);
  });
}

const PROCESSORS = processors();

export const isPinned = PROCESSORS !== null;
export const processorCount = PROCESSORS?.length ?? os.availableParallelism();

function commandOf({ program, needs }: Contender, { python }: Places, job: string): string[] {
  const file = path.join(HERE, program);
  if (needs === 'python') return [python, file, job];
  return [process.execPath, ...(file.endsWith('.ts') ? ['--import', 'tsx'] : []), file, job];
}

/** Every library's own word for the number of its threads. */
function environment(threads: number, { cache, npm }: Places): Record<string, string> {
  const names = ['OMP', 'MKL', 'OPENBLAS', 'NUMEXPR', 'RAYON'].map((name) => `${name}_NUM_THREADS`);
  return {
    ...Object.fromEntries(names.map((name) => [name, String(threads)])),
    TOKENIZERS_PARALLELISM: threads > 1 ? 'true' : 'false',
    TORCHINDUCTOR_CACHE_DIR: path.join(cache, 'inductor'),
    TORCHINDUCTOR_COMPILE_THREADS: '1',
    HF_HUB_OFFLINE: '1',
    PEERS_NPM: path.join(npm, 'node_modules'),
  };
}

/**
 * Runs a contender to its end.
 * @param timeout  seconds after which it is ended
 * @throws Error with the end of what it wrote when it fails.
 */
export function runContender(
  contender: Contender,
  job: Readonly<Record<string, unknown>>,
  { threads, places, timeout }: { readonly threads: number; readonly places: Places; readonly timeout: number },
): Promise<Finished> {
  const text = JSON.stringify({ ...job, ...contender.job, threads });
  const pin = PROCESSORS === null ? [] : ['taskset', '-c', PROCESSORS.slice(0, threads).join(',')];
  const [command, ...args] = [...pin, ...commandOf(contender, places, text)] as [string, ...string[]];
  const env = { ...process.env, ...environment(threads, places), ...contender.env };
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, {
      env,
      cwd: path.dirname(path.dirname(HERE)),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (data: Buffer) => out.push(data));
    child.stderr.on('data', (data: Buffer) => err.push(data));
    const timer = setTimeout(() => child.kill('SIGKILL'), 1000 * timeout);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const seconds = (performance.now() - start) / 1000;
      const lines = Buffer.concat(out).toString().trimEnd().split('\n');
      if (code === 0) {
        try {
          resolve({ answer: JSON.parse(lines.at(-1)!) as unknown, seconds });
          return;
        } catch {
          // It printed something else: an error like any other.
        }
      }
      const why = signal === 'SIGKILL' ? `ended after ${seconds.toFixed(0)} s` : `exit ${code}`;
      const said = Buffer.concat(err).toString().trimEnd().split('\n').slice(-4).join('\n');
      reject(new Error(`${contender.name}: ${why}: ${said || lines.at(-1)}`));
    });
  });
}
