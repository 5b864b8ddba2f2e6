/**
 * @file Reading a corpus: .txt, .jsonl and .jsonl.zst files as documents, or as pieces of them in bounded memory.
 * Text is UTF-8 and nothing else. It does not tokenise.
 */
import { open } from 'node:fs/promises';
import { Decompress } from 'fzstd';
import { JsonlPieces } from './jsonl-pieces.js';
import { listSourceFiles, type SourceFile } from './source-files.js';
import { type Piece, TextPieces } from './text-pieces.js';
import { StrictUtf8 } from './utf8.js';

export interface CorpusOptions {
  /** Field of a .jsonl record that holds the text. Default "text". */
  readonly field?: string;
  /** Text that stands between documents in a .txt file, such as "<|endoftext|>". Default null: a file is a document. */
  readonly separator?: string | null;
  /** The most characters (UTF-16 units) in a piece of a .txt file. Default 1,048,576. */
  readonly pieceLength?: number;
  /** Sees the bytes of each file as they are read from disk. */
  readonly onBytes?: (file: SourceFile, bytes: Uint8Array) => void;
}

export interface CorpusDocument {
  readonly text: string;
  /** Where it is: "stories.txt", or "records.jsonl:17". */
  readonly source: string;
}

/** Each read from disk. Compressed data is taken in smaller bites, as it grows. */
const READ_BYTES = 1 << 20;
const READ_COMPRESSED = 1 << 16;

/**
 * The documents of files and folders, in order (see `listSourceFiles`). Empty documents are left out.
 * @throws Error that names the file, and the line or the byte, if something is not as it must be.
 */
export async function* readDocuments(
  paths: string | readonly string[],
  options: CorpusOptions = {},
): AsyncGenerator<CorpusDocument> {
  let parts: string[] = [];
  let source = '';
  for await (const piece of readPieces(await listSourceFiles(paths), options)) {
    if (piece.start && parts.length > 0) yield { text: parts.join(''), source };
    if (piece.start) parts = [];
    parts.push(piece.text);
    source = piece.source;
  }
  if (parts.length > 0) yield { text: parts.join(''), source };
}

/** The texts of a corpus, for `trainBpe` and `charTokenizer`: pieces of documents, in bounded memory. */
export async function* readTexts(
  paths: string | readonly string[],
  options: CorpusOptions = {},
): AsyncGenerator<string> {
  for await (const piece of readPieces(await listSourceFiles(paths), options)) yield piece.text;
}

/**
 * The documents of files, in pieces.
 * @throws Error as `readDocuments`; also if a file has no text at all.
 */
export async function* readPieces(files: readonly SourceFile[], options: CorpusOptions = {}): AsyncGenerator<Piece> {
  for (const file of files) {
    let pieces = 0;
    for await (const piece of piecesOf(file, options)) {
      pieces++;
      yield piece;
    }
    if (pieces === 0) throw new Error(`corpus: ${file.path} has no text in it; remove it from the list or fill it`);
  }
}

function piecesOf(file: SourceFile, options: CorpusOptions): AsyncGenerator<Piece> {
  const { field = 'text', separator = null, pieceLength = 1 << 20 } = options;
  const bytes = bytesOf(file, options);
  if (file.kind === 'text') return textPieces(file.path, bytes, new TextPieces(file.path, separator, pieceLength));
  const plain = file.kind === 'jsonl' ? bytes : decompressed(file.path, bytes);
  return recordPieces(plain, new JsonlPieces(file.path, field));
}

/** The bytes of a file; each piece is valid until the next one. */
async function* bytesOf(file: SourceFile, options: CorpusOptions): AsyncGenerator<Uint8Array> {
  const handle = await open(file.path).catch(cannotRead(file));
  try {
    const buffer = new Uint8Array(file.kind === 'jsonl.zst' ? READ_COMPRESSED : READ_BYTES);
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length).catch(cannotRead(file));
      if (bytesRead === 0) return;
      const bytes = buffer.subarray(0, bytesRead);
      options.onBytes?.(file, bytes);
      yield bytes;
    }
  } finally {
    await handle.close();
  }
}

const cannotRead =
  (file: SourceFile) =>
  (error: Error): never => {
    throw new Error(`corpus: ${file.path} cannot be read: ${error.message}`, { cause: error });
  };

async function* textPieces(file: string, bytes: AsyncIterable<Uint8Array>, pieces: TextPieces): AsyncGenerator<Piece> {
  let line = 1;
  const utf8 = new StrictUtf8((offset, byte, before) =>
    notUtf8(file, offset, byte, line + newlines(Buffer.from(before).toString())),
  );
  for await (const some of bytes) {
    const text = utf8.push(some);
    line += newlines(text);
    yield* pieces.push(text);
  }
  yield* pieces.push(utf8.end());
  yield* pieces.end();
}

async function* recordPieces(bytes: AsyncIterable<Uint8Array>, records: JsonlPieces): AsyncGenerator<Piece> {
  for await (const some of bytes) yield* records.push(some);
  yield* records.end();
}

function newlines(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

function notUtf8(file: string, offset: number, byte: number, line: number): Error {
  const isUtf16 = offset === 0 && (byte === 0xff || byte === 0xfe);
  const from = isUtf16 ? 'UTF-16' : 'ISO-8859-1';
  const guess = isUtf16 ? 'it looks like UTF-16' : 'if it is in an older encoding such as Latin-1';
  return new Error(
    `corpus: ${file} is not UTF-8: byte 0x${byte.toString(16).toUpperCase().padStart(2, '0')} at offset ${offset} (line ${line}); ` +
      `${guess}, convert it: iconv -f ${from} -t UTF-8 "${file}" > utf8.txt`,
  );
}

/** Zstandard data, unpacked. Checksums are not verified (the decoder does not), broken frames are found. */
async function* decompressed(file: string, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let ready: Uint8Array[] = [];
  const decoder = new Decompress((data) => ready.push(Uint8Array.from(data)));
  const push = (some: Uint8Array, final: boolean): Uint8Array[] => {
    try {
      decoder.push(some, final);
    } catch (error) {
      const reason = (error as Error).message;
      throw new Error(`corpus: ${file} is damaged or cut short (${reason}); check it with: zstd --test "${file}"`, {
        cause: error,
      });
    }
    const out = ready;
    ready = [];
    return out;
  };
  // The decoder keeps what it is given, and our memory is used again: it gets a copy.
  for await (const some of bytes) yield* push(Uint8Array.from(some), false);
  yield* push(new Uint8Array(0), true);
}
