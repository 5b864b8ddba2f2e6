/**
 * @file A device: memory plus kernels. It does not know tensors, shapes or gradients.
 */
import type { DeviceBuffer, Dtype, KernelName, Kernels } from './kernels.js';

export type DeviceName = 'reference' | 'cpu' | 'cuda' | 'webgpu';
export type FloatArray = Float32Array | Float64Array;
export type HostArray = FloatArray | Int32Array | Uint8Array;

export interface DeviceInfo {
  /** One line for people: what runs the kernels ("AMD EPYC, AVX-512, 2 threads"). */
  readonly description: string;
  readonly threads: number;
  /** Whether it is a program that stands for a GPU, far slower than the processor it runs on. */
  readonly isEmulated?: boolean;
  /** File of the native library that has the kernels; none where they are in the package itself. */
  readonly library?: string;
}

/** Bytes in memory outside of JavaScript's, such as a mapped file, that stay as they are while anybody holds this object. */
export interface HostMemory {
  readonly address: number;
  readonly length: number;
  /** As an array: in place, but JavaScript's memory accounting takes it for its own, so not for what is large and many. */
  bytes(): Uint8Array;
}

/** Kernels recorded once, to be run again with one call. They read and write the very buffers of the recording. */
export interface Recording {
  launch(): void;
  /** Gives back what the recording allocated and has freed since. */
  destroy(): void;
  /** Whether it is gone: destroyed, or taken back by a device that ran out of memory. */
  readonly isDestroyed: boolean;
}

export interface Recorder {
  /** Records the kernels that `run` enqueues; they do not run yet. No read meanwhile, and on `cuda` no write. */
  record(run: () => void): Recording;
  /** What a recorded training step ends with; null where calls cost so little beside training that it is not recorded. */
  readonly update: RecordedUpdate | null;
}

/** The update of a recorded training step, whose numbers that change lie in memory. */
export interface RecordedUpdate {
  /**
   * scale[0] = the factor that brings a gradient of norm sqrt(found[1]) down to `clip`, at most 1; NaN where the norm or
   * the loss found[0] is not finite.
   */
  clipScale(scale: DeviceBuffer /* [1] */, found: DeviceBuffer /* [2] */, clip: number): void;
  /**
   * The kernel `adamw` with gradScale = scale[0], lr / correction1 = rates[0], 1 / correction2 = rates[1] and
   * lr * weightDecay = rates[2]; copy, if there is one, becomes the new parameters as bf16. Does nothing where scale[0] is NaN.
   */
  adamw(
    parameter: DeviceBuffer /* [N] */,
    copy: DeviceBuffer | null /* bf16 [N] */,
    m: DeviceBuffer,
    v: DeviceBuffer,
    gradient: DeviceBuffer,
    scale: DeviceBuffer /* [1] */,
    rates: DeviceBuffer /* [3] */,
    N: number,
    beta1: number,
    beta2: number,
    eps: number,
  ): void;
}

export interface Device {
  readonly name: DeviceName;
  /** What `float` means here. */
  readonly precision: 'float32' | 'float64';
  /** Whether kernels take activations as `bf16`. */
  readonly hasBf16: boolean;
  readonly kernels: Kernels;
  readonly info: DeviceInfo;
  /** Kernels that it does not have yet, each with the reason; a call of one throws. */
  readonly absent: ReadonlyMap<KernelName, string>;
  /** Where kernels can be recorded and run again with one call. */
  readonly recorder?: Recorder;
  /**
   * Where the way from one kernel to the next costs time: runs `body`, and the kernels that it enqueues at its end, or when
   * it reads a buffer. Errors of kernels are thrown then.
   */
  collected?<T>(body: () => T): T;
  /**
   * New memory for `length` elements. Its contents are unspecified; with `poison` on, floats are NaN, so that a kernel
   * that skips an element is seen. @throws OutOfMemoryError when memory is exhausted, saying how much was asked and is held.
   */
  alloc(dtype: Dtype, length: number): DeviceBuffer;
  /**
   * Memory with the contents of host bytes that stay as they are, to be read only: float32 values (little endian) as
   * `float`, bytes as `uint8`. A device that can shares the memory of a mapped file, and keeps the map alive.
   * @throws RangeError when the bytes are no whole number of elements.
   */
  share(dtype: 'float' | 'uint8', bytes: Uint8Array | HostMemory): DeviceBuffer;
  /** Gives memory back. Views of it die with it. */
  free(buffer: DeviceBuffer): void;
  /** `length` elements of `buffer` from `offset` on, sharing its memory. */
  view(buffer: DeviceBuffer, offset: number, length: number): DeviceBuffer;
  /** Copies host data into the buffer, converting floats to the device's precision. @throws RangeError on a wrong length. */
  write(buffer: DeviceBuffer, data: HostArray): void;
  /** y = x, of which one or both are bf16, rounded to nearest even. @throws Error where the device has no bf16. */
  cast(y: DeviceBuffer, x: DeviceBuffer): void;
  /** A copy of the buffer on the host, floats for bf16, once all kernels enqueued before have run. */
  read(buffer: DeviceBuffer): Promise<HostArray>;
  /**
   * Where waiting for a number costs time: runs `body`, whose `adamw` the device itself decides about once it knows
   * `scalars` [2], a loss and the squared norm of the gradient. Where one is not finite nothing is changed; where the norm is
   * above `clip`, the gradient is scaled down to it.
   */
  guarded?(scalars: DeviceBuffer, clip: number, body: () => void): void;
  /** Bytes held now and the most held since `resetPeak`. */
  readonly memory: { readonly bytes: number; readonly peak: number; resetPeak(): void };
  /** When true, fresh float memory is filled with NaN. For tests. */
  poison: boolean;
}

/** Bytes that a buffer takes on its device. */
export const bytesOf = ({ precision }: Device, { dtype, length }: DeviceBuffer): number =>
  length * (dtype === 'uint8' ? 1 : dtype === 'bf16' ? 2 : dtype === 'float' && precision === 'float64' ? 8 : 4);

/** Host bytes as float32 values: in place where they are aligned, else a copy. @throws RangeError for a part of one. */
export function float32sOf(what: string, bytes: Uint8Array): Float32Array {
  if (bytes.length % 4 !== 0) throw new RangeError(`${what}: ${bytes.length} bytes are no whole number of float32`);
  const { buffer, byteOffset } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Float32Array(buffer as ArrayBuffer, byteOffset, bytes.length / 4);
}
