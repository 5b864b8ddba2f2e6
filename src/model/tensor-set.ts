/** @file What a set of stored tensors is to its readers: one file, all shards of a folder, or bytes in memory. */
import type { HostMemory } from '../device/device.js';
import type { TensorInfo } from './safetensors-header.js';

/** Tensors by name: those of a file, or of all shards of a folder. */
export interface TensorSet {
  /** The file, or the folder of the shards. */
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** What is there, by name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * The bytes of a tensor in place, mapped from the file (without the native library a copy). Not to be written to. They
   * stay valid after `close`. Whoever truncates the file meanwhile ends the process, as with every mapped file.
   * @throws RangeError if there is no such tensor.
   */
  view(name: string): Uint8Array;
  /**
   * As `view`, for a device to share (`Device.share`); null without the native library.
   * @param begin, length  a range of the tensor's bytes, default all
   */
  memory(name: string, begin?: number, length?: number): HostMemory | null;
  close(): void;
  [Symbol.dispose](): void;
}
