/** @file A .jsonl file as documents: one JSON object a line, the text in one of its fields. Bytes come in pieces. */
import type { Piece } from './text-pieces.js';
import { StrictUtf8 } from './utf8.js';

/** A longer line is not a record but a mistake. */
const LONGEST_LINE = 1 << 28;
const NEWLINE = 0x0a;

export class JsonlPieces {
  readonly #file: string;
  readonly #field: string;
  /** The line that is not complete yet, in pieces, and its length. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #line = 1;
  /** Where the line begins in the file. */
  #offset = 0;

  constructor(file: string, field: string) {
    this.#file = file;
    this.#field = field;
  }

  /** The documents of the lines that end in this piece. Its memory may be used again afterwards. */
  *push(bytes: Uint8Array): Generator<Piece> {
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, from)) {
      yield* this.#record([...this.#held, bytes.subarray(from, end)], this.#heldBytes + end - from);
      this.#held = [];
      this.#heldBytes = 0;
      from = end + 1;
    }
    this.#held.push(Uint8Array.from(bytes.subarray(from)));
    this.#heldBytes += bytes.length - from;
    if (this.#heldBytes > LONGEST_LINE) {
      throw new Error(
        `corpus: ${this.#file}:${this.#line}: the line is longer than ${LONGEST_LINE} bytes; a .jsonl file has one record a line`,
      );
    }
  }

  *end(): Generator<Piece> {
    yield* this.#record(this.#held, this.#heldBytes);
    this.#held = [];
  }

  *#record(parts: readonly Uint8Array[], length: number): Generator<Piece> {
    const source = `${this.#file}:${this.#line}`;
    const line = this.#decode(parts);
    this.#line++;
    this.#offset += length + 1;
    if (line.trim() === '') return;
    const text = textOf(line, this.#field, source);
    if (text !== '') yield { text, source, start: true };
  }

  #decode(parts: readonly Uint8Array[]): string {
    const utf8 = new StrictUtf8(
      (offset, byte) =>
        new Error(
          `corpus: ${this.#file}:${this.#line} is not UTF-8: byte 0x${hex(byte)} at offset ${this.#offset + offset} of the text; convert the file to UTF-8`,
        ),
    );
    return parts.map((part) => utf8.push(part)).join('') + utf8.end();
  }
}

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');

function textOf(line: string, field: string, source: string): string {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch (error) {
    throw new Error(
      `corpus: ${source} is not valid JSON: ${(error as Error).message}; each line must be one JSON object`,
      { cause: error },
    );
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    throw new Error(`corpus: ${source} must be a JSON object with a field "${field}"`);
  }
  const text = (record as Record<string, unknown>)[field];
  if (typeof text === 'string') return text;
  const fields =
    Object.keys(record)
      .map((name) => `"${name}"`)
      .join(', ') || 'none';
  if (text === undefined)
    throw new Error(
      `corpus: ${source} has no field "${field}"; its fields are ${fields}; choose one with the option field`,
    );
  throw new Error(`corpus: ${source}: the field "${field}" must hold text, got ${JSON.stringify(text).slice(0, 40)}`);
}
