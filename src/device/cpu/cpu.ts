/**
 * @file The CPU device: memory and kernels of the native library, float32. The kernels are C++ under `native/cpu`;
 * here are memory, conversion and assembly.
 */
import { cpus } from 'node:os';
import type { Device, HostArray } from '../device.js';
import type { Dtype } from '../kernels.js';
import { bindKernels } from './bind.js';
import { BYTES, CpuBuffer, own } from './buffer.js';
import { loadLibrary } from './library.js';

export interface CpuOptions {
  /** Threads, the calling one included; default one per core. The whole process shares them. Results do not depend on it. */
  readonly threads?: number;
  /** "x86-64-v4", "x86-64-v3", "x86-64", "arm64", or "auto" for the best that the machine has. Shared as well. */
  readonly isa?: string;
}

const ARRAYS = { float: Float32Array, int32: Int32Array, uint8: Uint8Array } as const;

/**
 * The CPU device. Several may exist; they share the library, its threads and its pool of memory.
 * @throws LibraryError without a native library; Error for an impossible option.
 */
export function createCpuDevice(options: CpuOptions = {}): Device {
  const library = loadLibrary();
  if (options.isa !== undefined) library.call('xl_set_isa', options.isa);
  if (options.threads !== undefined) library.call('xl_set_threads', options.threads);
  const kernels = bindKernels(library);
  const held = { bytes: 0, peak: 0, poison: false };
  const allocAddress = new Float64Array(1);

  const device: Device = {
    name: 'cpu',
    precision: 'float32',
    kernels,
    info: {
      get description() {
        return `${cpus()[0]?.model.trim() ?? 'CPU'}, ${isa()}, ${count(threads(), 'thread')}`;
      },
      get threads() {
        return threads();
      },
    },

    alloc(dtype, length) {
      if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`cpu: alloc of ${length} elements`);
      const bytes = length * BYTES[dtype];
      library.call('xl_alloc', allocAddress, bytes);
      const buffer = new CpuBuffer(dtype, length, allocAddress[0] as number, { freed: false }, false);
      held.bytes += bytes;
      held.peak = Math.max(held.peak, held.bytes);
      if (held.poison && dtype === 'float') library.call('xl_fill', buffer.address, NaN, length);
      return buffer;
    },

    share(dtype, memory) {
      const width = BYTES[dtype];
      const { length } = memory;
      if (length % width !== 0) throw new RangeError(`cpu: share of ${length} bytes as ${dtype}`);
      if (!(memory instanceof Uint8Array) && memory.address % width === 0) {
        return new CpuBuffer(dtype, length / width, memory.address, { freed: false, shared: memory }, false);
      }
      const buffer = device.alloc(dtype, length / width);
      const bytes = memory instanceof Uint8Array ? memory : memory.bytes();
      library.call('xl_write', own(buffer, 'share').address, bytes, length);
      return buffer;
    },

    free(buffer) {
      const { address, bytes, allocation, isView } = own(buffer, 'free: its argument');
      if (isView) throw new Error('cpu: free of a view; free the buffer that it was taken from');
      allocation.freed = true;
      if (allocation.shared !== undefined) {
        delete allocation.shared;
        return;
      }
      library.call('xl_free', address, bytes);
      held.bytes -= bytes;
    },

    view(buffer, offset, length) {
      const whole = own(buffer, 'view: its argument');
      if (!Number.isSafeInteger(offset) || offset < 0 || !(length >= 0) || offset + length > whole.length) {
        throw new RangeError(`cpu: view of ${length} elements at ${offset} leaves a buffer of ${whole.length}`);
      }
      return new CpuBuffer(whole.dtype, length, whole.address + offset * BYTES[whole.dtype], whole.allocation, true);
    },

    write(buffer, data) {
      const { dtype, length, address, bytes } = own(buffer, 'write: its argument');
      if (data.length !== length)
        throw new RangeError(`cpu: write of ${data.length} elements to a buffer of ${length}`);
      library.call('xl_write', address, converted(data, dtype), bytes);
    },

    async read(buffer) {
      const { dtype, length, address, bytes } = own(buffer, 'read: its argument');
      const data = new ARRAYS[dtype](length);
      library.call('xl_read', data, address, bytes);
      return data;
    },

    memory: {
      get bytes() {
        return held.bytes;
      },
      get peak() {
        return held.peak;
      },
      resetPeak() {
        held.peak = held.bytes;
      },
    },

    get poison() {
      return held.poison;
    },
    set poison(on) {
      held.poison = on;
    },
  };
  return device;

  function isa(): string {
    return String(library.get('xl_isa')());
  }
  function threads(): number {
    return Number(library.get('xl_get_threads')());
  }
}

function converted(data: HostArray, dtype: Dtype): HostArray {
  const wanted = ARRAYS[dtype];
  return data instanceof wanted ? data : new wanted(data);
}

function count(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? '' : 's'}`;
}
