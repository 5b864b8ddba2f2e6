/**
 * @file The CPU device: memory and kernels of the CPU library, float32. The kernels are C++ under `native/cpu`; here are
 * its options and what it says of itself.
 */
import { cpus } from 'node:os';
import type { Device } from '../device.js';
import { createNativeDevice } from '../native/device.js';
import type { Library } from '../native/library.js';
import { Recordings } from '../native/recordings.js';
import { OutOfMemoryError } from '../out-of-memory.js';
import { loadLibrary } from './library.js';

export interface CpuOptions {
  /** Threads, the calling one included; default one per core. The whole process shares them. Results do not depend on it. */
  readonly threads?: number;
  /**
   * "x86-64", "x86-64-v3", "x86-64-v3+vnni", "x86-64-v4", "x86-64-v4+vnni" or "arm64"; "auto" for the best that the
   * machine has. Shared as well.
   */
  readonly isa?: string;
}

/**
 * The CPU device. Several may exist; they share the library, its threads and its pool of memory.
 * @throws LibraryError without a native library; Error for an impossible option.
 */
export function createCpuDevice(options: CpuOptions = {}): Device {
  const library = loadLibrary();
  if (options.isa !== undefined) library.call('xl_set_isa', options.isa);
  if (options.threads !== undefined) library.call('xl_set_threads', options.threads);
  const isa = (): string => String(library.get('xl_isa')());
  const threads = (): number => Number(library.get('xl_get_threads')());
  const device = createNativeDevice({
    name: 'cpu',
    library,
    readsHostMemory: true,
    hasBf16: false,
    info: {
      get description() {
        return `${cpus()[0]?.model.trim() ?? 'CPU'}, ${isa()}, ${count(threads(), 'thread')}`;
      },
      get threads() {
        return threads();
      },
      library: library.path,
    },
  });
  const recordings = new Recordings(library);
  return Object.assign(device, {
    recorder: { record: (run: () => void) => recordings.record(run), update: null },
    collected: <T>(body: () => T) => collected(library, device, body),
  });
}

function collected<T>(library: Library, { memory }: Device, body: () => T): T {
  library.call('xl_collect_begin');
  let result: T;
  try {
    result = body();
  } catch (error) {
    library.get('xl_collect_end')(); // what came before the error runs, as it would have; the first error is the one to tell
    throw error;
  }
  try {
    library.call('xl_collect_end');
  } catch (error) {
    if (error instanceof OutOfMemoryError) error.held = memory.bytes;
    throw error;
  }
  return result;
}

function count(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? '' : 's'}`;
}
