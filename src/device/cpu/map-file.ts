/**
 * @file Maps a file into memory, read-only and without copying: token files and checkpoints larger than memory.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { LibraryError, loadLibrary } from './library.js';

export interface MappedFile {
  /** The file's contents. Must not be written to: the memory is read-only. Empty after `close`. */
  readonly bytes: Uint8Array;
  /** Lets go of the file. Arrays taken from `bytes` stay valid; the mapping ends when the last one is collected. */
  close(): void;
}

/**
 * Ends mappings whose memory JavaScript no longer sees. Not `close`: a view that is still around would then point into
 * memory that is gone, and JavaScript has no way to empty it (koffi's buffers cannot be detached).
 */
const unmapper = new FinalizationRegistry<{ address: number; size: number }>(({ address, size }) =>
  loadLibrary().call('xl_unmap_file', address, size),
);

/** Where mapped memory lies. */
const addresses = new WeakMap<ArrayBufferLike, number>();

/** The address of the first of these bytes when they are mapped by this file, else null. */
export function mappedAddress({ buffer, byteOffset }: Uint8Array): number | null {
  const start = addresses.get(buffer);
  return start === undefined ? null : start + byteOffset;
}

/**
 * The contents of a file. Without the native library the file is read into memory instead.
 * @throws Error if the file cannot be read, naming it.
 */
export function mapFile(path: string): MappedFile {
  let bytes = contentsOf(path);
  return {
    get bytes() {
      return bytes;
    },
    close() {
      bytes = new Uint8Array(0);
    },
  };
}

function contentsOf(path: string): Uint8Array {
  const library = libraryOrNothing();
  if (!library) return readFileSync(path);
  const addressAndSize = new Float64Array(2);
  library.call('xl_map_file', addressAndSize, path);
  const [address = 0, size = 0] = addressAndSize;
  if (size === 0) return new Uint8Array(0);
  const memory = koffi.view(address, size);
  addresses.set(memory, address);
  unmapper.register(memory, { address, size });
  return new Uint8Array(memory);
}

function libraryOrNothing() {
  try {
    return loadLibrary();
  } catch (error) {
    if (error instanceof LibraryError) return undefined;
    throw error;
  }
}
