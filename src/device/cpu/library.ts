/**
 * @file Finds the CPU library, loads it with koffi and binds every function of xl.h.
 * It checks statuses, but knows neither buffers nor devices.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LibraryHandle } from 'koffi';
import koffi from 'koffi';
import type { Prototype } from './header.js';
import { abiVersion, parseHeader } from './header.js';

/** A function of the library; arguments as xl.h has them, addresses and sizes as numbers. */
export type NativeFunction = (...args: unknown[]) => number | string;

export interface Library {
  readonly path: string;
  readonly prototypes: readonly Prototype[];
  /** A function by its C name. Its status is not checked. @throws Error for a name that xl.h does not have. */
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

let loaded: Library | undefined;

/**
 * The library of this process, loaded at the first call.
 * @throws LibraryError if there is none or it does not fit this version of the package.
 */
export function loadLibrary(): Library {
  loaded ??= openLibrary(findLibrary());
  return loaded;
}

/** The nearest folder above this file whose package.json is the package's own; holds for src/ and for dist/. */
function packageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'xlstm')
      return folder;
    if (folder === dirname(folder)) throw new LibraryError(`cpu: no package.json of xlstm above ${start}`);
  }
}

/** Where a library may be, the first that exists wins: $XLSTM_NATIVE, the build of this clone, an installed package. */
export function libraryCandidates(): { path: string; from: string }[] {
  const target = `${process.platform}-${process.arch}`;
  const file = { win32: 'xl_cpu.dll', darwin: 'libxl_cpu.dylib' }[process.platform as string] ?? 'libxl_cpu.so';
  const chosen = process.env['XLSTM_NATIVE'];
  if (chosen) return [{ path: chosen, from: '$XLSTM_NATIVE' }];
  const installed = `@xlstm/cpu-${target}`;
  return [
    { path: join(packageRoot(), 'build', 'native', target, file), from: 'built from source' },
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

function findLibrary(): string {
  const candidates = libraryCandidates();
  const found = candidates.find(({ path }) => path !== '' && existsSync(path));
  if (found) return found.path;
  const looked = candidates.map(({ path, from }) => `${path || 'not installed'} (${from})`).join('; ');
  throw new LibraryError(
    `cpu: the native library is missing. Looked for: ${looked}. In a clone, run: node native/build.mjs ` +
      '(it needs a C++ compiler and says which). Until then use the device "reference" (--device reference), which is far slower.',
  );
}

function openLibrary(path: string): Library {
  const prototypes = parseHeader(readFileSync(join(packageRoot(), 'native', 'include', 'xl.h'), 'utf8'));
  const functions = new Map<string, NativeFunction>();
  try {
    const handle: LibraryHandle = koffi.load(path);
    for (const { name, result, arguments: list } of prototypes) {
      functions.set(
        name,
        handle.func(
          name,
          result,
          list.map(({ koffiType }) => koffiType),
        ) as NativeFunction,
      );
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LibraryError(`cpu: ${path} does not load (${reason}); build it again with: node native/build.mjs`, {
      cause,
    });
  }
  const get = (name: string): NativeFunction => {
    const found = functions.get(name);
    if (!found) throw new Error(`cpu: xl.h has no function ${name}`);
    return found;
  };
  const version = get('xl_abi_version')();
  if (version !== abiVersion(prototypes)) {
    throw new LibraryError(
      `cpu: ${path} was built from another xl.h (${version}, not ${abiVersion(prototypes)}); build it again with: node native/build.mjs`,
    );
  }
  const lastError = (): string => String(get('xl_last_error')());
  const call = (name: string, ...args: unknown[]): void => {
    if (get(name)(...args) !== 0) throw new Error(`cpu: ${lastError()}`);
  };
  return { path, prototypes, get, call, lastError };
}
