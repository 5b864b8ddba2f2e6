/**
 * @file Memory of the CPU device: an address that knows whether it is still alive. It allocates nothing itself.
 */
import type { HostMemory } from '../device.js';
import type { DeviceBuffer, Dtype } from '../kernels.js';

/** One block from the library's allocator; the buffer that owns it and its views share this record. */
export interface Allocation {
  freed: boolean;
  /** The memory of somebody else that this is; it stays while it is held here. */
  shared?: HostMemory;
}

export class CpuBuffer implements DeviceBuffer {
  readonly dtype: Dtype;
  readonly length: number;
  /** Where it lies, as a plain number: user addresses have less than 53 bits. */
  readonly address: number;
  readonly bytes: number;
  readonly allocation: Allocation;
  readonly isView: boolean;

  constructor(dtype: Dtype, length: number, address: number, allocation: Allocation, isView: boolean) {
    this.dtype = dtype;
    this.length = length;
    this.address = address;
    this.bytes = length * BYTES[dtype];
    this.allocation = allocation;
    this.isView = isView;
  }
}

/** Bytes of one element. */
export const BYTES: Record<Dtype, number> = { float: 4, int32: 4, uint8: 1 };

/**
 * @param what who asks, for the message: "view" or "add: argument a"
 * @throws Error if it is no buffer of this device, or has been freed.
 */
export function own(buffer: unknown, what: string): CpuBuffer {
  if (!(buffer instanceof CpuBuffer)) {
    const got = buffer === undefined ? 'undefined' : buffer === null ? 'null' : 'something else';
    throw new Error(`cpu: ${what} must be a buffer of the cpu device, got ${got}`);
  }
  if (buffer.allocation.freed) {
    throw new Error(`cpu: ${what} is a ${buffer.dtype} buffer of ${buffer.length} elements that was already freed`);
  }
  return buffer;
}
