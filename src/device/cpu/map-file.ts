/**
 * @file Maps a file into memory, read-only and without copying: token files and checkpoints larger than memory.
 */
import fs from 'node:fs';
import koffi from 'koffi';
import type { HostMemory } from '../device.js';
import { LibraryError, loadLibrary } from './library.js';

export interface MappedFile {
  /** Bytes of the file. */
  readonly size: number;
  /** The file's contents. Must not be written to: the memory is read-only. Empty after `close`. */
  readonly bytes: Uint8Array;
  /**
   * `length` bytes from `offset` on, without copying; for files that are too large for one array. Not to be written to.
   * @throws RangeError when they are not within the file, Error after `close`.
   */
  range(offset: number, length: number): Uint8Array;
  /** As `range`, for a device to share; null without the native library. */
  memory(offset: number, length: number): HostMemory | null;
  /** Lets go of the file. Arrays taken from it stay valid; the mapping ends when the last one is collected. */
  close(): void;
}

/** A stretch of memory that is a file. It ends when nobody holds this object. */
interface Mapping {
  readonly address: number;
  readonly size: number;
}

/**
 * Ends mappings whose memory JavaScript no longer sees. Not `close`: a view that is still around would then point into
 * memory that is gone, and JavaScript has no way to empty it (koffi's buffers cannot be detached).
 */
const unmapper = new FinalizationRegistry<Mapping>(({ address, size }) =>
  loadLibrary().call('xl_unmap_file', address, size),
);

/** Keeps the mapping of each buffer. */
const mappings = new WeakMap<ArrayBufferLike, Mapping>();

/**
 * The contents of a file. Without the native library they are read when they are asked for, not mapped.
 * @throws Error if the file cannot be read, naming it.
 */
export function mapFile(path: string): MappedFile {
  const library = libraryOrNothing();
  if (!library) return readableFile(path);
  const addressAndSize = new Float64Array(2);
  library.call('xl_map_file', addressAndSize, path);
  const [address = 0, size = 0] = addressAndSize;
  let mapping: Mapping | null = { address, size };
  if (size > 0) unmapper.register(mapping, { address, size });
  let whole: Uint8Array | null = null;
  const range = (offset: number, length: number): Uint8Array => {
    if (mapping === null) throw new Error(`${path}: the file is closed`);
    checkRange(path, size, offset, length);
    return length === 0 ? new Uint8Array(0) : viewOf(mapping, offset, length);
  };
  return {
    size,
    get bytes() {
      return mapping === null ? new Uint8Array(0) : (whole ??= range(0, size));
    },
    range,
    memory(offset, length) {
      if (mapping === null) throw new Error(`${path}: the file is closed`);
      checkRange(path, size, offset, length);
      return new MappedMemory(mapping, offset, length);
    },
    close() {
      mapping = null;
      whole = null;
    },
  };
}

class MappedMemory implements HostMemory {
  readonly address: number;
  readonly length: number;
  readonly #mapping: Mapping;

  constructor(mapping: Mapping, offset: number, length: number) {
    this.address = mapping.address + offset;
    this.length = length;
    this.#mapping = mapping;
  }

  bytes(): Uint8Array {
    const offset = this.address - this.#mapping.address;
    return this.length === 0 ? new Uint8Array(0) : viewOf(this.#mapping, offset, this.length);
  }
}

function viewOf(mapping: Mapping, offset: number, length: number): Uint8Array {
  const address = mapping.address + offset;
  const memory = koffi.view(address, length);
  mappings.set(memory, mapping);
  return new Uint8Array(memory);
}

function readableFile(path: string): MappedFile {
  const fd = fs.openSync(path, 'r');
  const { size } = fs.fstatSync(fd);
  let open = true;
  const range = (offset: number, length: number): Uint8Array => {
    if (!open) throw new Error(`${path}: the file is closed`);
    checkRange(path, size, offset, length);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const count = fs.readSync(fd, bytes, done, Math.min(length - done, 1 << 30), offset + done);
      if (count === 0) throw new Error(`${path}: the file got shorter while it was open`);
      done += count;
    }
    return bytes;
  };
  return {
    size,
    get bytes() {
      return open ? range(0, size) : new Uint8Array(0);
    },
    range,
    memory: () => null,
    close() {
      if (open) fs.closeSync(fd);
      open = false;
    },
  };
}

function checkRange(path: string, size: number, offset: number, length: number): void {
  if (offset >= 0 && length >= 0 && offset + length <= size) return;
  throw new RangeError(`${path}: ${length} bytes at ${offset} are not within its ${size} bytes`);
}

function libraryOrNothing() {
  try {
    return loadLibrary();
  } catch (error) {
    if (error instanceof LibraryError) return undefined;
    throw error;
  }
}
