/**
 * @file A device whose memory and kernels are those of a native library, float32: what cpu and cuda have in common. What
 * runs the kernels, and how the library is found, is theirs.
 */
import type { Device, DeviceInfo, DeviceName, HostArray } from '../device.js';
import type { DeviceBuffer, Dtype } from '../kernels.js';
import type { AbsentKernels } from '../kernel-names.js';
import { OutOfMemoryError } from '../out-of-memory.js';
import { bindKernels } from './bind.js';
import { BYTES, NativeBuffer, own } from './buffer.js';
import type { Library } from './library.js';

export interface NativeDeviceOptions {
  readonly name: DeviceName;
  readonly library: Library;
  readonly info: DeviceInfo;
  /** Whether kernels can read host memory, so that a mapped file need not be copied. */
  readonly readsHostMemory: boolean;
  /** Whether the library has kernels of bf16 activations. */
  readonly hasBf16: boolean;
  readonly absent?: AbsentKernels;
}

const ARRAYS = { float: Float32Array, bf16: Float32Array, int32: Int32Array, uint8: Uint8Array } as const;

export function createNativeDevice(options: NativeDeviceOptions): Device {
  const { name, library, info, readsHostMemory, hasBf16, absent } = options;
  const held = { bytes: 0, peak: 0, poison: false };
  const kernels = bindKernels(name, library, absent, () => held.bytes);
  const allocAddress = new Float64Array(1);

  const device: Device = {
    name,
    precision: 'float32',
    hasBf16,
    kernels,
    info,
    absent: new Map(Object.entries(absent ?? {})) as Device['absent'],

    alloc(dtype, length) {
      if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`${name}: alloc of ${length} elements`);
      if (dtype === 'bf16' && !hasBf16) throw new Error(`${name}: has no kernels of bf16 activations; use float`);
      const bytes = length * BYTES[dtype];
      try {
        library.call('xl_alloc', allocAddress, bytes);
      } catch (error) {
        if (error instanceof OutOfMemoryError) error.held = held.bytes;
        throw error;
      }
      const buffer = new NativeBuffer(name, dtype, length, allocAddress[0] as number, { freed: false }, false);
      held.bytes += bytes;
      held.peak = Math.max(held.peak, held.bytes);
      const fill = dtype === 'float' ? 'xl_fill' : dtype === 'bf16' ? 'xl_fill_bf16' : null;
      if (held.poison && fill !== null) library.call(fill, buffer.address, NaN, length);
      return buffer;
    },

    share(dtype, memory) {
      const width = BYTES[dtype];
      const { length } = memory;
      if (length % width !== 0) throw new RangeError(`${name}: share of ${length} bytes as ${dtype}`);
      if (readsHostMemory && !(memory instanceof Uint8Array) && memory.address % width === 0) {
        return new NativeBuffer(name, dtype, length / width, memory.address, { freed: false, shared: memory }, false);
      }
      const buffer = device.alloc(dtype, length / width);
      const bytes = memory instanceof Uint8Array ? memory : memory.bytes();
      library.call('xl_write', own(name, buffer, 'share').address, bytes, length);
      return buffer;
    },

    free(buffer) {
      const { address, bytes, allocation, isView } = own(name, buffer, 'free: its argument');
      if (isView) throw new Error(`${name}: free of a view; free the buffer that it was taken from`);
      allocation.freed = true;
      if (allocation.shared !== undefined) {
        delete allocation.shared;
        return;
      }
      library.call('xl_free', address, bytes);
      held.bytes -= bytes;
    },

    view(buffer, offset, length) {
      const whole = own(name, buffer, 'view: its argument');
      if (!Number.isSafeInteger(offset) || offset < 0 || !(length >= 0) || offset + length > whole.length) {
        throw new RangeError(`${name}: view of ${length} elements at ${offset} leaves a buffer of ${whole.length}`);
      }
      const address = whole.address + offset * BYTES[whole.dtype];
      return new NativeBuffer(name, whole.dtype, length, address, whole.allocation, true);
    },

    write(buffer, data) {
      const { dtype, length, address, bytes } = own(name, buffer, 'write: its argument');
      if (data.length !== length)
        throw new RangeError(`${name}: write of ${data.length} elements to a buffer of ${length}`);
      if (dtype === 'bf16') return throughFloats(buffer, (floats) => device.write(floats, data));
      library.call('xl_write', address, converted(data, dtype), bytes);
    },

    cast(y, x) {
      const [to, from] = [own(name, y, 'cast: y'), own(name, x, 'cast: x')];
      if (to.length !== from.length)
        throw new RangeError(`${name}: cast of ${from.length} elements to a buffer of ${to.length}`);
      if (to.dtype === from.dtype) kernels.copy(y, x, to.length);
      else if (to.dtype === 'bf16' && from.dtype === 'float')
        library.call('xl_cast_to_bf16', to.address, from.address, to.length);
      else if (to.dtype === 'float' && from.dtype === 'bf16')
        library.call('xl_cast_from_bf16', to.address, from.address, to.length);
      else throw new TypeError(`${name}: cast of ${from.dtype} to ${to.dtype}`);
    },

    async read(buffer) {
      const { dtype, length, address, bytes } = own(name, buffer, 'read: its argument');
      if (dtype === 'bf16') {
        const floats = device.alloc('float', length);
        device.cast(floats, buffer);
        const data = await device.read(floats);
        device.free(floats);
        return data;
      }
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

  /** Fills a bf16 buffer from floats that `fill` writes. */
  function throughFloats(buffer: DeviceBuffer, fill: (floats: DeviceBuffer) => void): void {
    const floats = device.alloc('float', buffer.length);
    fill(floats);
    device.cast(buffer, floats);
    device.free(floats);
  }
}

function converted(data: HostArray, dtype: Dtype): HostArray {
  const wanted = ARRAYS[dtype];
  return data instanceof wanted ? data : new wanted(data);
}
