/**
 * @file Memory of the WebGPU device: GPU buffers that are given out again, and the buffers of the contract, which are
 * stretches of them. It runs no kernel.
 */
import { formatBytes } from '../../format.js';
import type { DeviceBuffer, Dtype } from '../kernels.js';
import { BufferLimitError } from '../out-of-memory.js';

/** GPUBufferUsage, which Node has under no global name. */
export const Usage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, uniform: 0x40, storage: 0x80 } as const;

/** A GPU buffer; tensors and their views share it. */
export interface Memory {
  readonly buffer: GPUBuffer;
  readonly id: number;
  readonly bytes: number;
  /** The last batch of commands that used it. */
  batch: number;
}

/** What a buffer and its views share. */
interface Allocation {
  readonly memory: Memory;
  freed: boolean;
}

/** Bytes of one element. */
export const BYTES: Record<Dtype, number> = { float: 4, bf16: 2, int32: 4, uint8: 1 };

export class WebGpuBuffer implements DeviceBuffer {
  readonly pool: MemoryPool;
  readonly dtype: Dtype;
  readonly length: number;
  /** Where it begins in its memory, in elements. */
  readonly offset: number;
  readonly allocation: Allocation;
  readonly isView: boolean;

  constructor(pool: MemoryPool, dtype: Dtype, length: number, allocation: Allocation, offset = 0, isView = false) {
    this.pool = pool;
    this.dtype = dtype;
    this.length = length;
    this.allocation = allocation;
    this.offset = offset;
    this.isView = isView;
  }

  get memory(): Memory {
    return this.allocation.memory;
  }

  get bytes(): number {
    return this.length * BYTES[this.dtype];
  }
}

/** Rounds up to one of four sizes between two powers of two, so that what was freed fits what is wanted next. */
function roomFor(bytes: number): number {
  if (bytes <= 256) return 256;
  const step = 2 ** (Math.ceil(Math.log2(bytes)) - 3);
  return Math.max(256, Math.ceil(bytes / step) * step);
}

/** GPU buffers by size; what is freed is kept and given out again. */
export class MemoryPool {
  readonly #device: GPUDevice;
  readonly #limit: { readonly name: string; readonly bytes: number };
  readonly #free = new Map<number, Memory[]>();
  #count = 0;
  #bytes = 0;
  #peak = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    this.#limit =
      maxBufferSize < maxStorageBufferBindingSize
        ? { name: 'maxBufferSize', bytes: maxBufferSize }
        : { name: 'maxStorageBufferBindingSize', bytes: maxStorageBufferBindingSize };
  }

  /** Bytes held by buffers that are not freed. */
  get bytes(): number {
    return this.#bytes;
  }

  get peak(): number {
    return this.#peak;
  }

  resetPeak(): void {
    this.#peak = this.#bytes;
  }

  /** @throws RangeError for a length that is none, or beyond what the adapter allows in one buffer. */
  alloc(dtype: Dtype, length: number): WebGpuBuffer {
    if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`webgpu: alloc of ${length} elements`);
    if (dtype === 'bf16') throw new Error('webgpu: has no kernels of bf16 activations; use float');
    const bytes = length * BYTES[dtype];
    const { name, bytes: most } = this.#limit;
    if (bytes > most) {
      const message =
        `webgpu: a ${dtype} buffer of ${length} elements takes ${formatBytes(bytes)}, this adapter allows ` +
        `${formatBytes(most)} in one buffer (${name}); take a smaller model, batch or context, or another device`;
      throw new BufferLimitError(message, name, bytes, most);
    }
    const room = Math.min(roomFor(bytes), Math.floor(most / 4) * 4);
    const memory = this.#free.get(room)?.pop() ?? this.#create(room);
    this.#bytes += bytes;
    this.#peak = Math.max(this.#peak, this.#bytes);
    return new WebGpuBuffer(this, dtype, length, { memory, freed: false });
  }

  #create(bytes: number): Memory {
    const usage = Usage.storage | Usage.copySource | Usage.copyTarget;
    return { buffer: this.#device.createBuffer({ size: bytes, usage }), id: this.#count++, bytes, batch: -1 };
  }

  free(buffer: WebGpuBuffer): void {
    if (buffer.isView) throw new Error('webgpu: free of a view; free the buffer that it was taken from');
    const { allocation, memory, bytes } = buffer;
    allocation.freed = true;
    this.#bytes -= bytes;
    const free = this.#free.get(memory.bytes);
    if (free === undefined) this.#free.set(memory.bytes, [memory]);
    else free.push(memory);
  }

  view(whole: WebGpuBuffer, offset: number, length: number): WebGpuBuffer {
    if (!Number.isSafeInteger(offset) || offset < 0 || !(length >= 0) || offset + length > whole.length) {
      throw new RangeError(`webgpu: view of ${length} elements at ${offset} leaves a buffer of ${whole.length}`);
    }
    return new WebGpuBuffer(this, whole.dtype, length, whole.allocation, whole.offset + offset, true);
  }

  /** @throws Error if it is no buffer of this device, or has been freed. */
  own(buffer: unknown, what: string): WebGpuBuffer {
    if (!(buffer instanceof WebGpuBuffer) || buffer.pool !== this) {
      const got = buffer === undefined ? 'undefined' : buffer === null ? 'null' : 'something else';
      throw new Error(`webgpu: ${what} must be a buffer of this webgpu device, got ${got}`);
    }
    if (buffer.allocation.freed) {
      throw new Error(
        `webgpu: ${what} is a ${buffer.dtype} buffer of ${buffer.length} elements that was already freed`,
      );
    }
    return buffer;
  }
}
