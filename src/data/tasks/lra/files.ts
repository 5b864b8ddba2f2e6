/** @file What the tasks that read from disk share: finding a part, its lines at any place, what is held out. No parsing. */
import fs from 'node:fs';
import path from 'node:path';
import { GrowingList } from '../../growing-list.js';
import { permute } from '../../permutation.js';
import { fold, randomKey } from '../../../tensor/random.js';

export type Part = 'train' | 'validation' | 'test';

/** The first of these names that is in the folder, as a path; null if none is. */
export const findIn = (folder: string, names: readonly string[]): string | null =>
  names.map((name) => path.join(folder, name)).find((file) => fs.existsSync(file)) ?? null;

/** `findIn` where one must be there. @throws Error naming the task, the folder and the names. */
export function needIn(task: string, folder: string, names: readonly string[]): string {
  const found = findIn(folder, names);
  if (found !== null) return found;
  throw new Error(`${task}: there is no ${names.join(' or ')} in ${path.resolve(folder)}; see docs/tasks.md`);
}

const NEWLINE = 0x0a;
const READ_BYTES = 1 << 20;

/** The lines of a file, at any place, without holding the file in memory; empty ones are left out. */
export class LineFile {
  readonly path: string;
  readonly #starts = new GrowingList();
  readonly #ends = new GrowingList();

  /** Reads through the file once. */
  constructor(file: string) {
    this.path = file;
    const descriptor = fs.openSync(file, 'r');
    try {
      const chunk = Buffer.alloc(READ_BYTES);
      let [at, start] = [0, 0];
      for (let read = -1; read !== 0; at += read) {
        read = fs.readSync(descriptor, chunk, 0, READ_BYTES, at);
        const bytes = chunk.subarray(0, read);
        for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, end + 1)) {
          this.#add(start, at + end);
          start = at + end + 1;
        }
      }
      this.#add(start, at);
    } finally {
      fs.closeSync(descriptor);
    }
  }

  #add(start: number, end: number): void {
    if (end === start) return;
    this.#starts.push(start);
    this.#ends.push(end);
  }

  get length(): number {
    return this.#starts.length;
  }

  /** The bytes of a line, without its end (LF, or CR and LF). */
  line(index: number): Buffer {
    const start = this.#starts.at(index);
    const bytes = Buffer.alloc(this.#ends.at(index) - start);
    const descriptor = fs.openSync(this.path, 'r');
    try {
      fs.readSync(descriptor, bytes, 0, bytes.length, start);
    } finally {
      fs.closeSync(descriptor);
    }
    return bytes.at(-1) === 0x0d ? bytes.subarray(0, -1) : bytes;
  }

  /** Where a line is, for messages. Counts lines that are not empty. */
  where(index: number): string {
    return `${this.path}, line ${index + 1} that is not empty`;
  }
}

/** The cells of a line between tabs; the last one of `count` has all the rest. */
export function cellsOf(line: Buffer, count: number): Buffer[] {
  const cells: Buffer[] = [];
  let from = 0;
  while (cells.length < count - 1) {
    const tab = line.indexOf(0x09, from);
    if (tab === -1) break;
    cells.push(line.subarray(from, tab));
    from = tab + 1;
  }
  return [...cells, line.subarray(from)];
}

/** Tokens of text: 0 fills up, 1 + byte for each of the first `most` bytes. */
export const byteTokens = (text: Buffer, most: number): Int32Array =>
  Int32Array.from(text.subarray(0, most), (byte) => 1 + byte);

export const BYTE_VOCAB = 257;

/** Tokens of `byteTokens` as text for people. */
export const textOf = (tokens: Int32Array): string => Buffer.from(tokens.map((token) => token - 1)).toString('utf8');

/**
 * Training and validation examples of one file: which is which depends on their number alone, so that every run, whatever
 * its seed, is validated on the same ones.
 */
export function splitIndices(
  size: number,
  fraction: number,
): Record<'train' | 'validation', (index: number) => number> & {
  readonly validationSize: number;
} {
  const validationSize = Math.max(1, Math.round(fraction * size));
  const key = fold(randomKey(0), 'held out');
  return {
    validationSize,
    validation: (index) => permute(key, index, size),
    train: (index) => permute(key, validationSize + index, size),
  };
}
