/**
 * @file Finds a native library (cpu, cuda), loads it with koffi and binds every function of its headers. It checks
 * statuses, but knows neither buffers nor devices.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LibraryHandle } from 'koffi';
import koffi from 'koffi';
import type { DeviceName } from '../device.js';
import { OutOfMemoryError } from '../out-of-memory.js';
import type { Prototype } from './header.js';
import { abiVersion, parseHeader } from './header.js';

/** A function of the library; arguments as the headers have them, addresses and sizes as numbers. */
export type NativeFunction = (...args: unknown[]) => number | string;

export interface Library {
  readonly path: string;
  readonly prototypes: readonly Prototype[];
  /** A function by its C name. Its status is not checked. @throws Error for a name that the library does not have. */
  get(name: string): NativeFunction;
  /** Calls a function that returns a status. @throws Error with the library's own sentence unless it is 0. */
  call(name: string, ...args: unknown[]): void;
  /** The sentence of the last failed call. */
  lastError(): string;
}

/** No library was found, or the one found does not fit; the message says where it was looked for and what to do. */
export class LibraryError extends Error {
  override readonly name = 'LibraryError';
}

/** What a device's library is. */
export interface LibraryKind {
  readonly device: DeviceName;
  /** Its headers in `native/include`, in the order in which the build hashes them. */
  readonly headers: readonly string[];
  /** Functions of the headers that it does not have. */
  readonly lacks: ReadonlySet<string>;
  /** Whether kernels of activations have sisters for bf16. */
  readonly hasBf16: boolean;
  /** The command that builds it. */
  readonly build: string;
}

export interface LibraryCandidate {
  readonly path: string;
  readonly from: string;
}

/** The nearest folder above this file whose package.json is the package's own; holds for src/ and for dist/. */
function packageRoot(device: DeviceName): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'xlstm')
      return folder;
    if (folder === dirname(folder)) throw new LibraryError(`${device}: no package.json of xlstm above ${start}`);
  }
}

/**
 * Where a library may be, the first that exists wins: what a variable names, the build of this clone, an installed package.
 * @param variable  the environment variable that names the file
 * @param file      its name on this platform
 */
export function candidatesOf(device: DeviceName, variable: string, file: string): LibraryCandidate[] {
  const target = `${process.platform}-${process.arch}`;
  const chosen = process.env[variable];
  if (chosen) return [{ path: chosen, from: `$${variable}` }];
  const installed = `@xlstm/${device}-${target}`;
  return [
    { path: join(packageRoot(device), 'build', 'native', target, file), from: 'built from source' },
    { path: resolveInstalled(`${installed}/${file}`), from: `the package ${installed}` },
  ];
}

function resolveInstalled(specifier: string): string {
  try {
    return createRequire(import.meta.url).resolve(specifier);
  } catch {
    return '';
  }
}

/** The file that exists, or undefined with a list of where it was looked for. */
export function firstExisting(candidates: readonly LibraryCandidate[]): { path: string | undefined; looked: string } {
  const path = candidates.find((candidate) => candidate.path !== '' && existsSync(candidate.path))?.path;
  return { path, looked: candidates.map(({ path, from }) => `${path || 'not installed'} (${from})`).join('; ') };
}

/** A product alone has a form whose operands are bf16 and whose result is float. */
const suffixesOf = (name: string): string[] => (name === 'xl_matmul' ? ['', '_bf16', '_bf16_float'] : ['', '_bf16']);

/** XL_OUT_OF_MEMORY of xl.h. */
const OUT_OF_MEMORY = 2;

/** The error for a status that is not 0 and the library's sentence about it. */
export function failure(device: DeviceName, status: number | string, sentence: string): Error {
  const message = `${device}: ${sentence}`;
  return status === OUT_OF_MEMORY ? new OutOfMemoryError(message) : new Error(message);
}

/** @throws LibraryError if the file does not load or was built from other headers. */
export function openLibrary(path: string, { device, headers, lacks, hasBf16, build }: LibraryKind): Library {
  const include = join(packageRoot(device), 'native', 'include');
  const prototypes = parseHeader(headers.map((name) => readFileSync(join(include, name), 'utf8')).join(''));
  const functions = new Map<string, NativeFunction>();
  try {
    const handle: LibraryHandle = koffi.load(path);
    for (const { name, result, arguments: list } of prototypes) {
      if (lacks.has(name)) continue;
      const types = list.map(({ koffiType }) => koffiType);
      const takesData = list.some(({ kind }) => kind === 'data');
      for (const suffix of hasBf16 && takesData ? suffixesOf(name) : ['']) {
        functions.set(name + suffix, handle.func(name + suffix, result, types) as NativeFunction);
      }
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LibraryError(`${device}: ${path} does not load (${reason}); build it again with: ${build}`, { cause });
  }
  const get = (name: string): NativeFunction => {
    const found = functions.get(name);
    if (!found) throw new Error(`${device}: the library has no function ${name}`);
    return found;
  };
  const version = get('xl_abi_version')();
  if (version !== abiVersion(prototypes)) {
    throw new LibraryError(
      `${device}: ${path} was built from another ${headers.join(' and ')} (${version}, not ${abiVersion(prototypes)}); build it again with: ${build}`,
    );
  }
  const lastError = (): string => String(get('xl_last_error')());
  const call = (name: string, ...args: unknown[]): void => {
    const status = get(name)(...args);
    if (status !== 0) throw failure(device, status, lastError());
  };
  return { path, prototypes, get, call, lastError };
}
