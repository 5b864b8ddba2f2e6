/**
 * @file The memory of the reference device: typed arrays with a dtype, views of them, and the checks that a kernel
 * makes before it reads one. It computes nothing.
 */
import type { DeviceBuffer, Dtype } from '../kernels.js';

type Floats = Float64Array;

/** What a buffer and its views share: whether the memory was given back. */
export interface Allocation {
  freed: boolean;
}

/** A buffer of the reference device. */
export interface ReferenceBuffer extends DeviceBuffer {
  readonly data: Float64Array | Int32Array | Uint8Array;
  readonly allocation: Allocation;
  readonly isView: boolean;
}

/** A buffer as this device knows it. @throws TypeError for memory of another device, Error for freed memory. */
export function own(buffer: DeviceBuffer): ReferenceBuffer {
  const candidate = buffer as Partial<ReferenceBuffer>;
  if (candidate.data === undefined || candidate.allocation === undefined) {
    throw new TypeError('reference: got a buffer of another device; read it there and write it here');
  }
  if (candidate.allocation.freed) {
    throw new Error(`reference: use of a ${buffer.dtype} buffer of ${buffer.length} elements after free`);
  }
  return candidate as ReferenceBuffer;
}

/** bf16 is kept as float64 here, without rounding. */
const storageOf = (dtype: Dtype): Dtype => (dtype === 'bf16' ? 'float' : dtype);

function typed(buffer: DeviceBuffer, dtype: Dtype, length: number): ReferenceBuffer['data'] {
  const { data } = own(buffer);
  if (storageOf(buffer.dtype) !== dtype)
    throw new TypeError(`reference: expected a ${dtype} buffer, got ${buffer.dtype}`);
  if (data.length < length) {
    throw new RangeError(
      `reference: the kernel's sizes ask for ${length} ${dtype} elements, the buffer has ${data.length}`,
    );
  }
  return data;
}

/** The numbers of a float buffer that must hold at least `length` elements. */
export const floats = (buffer: DeviceBuffer, length: number): Floats => typed(buffer, 'float', length) as Floats;

/** As `floats`, for an argument that may be absent. */
export const optionalFloats = (buffer: DeviceBuffer | null, length: number): Floats | null =>
  buffer === null ? null : floats(buffer, length);

/** The numbers of an int32 buffer that must hold at least `length` elements. */
export const ints = (buffer: DeviceBuffer, length: number): Int32Array => typed(buffer, 'int32', length) as Int32Array;

/** The bytes of a uint8 buffer that must hold at least `length` elements. */
export const bytes = (buffer: DeviceBuffer, length: number): Uint8Array => typed(buffer, 'uint8', length) as Uint8Array;

/** The flags of a uint8 buffer that must hold at least `length` elements; absent flags stay null. */
export const optionalFlags = (buffer: DeviceBuffer | null, length: number): Uint8Array | null =>
  buffer === null ? null : bytes(buffer, length);

/** to[row] += values, where `to` has rows as long as `values`. */
export function addTo(to: Float64Array | null, row: number, values: ArrayLike<number>): void {
  if (to) for (let e = 0; e < values.length; e++) to[row * values.length + e]! += values[e]!;
}
