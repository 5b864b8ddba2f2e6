/**
 * @file The header of a safetensors file: parsed with every rule of the format checked, and built.
 * It works on bytes and numbers; `safetensors.ts` opens and writes the files, `safetensors-bytes.ts` does it in memory.
 *
 * A file is: the header's length (8 bytes, little-endian), the header (JSON, padded with spaces), the data.
 * The header maps each name to {dtype, shape, data_offsets: [begin, end)} relative to the data, and `__metadata__` to
 * strings. The tensors cover the data without holes and without overlaps.
 * @see https://huggingface.co/docs/safetensors (format)
 */

/** Element types that this library knows, with the bytes of one element. F16 and BF16 are held as their 16 bits. */
// prettier-ignore
export const ELEMENT_BYTES = {
  F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1,
} as const;
export type SafetensorsDtype = keyof typeof ELEMENT_BYTES;

/** The format's own limit for the header. */
export const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;
const METADATA = '__metadata__';

export interface TensorInfo {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** A tensor's place: `offset` counts from the beginning of the file. */
export interface TensorEntry extends TensorInfo {
  readonly offset: number;
}

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

/** A file that is not a valid safetensors file; the message says what is wrong and where. */
export class SafetensorsError extends Error {
  override readonly name = 'SafetensorsError';
}

/** First bytes of files that people take for safetensors files. */
const FOREIGN: readonly (readonly [prefix: string, what: string])[] = [
  ['PK\x03\x04', 'a zip archive, perhaps a PyTorch checkpoint: convert it to safetensors first'],
  ['\x80\x02', 'a Python pickle, perhaps an old PyTorch checkpoint: convert it to safetensors first'],
  ['GGUF', 'a GGUF file, which this library does not read'],
  ['\x89HDF', 'an HDF5 file, which this library does not read'],
  ['version ', 'a Git LFS pointer: run `git lfs pull` to get the file itself'],
  ['<!DOCTYP', 'an HTML page: the download went wrong'],
  ['{', 'JSON without the 8 bytes of the length in front'],
];

/**
 * Reads and checks the header.
 *
 * @param read      gives `length` bytes from `offset`; called only for ranges inside the file.
 * @param fileSize  bytes of the whole file.
 * @param name      how errors call the file.
 * @throws SafetensorsError on any violation of the format; nothing is allocated beyond the header's own length.
 */
export function parseSafetensorsHeader(
  read: (offset: number, length: number) => Uint8Array,
  fileSize: number,
  name: string,
): SafetensorsHeader {
  const fail = (problem: string): never => {
    throw new SafetensorsError(`${name}: ${problem}`);
  };
  if (fileSize < LENGTH_BYTES) {
    fail(`a safetensors file begins with 8 bytes that give the header's length, this file has ${fileSize} bytes`);
  }
  const first = read(0, LENGTH_BYTES);
  const headerBytes = headerLength(first, fileSize, fail);
  const json = decodeHeader(read(LENGTH_BYTES, headerBytes), fail);
  const dataStart = LENGTH_BYTES + headerBytes;
  return checkHeader(json, dataStart, fileSize - dataStart, fail);
}

type Fail = (problem: string) => never;

function headerLength(first: Uint8Array, fileSize: number, fail: Fail): number {
  const view = new DataView(first.buffer, first.byteOffset, LENGTH_BYTES);
  const length = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
  if (length > MAX_HEADER_BYTES || length > fileSize - LENGTH_BYTES) {
    const begin = String.fromCharCode(...first);
    const foreign = FOREIGN.find(([prefix]) => begin.startsWith(prefix));
    if (foreign) return fail(`not a safetensors file; it looks like ${foreign[1]}`);
    if (length > MAX_HEADER_BYTES) {
      return fail(
        `bytes 0-7 say that the header has ${length} bytes, the limit is ${MAX_HEADER_BYTES}; is it a safetensors file?`,
      );
    }
    return fail(
      `bytes 0-7 say that the header has ${length} bytes, but only ${fileSize - LENGTH_BYTES} follow: the file is truncated`,
    );
  }
  return length;
}

function decodeHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  if (bytes[0] !== 0x7b) return fail(`the header must begin with "{" at byte 8, found ${describeByte(bytes[0])}`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail('the header is not valid UTF-8');
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return fail(`the header is not valid JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) {
    return fail(`the header has the key ${quote(duplicate.key)} twice, again at byte ${LENGTH_BYTES + duplicate.byte}`);
  }
  return json as Record<string, unknown>; // it began with "{" and parsed: an object
}

function describeByte(byte: number | undefined): string {
  return byte === undefined ? 'an empty header' : `byte 0x${byte.toString(16).padStart(2, '0')}`;
}

/**
 * The first key that an object of the text has twice, which JSON.parse would hide by keeping the last. `text` must be
 * valid JSON: then a string is a key if and only if "{" or, inside an object, "," stands before it.
 */
export function findDuplicateKey(text: string): { key: string; byte: number } | undefined {
  const open: (Set<string> | null)[] = []; // the keys of each open object, null for an array
  let keyNext = false;
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c === '{' || c === '[') {
      open.push(c === '{' ? new Set() : null);
      keyNext = c === '{';
    } else if (c === '}' || c === ']') {
      open.pop();
      keyNext = false;
    } else if (c === ',') {
      keyNext = open.at(-1) != null;
    } else if (c === '"') {
      const begin = at;
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++;
      if (!keyNext) continue;
      keyNext = false;
      const key = JSON.parse(text.slice(begin, at + 1)) as string; // "\u0061" and "a" are one key
      const keys = open.at(-1)!;
      if (keys.has(key)) return { key, byte: utf8(text.slice(0, begin)).length };
      keys.add(key);
    }
  }
  return undefined;
}

function checkHeader(
  json: Record<string, unknown>,
  dataStart: number,
  dataBytes: number,
  fail: Fail,
): SafetensorsHeader {
  const metadata = checkMetadata(json[METADATA], fail);
  const found: [name: string, entry: TensorEntry][] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === METADATA) continue;
    const entry = checkTensor(value, dataBytes, (problem) => fail(`tensor ${quote(name)}: ${problem}`));
    found.push([name, { ...entry, offset: dataStart + entry.offset }]);
  }
  found.sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);

  let end = dataStart;
  let previous: string | undefined;
  for (const [name, { offset, byteLength }] of found) {
    if (offset !== end) {
      const before = previous === undefined ? 'the beginning of the data' : `the end of ${quote(previous)}`;
      const what =
        offset < end
          ? `overlaps: it begins ${end - offset} bytes before`
          : `leaves a hole: it begins ${offset - end} bytes after`;
      fail(`tensor ${quote(name)} ${what} ${before} (data offset ${offset - dataStart}, expected ${end - dataStart})`);
    }
    end = offset + byteLength;
    previous = name;
  }
  if (end !== dataStart + dataBytes) fail(`${dataStart + dataBytes - end} bytes after the last tensor belong to none`);
  return { metadata, tensors: new Map(found) };
}

function checkMetadata(value: unknown, fail: Fail): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (!isObject(value)) return fail(`${METADATA} must be an object of strings, got ${quote(value)}`);
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== 'string') fail(`${METADATA}: ${quote(key)} must be a string, got ${quote(entry)}`);
  }
  return value as Record<string, string>;
}

/** One tensor of the header; its `offset` still counts from the beginning of the data. */
function checkTensor(value: unknown, dataBytes: number, fail: Fail): TensorEntry {
  if (!isObject(value)) return fail(`must be an object {dtype, shape, data_offsets}, got ${quote(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string') return fail(`dtype must be a string, got ${quote(dtype)}`);
  if (!Object.hasOwn(ELEMENT_BYTES, dtype)) {
    return fail(`dtype ${quote(dtype)} is not known; this library reads ${Object.keys(ELEMENT_BYTES).join(', ')}`);
  }
  if (!isSizes(shape)) return fail(`shape must be a list of integers from 0 to 2^53 - 1, got ${quote(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    return fail(`data_offsets must be two integers [begin, end], got ${quote(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) return fail(`data_offsets [${begin}, ${end}] end before they begin`);
  const byteLength = tensorBytes(dtype as SafetensorsDtype, shape);
  if (byteLength === undefined)
    return fail(`shape ${quote(shape)} of ${dtype} overflows: it has more than 2^53 - 1 bytes`);
  if (byteLength !== end - begin) {
    return fail(
      `${dtype} ${quote(shape)} needs ${byteLength} bytes, data_offsets [${begin}, ${end}] span ${end - begin}`,
    );
  }
  if (end > dataBytes) {
    return fail(
      `data_offsets [${begin}, ${end}] go beyond the data, which has ${dataBytes} bytes: the file is truncated or its header damaged`,
    );
  }
  return { dtype: dtype as SafetensorsDtype, shape, byteLength, offset: begin };
}

/** Bytes of a tensor, undefined if they (or a partial product) are no exact integer. */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | undefined {
  let bytes: number = ELEMENT_BYTES[dtype];
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0 && !Object.is(size, -0));
}

/** A value of the header for an error message, never longer than a line. */
function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

export interface TensorToPlace {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
}

/**
 * The bytes before the data, and the order of the tensors in it: larger elements first, then names by their UTF-8
 * bytes. With the header padded to a multiple of 8 or more (`alignment`), each tensor begins at a multiple of its element size, so that a
 * mapped file can be read in place. The same tensors and metadata give the same bytes.
 *
 * @throws RangeError on a name used twice, `__metadata__` as a name, a bad shape or a header beyond the limit.
 */
export function buildSafetensorsHeader<T extends TensorToPlace>(
  tensors: Iterable<T>,
  metadata: Readonly<Record<string, string>>,
  alignment = 8,
): { readonly bytes: Uint8Array; readonly order: readonly T[]; readonly dataBytes: number } {
  const order = [...tensors].sort(
    (a, b) => ELEMENT_BYTES[b.dtype] - ELEMENT_BYTES[a.dtype] || compareBytes(utf8(a.name), utf8(b.name)),
  );
  const fields: string[] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0)
    fields.push(field(METADATA, `{${keys.map((key) => field(key, JSON.stringify(metadata[key]))).join(',')}}`));
  const names = new Set<string>();
  let offset = 0;
  for (const { name, dtype, shape } of order) {
    if (name === METADATA) throw new RangeError(`writeSafetensors: a tensor cannot be called ${METADATA}`);
    if (names.has(name)) throw new RangeError(`writeSafetensors: two tensors are called ${quote(name)}`);
    names.add(name);
    const bytes = isSizes(shape) ? tensorBytes(dtype, shape) : undefined;
    if (bytes === undefined)
      throw new RangeError(`writeSafetensors: tensor ${quote(name)} has a bad shape ${quote(shape)}`);
    fields.push(field(name, JSON.stringify({ dtype, shape, data_offsets: [offset, offset + bytes] })));
    offset += bytes;
  }
  const json = utf8(`{${fields.join(',')}}`);
  const padded = Math.ceil((LENGTH_BYTES + json.length) / alignment) * alignment - LENGTH_BYTES;
  if (padded > MAX_HEADER_BYTES) {
    throw new RangeError(`writeSafetensors: the header would have ${padded} bytes, the limit is ${MAX_HEADER_BYTES}`);
  }
  const bytes = new Uint8Array(LENGTH_BYTES + padded).fill(0x20); // a space
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, LENGTH_BYTES);
  return { bytes, order, dataBytes: offset };
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Which of two runs of bytes comes first: negative for `a`. */
function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const at = a.findIndex((byte, k) => byte !== b[k]);
  return at === -1 ? a.length - b.length : a[at]! - (b[at] ?? -1);
}

function field(key: string, json: string): string {
  return `${JSON.stringify(key)}:${json}`;
}
