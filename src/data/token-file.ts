/**
 * @file Numbers in a file, read at any place: token ids (uint16, uint32) or positions (float64), little-endian. The file
 * is mapped into memory where the native library is there to do it, else read piece by piece; both look the same.
 */
import fs from 'node:fs';
import { LibraryError, loadLibrary } from '../device/cpu/library.js';
import { mapFile } from '../device/cpu/map-file.js';
import { writeAll } from '../model/disk.js';
import type { NumberList } from './text-part.js';

export const numberArrays = { uint16: Uint16Array, uint32: Uint32Array, float64: Float64Array } as const;
export type NumberType = keyof typeof numberArrays;
type NumberArray = Uint16Array | Uint32Array | Float64Array;

export interface TokenFile extends NumberList {
  /** How it is read. */
  readonly access: 'map' | 'read';
  /** Ends reading. A mapping ends when it is collected, see `mapFile`. May be called twice. */
  close(): void;
}

export interface OpenOptions {
  /** Default: mapped where the native library is there, else read. */
  readonly access?: 'map' | 'read';
}

/** @throws Error if the file is not there or is not a whole number of numbers. */
export function openTokenFile(path: string, type: NumberType, options: OpenOptions = {}): TokenFile {
  const width = numberArrays[type].BYTES_PER_ELEMENT;
  const { size } = fs.statSync(path);
  if (size % width !== 0)
    throw new Error(`openTokenFile: ${path} has ${size} bytes, which are not whole ${type} numbers; it is damaged`);
  const access = options.access ?? (hasLibrary() ? 'map' : 'read');
  const source = access === 'map' ? mapped(path, type) : positional(path, type);
  return new NumberFile(path, size / width, access, source);
}

function hasLibrary(): boolean {
  try {
    loadLibrary();
    return true;
  } catch (error) {
    if (error instanceof LibraryError) return false;
    throw error;
  }
}

/** Where numbers come from; `view` may reuse its memory at the next call. */
interface NumberSource {
  view(start: number, count: number): NumberArray;
  close(): void;
}

function mapped(path: string, type: NumberType): NumberSource {
  const file = mapFile(path);
  const Numbers = numberArrays[type];
  // Without the library `mapFile` gives a copy in memory, which may begin anywhere.
  const bytes = file.bytes.byteOffset % 8 === 0 ? file.bytes : Uint8Array.from(file.bytes);
  const all = new Numbers(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length / Numbers.BYTES_PER_ELEMENT);
  return { view: (start, count) => all.subarray(start, start + count), close: () => file.close() };
}

function positional(path: string, type: NumberType): NumberSource {
  const fd = fs.openSync(path, 'r');
  const Numbers = numberArrays[type];
  let scratch = new Numbers(4096);
  const view = (start: number, count: number): NumberArray => {
    if (scratch.length < count) scratch = new Numbers(count);
    const bytes = new Uint8Array(scratch.buffer, 0, count * Numbers.BYTES_PER_ELEMENT);
    for (let done = 0; done < bytes.length;) {
      const read = fs.readSync(fd, bytes, done, bytes.length - done, start * Numbers.BYTES_PER_ELEMENT + done);
      if (read === 0) throw new Error(`token file ${path} has become shorter while it was read`);
      done += read;
    }
    return scratch.subarray(0, count);
  };
  return { view, close: () => fs.closeSync(fd) };
}

class NumberFile implements TokenFile {
  readonly length: number;
  readonly access: 'map' | 'read';
  readonly #path: string;
  #source: NumberSource | null;

  constructor(path: string, length: number, access: 'map' | 'read', source: NumberSource) {
    this.#path = path;
    this.length = length;
    this.access = access;
    this.#source = source;
  }

  copy(out: Int32Array | Float64Array, at: number, start: number, count: number): void {
    out.set(this.#view(start, count), at);
  }

  at(index: number): number {
    return this.#view(index, 1)[0]!;
  }

  #view(start: number, count: number): NumberArray {
    if (this.#source === null) throw new RangeError(`token file ${this.#path} is closed`);
    if (!(start >= 0 && count >= 0 && start + count <= this.length)) {
      throw new RangeError(
        `token file ${this.#path} has ${this.length} numbers; ${start} to ${start + count} are not all in it`,
      );
    }
    return this.#source.view(start, count);
  }

  close(): void {
    this.#source?.close();
    this.#source = null;
  }
}

/** Writes numbers to a new file, in bites. */
export class NumberWriter {
  readonly #fd: number;
  readonly #bite: NumberArray;
  #filled = 0;
  /** Numbers written so far. */
  length = 0;

  constructor(path: string, type: NumberType) {
    this.#fd = fs.openSync(path, 'w');
    this.#bite = new numberArrays[type](1 << 16);
  }

  push(value: number): void {
    if (this.#filled === this.#bite.length) this.#flush();
    this.#bite[this.#filled++] = value;
    this.length++;
  }

  pushAll(values: Int32Array | Float64Array): void {
    for (let from = 0; from < values.length;) {
      if (this.#filled === this.#bite.length) this.#flush();
      const some = values.subarray(from, from + this.#bite.length - this.#filled);
      this.#bite.set(some, this.#filled);
      this.#filled += some.length;
      from += some.length;
    }
    this.length += values.length;
  }

  #flush(): void {
    const { buffer, BYTES_PER_ELEMENT: width } = this.#bite;
    const filled = this.#filled;
    this.#filled = 0;
    writeAll(this.#fd, new Uint8Array(buffer, 0, filled * width));
  }

  /** Writes what is left and makes the file durable. */
  finish(): void {
    this.#flush();
    fs.fsyncSync(this.#fd);
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}
