/**
 * @file The CUDA library: where it is, what it lacks of the headers and what to do where it is not. Loading and binding
 * is `../native/library.ts`.
 */
import { functionName } from '../native/header.js';
import type { Library, LibraryCandidate } from '../native/library.js';
import { candidatesOf, firstExisting, LibraryError, openLibrary } from '../native/library.js';
import { ABSENT } from './absent.js';

/** Calls of xl.h that only a CPU has. */
const CPU_CALLS = [
  'xl_set_isa',
  'xl_set_threads',
  'xl_get_threads',
  'xl_measure_peak',
  'xl_map_file',
  'xl_unmap_file',
  'xl_collect_begin',
  'xl_collect_end',
];

let loaded: Library | undefined;

/**
 * The library of this process, loaded at the first call; no GPU is opened.
 * @throws LibraryError if there is none or it does not fit this version of the package.
 */
export function loadCudaLibrary(): Library {
  loaded ??= openLibrary(findLibrary(), {
    device: 'cuda',
    headers: ['xl.h', 'xl_cuda.h'],
    lacks: new Set([...CPU_CALLS, ...Object.keys(ABSENT).map(functionName)]),
    hasBf16: true,
    build: 'node native/build-cuda.mjs',
  });
  return loaded;
}

/** Where the library may be: $XLSTM_NATIVE_CUDA, the build of this clone, an installed package. */
export const cudaLibraryCandidates = (): LibraryCandidate[] =>
  candidatesOf('cuda', 'XLSTM_NATIVE_CUDA', 'libxl_cuda.so');

function findLibrary(): string {
  const { path, looked } = firstExisting(cudaLibraryCandidates());
  if (path !== undefined) return path;
  throw new LibraryError(
    `cuda: the native library is missing. Looked for: ${looked}. In a clone, run: node native/build-cuda.mjs (it needs ` +
      'nvcc and says where it looks). Without an NVIDIA GPU use --device cpu.',
  );
}
