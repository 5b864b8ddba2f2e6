/**
 * @file Maps a file into memory, read-only and without copying: token files and checkpoints larger than memory.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { LibraryError, loadLibrary } from './library.js';

export interface MappedFile {
  /** The file's contents. Must not be written to: the memory is read-only. Empty after `close`. */
  readonly bytes: Uint8Array;
  /** Ends the mapping; arrays made from `bytes` must not be used any more. May be called twice. */
  close(): void;
}

/**
 * The contents of a file. Without the native library the file is read into memory instead.
 * @throws Error if the file cannot be read, naming it.
 */
export function mapFile(path: string): MappedFile {
  const library = libraryOrNothing();
  if (!library) return heldInMemory(readFileSync(path));
  const addressAndSize = new Float64Array(2);
  library.call('xl_map_file', addressAndSize, path);
  const [address = 0, size = 0] = addressAndSize;
  if (size === 0) return heldInMemory(new Uint8Array(0));
  let view: ArrayBuffer | undefined = koffi.view(address, size);
  let bytes = new Uint8Array(view);
  return {
    get bytes() {
      return bytes;
    },
    close() {
      if (!view) return;
      structuredClone(view, { transfer: [view] }); // detaches it: what still points into the file becomes empty
      view = undefined;
      bytes = new Uint8Array(0);
      library.call('xl_unmap_file', address, size);
    },
  };
}

function libraryOrNothing() {
  try {
    return loadLibrary();
  } catch (error) {
    if (error instanceof LibraryError) return undefined;
    throw error;
  }
}

function heldInMemory(contents: Uint8Array): MappedFile {
  let bytes = contents;
  return {
    get bytes() {
      return bytes;
    },
    close() {
      bytes = new Uint8Array(0);
    },
  };
}
