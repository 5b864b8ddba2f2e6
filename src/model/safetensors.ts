/**
 * @file Safetensors files: opened and read tensor by tensor, and written (streamed, then renamed into place).
 * The rules of the format stand in `safetensors-header.ts`; which tensors a model has, in `checkpoint.ts`.
 */
import fs from 'node:fs';
import path from 'node:path';
import { mapFile, type MappedFile } from '../device/cpu/map-file.js';
import type { HostMemory } from '../device/device.js';
import { toFloat32 } from './float-formats.js';
import { cleanLeftovers, explainWriteFailure, removeQuietly, syncFolder, temporaryName, writeAll } from './disk.js';
import {
  buildSafetensorsHeader,
  parseSafetensorsHeader,
  SafetensorsError,
  type TensorEntry,
} from './safetensors-header.js';
import type { TensorSet } from './tensor-set.js';
import { arrayOf, piecesOf, type TensorArray, type TensorToWrite } from './tensor-array.js';

export interface SafetensorsFile extends TensorSet {
  /**
   * A copy of a tensor's elements in their own type, the caller's to keep.
   * @throws RangeError if there is no such tensor. @throws SafetensorsError if the file got shorter meanwhile.
   */
  read(name: string): TensorArray;
  /** A copy of a tensor as float32; exact for F32, F16 and BF16, rounded to nearest for the others. */
  readFloat32(name: string): Float32Array;
}

/** Bytes of a file by position. */
interface ByteSource {
  readonly size: number;
  /** A copy of `length` bytes from `offset`. @throws SafetensorsError if the file got shorter meanwhile. */
  readonly read: (offset: number, length: number) => Uint8Array;
  readonly close: () => void;
}

/**
 * Opens a safetensors file and checks its whole header.
 *
 * @throws SafetensorsError if the file violates the format, saying what is wrong and where.
 * @throws Error (of the file system) if it cannot be opened.
 */
export function openSafetensors(file: string): SafetensorsFile {
  const source = openSource(file);
  try {
    const { metadata, tensors } = parseSafetensorsHeader(source.read, source.size, file);
    return new OpenFile(file, metadata, tensors, source);
  } catch (error) {
    source.close();
    throw error;
  }
}

class OpenFile implements SafetensorsFile {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  private source: ByteSource | null;
  /** Made at the first view. */
  private map: MappedFile | null = null;

  constructor(
    file: string,
    metadata: Readonly<Record<string, string>>,
    tensors: ReadonlyMap<string, TensorEntry>,
    source: ByteSource,
  ) {
    this.path = file;
    this.metadata = metadata;
    this.tensors = tensors;
    this.source = source;
  }

  read(name: string): TensorArray {
    const { dtype, offset, byteLength } = this.entry(name);
    const bytes = this.opened().read(offset, byteLength);
    return arrayOf(dtype, bytes);
  }

  view(name: string): Uint8Array {
    const { offset, byteLength } = this.entry(name);
    this.opened();
    this.map ??= mapFile(this.path);
    return this.map.range(offset, byteLength);
  }

  memory(name: string, begin = 0, length = this.entry(name).byteLength): HostMemory | null {
    const { offset, byteLength } = this.entry(name);
    if (begin < 0 || length < 0 || begin + length > byteLength) {
      throw new RangeError(`${this.path}: ${length} bytes at ${begin} are not within the ${byteLength} of ${name}`);
    }
    this.opened();
    this.map ??= mapFile(this.path);
    return this.map.memory(offset + begin, length);
  }

  private opened(): ByteSource {
    if (this.source === null) throw new Error(`${this.path}: the file is closed; read before close()`);
    return this.source;
  }

  private entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry !== undefined) return entry;
    const names = [...this.tensors.keys()];
    const some = names.slice(0, 3).join(', ') + (names.length > 3 ? ', ...' : '');
    throw new RangeError(
      `${this.path}: no tensor is called ${JSON.stringify(name)}; the file has ${names.length} (${some})`,
    );
  }

  readFloat32(name: string): Float32Array {
    const data = this.read(name);
    return data instanceof Float32Array ? data : toFloat32(data, this.tensors.get(name)!.dtype);
  }

  close(): void {
    this.source?.close();
    this.map?.close();
    this.source = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Positional reads, for copies: a map would end the process when somebody truncates the file meanwhile; a read says so. */
function openSource(file: string): ByteSource {
  const stat = fs.statSync(file);
  if (!stat.isFile()) {
    throw new SafetensorsError(`${file}: not a file but a ${stat.isDirectory() ? 'folder' : 'device or pipe'}`);
  }
  const fd = fs.openSync(file, 'r');
  return {
    size: fs.fstatSync(fd).size,
    read(offset, length) {
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const count = fs.readSync(fd, bytes, done, Math.min(length - done, 1 << 30), offset + done);
        if (count === 0) throw new SafetensorsError(`${file}: the file got shorter while it was open`);
        done += count;
      }
      return bytes;
    },
    close: () => fs.closeSync(fd),
  };
}

export interface WriteSafetensorsOptions {
  /**
   * The data begins at a multiple of it, itself a multiple of 8. Default 8, as other libraries have it; 64 puts rows of
   * packed matrices on cache lines when the file is mapped.
   */
  readonly alignment?: number;
}

/**
 * Writes a safetensors file: beside its place first, fsync, then renamed. Until then an older file of that name stands.
 * The order of the tensors is fixed (see `buildSafetensorsHeader`): equal content gives equal bytes.
 *
 * @throws WriteError if the disk refuses, in one sentence; the unfinished file is removed.
 * @throws RangeError if names, shapes and data do not fit each other.
 */
export async function writeSafetensors(
  file: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
  { alignment = 8 }: WriteSafetensorsOptions = {},
): Promise<void> {
  const { bytes, order, dataBytes } = buildSafetensorsHeader(tensors, metadata, alignment);
  const temporary = temporaryName(file);
  let fd: number | null = null;
  try {
    cleanLeftovers(path.dirname(file), path.basename(file));
    fd = fs.openSync(temporary, 'w');
    writeAll(fd, bytes);
    for (const tensor of order) {
      for await (const data of piecesOf(tensor))
        writeAll(fd, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    fs.fsyncSync(fd);
    const written = fd;
    fd = null; // closed below, also when closing fails
    fs.closeSync(written);
    fs.renameSync(temporary, file);
  } catch (error) {
    if (fd !== null) fs.closeSync(fd);
    removeQuietly(temporary);
    const stands = fs.existsSync(file) ? 'the file that was there before is unchanged' : 'no file was left';
    throw explainWriteFailure(error, 'the tensors', file, bytes.length + dataBytes, stands);
  }
  syncFolder(path.dirname(file));
}
