/**
 * @file Memory of a native device (cpu, cuda): an address that knows whose it is and whether it is still alive. It
 * allocates nothing itself.
 */
import type { DeviceName, HostMemory } from '../device.js';
import type { DeviceBuffer, Dtype } from '../kernels.js';

/** One block from the library's allocator; the buffer that owns it and its views share this record. */
export interface Allocation {
  freed: boolean;
  /** The memory of somebody else that this is; it stays while it is held here. */
  shared?: HostMemory;
}

export class NativeBuffer implements DeviceBuffer {
  readonly device: DeviceName;
  readonly dtype: Dtype;
  readonly length: number;
  /** Where it lies, as a plain number: user addresses have less than 53 bits. */
  readonly address: number;
  readonly bytes: number;
  readonly allocation: Allocation;
  readonly isView: boolean;

  constructor(
    device: DeviceName,
    dtype: Dtype,
    length: number,
    address: number,
    allocation: Allocation,
    isView: boolean,
  ) {
    this.device = device;
    this.dtype = dtype;
    this.length = length;
    this.address = address;
    this.bytes = length * BYTES[dtype];
    this.allocation = allocation;
    this.isView = isView;
  }
}

/** Bytes of one element. */
export const BYTES: Record<Dtype, number> = { float: 4, bf16: 2, int32: 4, uint8: 1 };

/**
 * @param device the device that asks
 * @param what   who asks, for the message: "view" or "add: argument a"
 * @throws Error if it is no buffer of this device, or has been freed.
 */
export function own(device: DeviceName, buffer: unknown, what: string): NativeBuffer {
  if (!(buffer instanceof NativeBuffer) || buffer.device !== device) {
    const got = buffer === undefined ? 'undefined' : buffer === null ? 'null' : 'something else';
    throw new Error(`${device}: ${what} must be a buffer of the ${device} device, got ${got}`);
  }
  if (buffer.allocation.freed) {
    throw new Error(
      `${device}: ${what} is a ${buffer.dtype} buffer of ${buffer.length} elements that was already freed`,
    );
  }
  return buffer;
}
