/**
 * @file The CPU library: where it is and what to do where it is not. Loading and binding is `../native/library.ts`.
 */
import type { Library, LibraryCandidate } from '../native/library.js';
import { candidatesOf, firstExisting, LibraryError, openLibrary } from '../native/library.js';

export { LibraryError } from '../native/library.js';

let loaded: Library | undefined;

/**
 * The library of this process, loaded at the first call.
 * @throws LibraryError if there is none or it does not fit this version of the package.
 */
export function loadLibrary(): Library {
  loaded ??= openLibrary(findLibrary(), {
    device: 'cpu',
    headers: ['xl.h'],
    lacks: new Set(),
    hasBf16: false,
    build: 'node native/build.mjs',
  });
  return loaded;
}

/** Where the library may be: $XLSTM_NATIVE, the build of this clone, an installed package. */
export function libraryCandidates(): LibraryCandidate[] {
  const file = { win32: 'xl_cpu.dll', darwin: 'libxl_cpu.dylib' }[process.platform as string] ?? 'libxl_cpu.so';
  return candidatesOf('cpu', 'XLSTM_NATIVE', file);
}

function findLibrary(): string {
  const { path, looked } = firstExisting(libraryCandidates());
  if (path !== undefined) return path;
  throw new LibraryError(
    `cpu: the native library is missing. Looked for: ${looked}. In a clone, run: node native/build.mjs ` +
      '(it needs a C++ compiler and says which). Until then use the device "reference" (--device reference), which is far slower.',
  );
}
