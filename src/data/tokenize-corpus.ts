/**
 * @file A corpus as one long file of token ids, with the table of its documents: the first half of making a dataset.
 * Each document begins with the end-of-text token, if the tokenizer has one.
 */
import { createHash } from 'node:crypto';
import type { Tokenizer } from '../tokens/tokenizer.js';
import { readPieces } from './corpus.js';
import { DocumentTable } from './document-table.js';
import { encodeText } from './encode-files.js';
import type { SourceFile } from './source-files.js';
import type { CutMark } from './split.js';
import type { Piece } from './text-pieces.js';
import type { NumberWriter } from './token-file.js';

export interface PrepareProgress {
  /** Bytes of the files read so far, and in all. */
  readonly bytes: number;
  readonly totalBytes: number;
  readonly tokens: number;
  readonly documents: number;
}

export interface TokenizeOptions {
  readonly files: readonly SourceFile[];
  readonly tokenizer: Tokenizer;
  readonly field: string;
  readonly separator: string | null;
  readonly seed: number;
  /** Look for a place to cut the text after this share of its bytes; null for none. */
  readonly cutAfter: number | null;
  readonly onProgress?: ((progress: PrepareProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TokenizedCorpus {
  readonly table: DocumentTable;
  readonly mark: CutMark | null;
  /** SHA-256 of each file, in order. */
  readonly hashes: readonly string[];
}

/** @throws Error from reading or encoding, naming the file; the signal's reason when it aborts. */
export async function tokenizeCorpus(out: NumberWriter, options: TokenizeOptions): Promise<TokenizedCorpus> {
  const { files, tokenizer, field, separator, seed, onProgress, signal } = options;
  const table = new DocumentTable(seed);
  const cutter = new Cutter(options);
  const hashes = new Map(files.map((file) => [file, createHash('sha256')]));
  const totalBytes = files.reduce((sum, file) => sum + file.bytes, 0);
  let bytes = 0;
  const onBytes = (file: SourceFile, some: Uint8Array): void => {
    hashes.get(file)?.update(some);
    bytes += some.length;
  };
  for await (const piece of readPieces(files, { field, separator, onBytes })) {
    signal?.throwIfAborted();
    if (piece.start) {
      table.begin();
      if (tokenizer.eosId !== null) {
        out.push(tokenizer.eosId);
        table.tokens++;
      }
    }
    for (const text of cutter.cut(piece)) {
      // A document is text: the name of a special token in it must not end it.
      const ids = encodeText(tokenizer, text, piece.source, { parseSpecial: false });
      out.pushAll(ids);
      table.add(text, ids.length);
      cutter.passed(table);
    }
    onProgress?.({ bytes, totalBytes, tokens: table.tokens, documents: table.length });
  }
  table.finish();
  return { table, mark: cutter.mark, hashes: [...hashes.values()].map((hash) => hash.digest('hex')) };
}

/** Finds the place at which the text can be cut by position: the first line break after the wanted share of bytes. */
class Cutter {
  mark: CutMark | null = null;
  readonly #target: number;
  #bytes = 0;
  #pending = false;

  constructor({ files, cutAfter }: TokenizeOptions) {
    const total = files.reduce((sum, file) => sum + file.bytes, 0);
    this.#target = cutAfter === null ? Infinity : Math.min(Math.round(cutAfter * total), total - 1);
  }

  /** The piece, in two where the cut is. */
  cut(piece: Piece): string[] {
    const bytes = Buffer.from(piece.text, 'utf8');
    const before = this.#bytes;
    this.#bytes += bytes.length;
    if (this.mark !== null || this.#bytes <= this.#target) return [piece.text];
    const place = cutPlaceInBytes(bytes, Math.max(this.#target - before, 1));
    if (place === -1) return [piece.text];
    this.#pending = true;
    return [bytes.toString('utf8', 0, place), bytes.toString('utf8', place)];
  }

  /** To be called when a text from `cut` is in the table. */
  passed(table: DocumentTable): void {
    if (!this.#pending) return;
    this.#pending = false;
    const document = table.length - 1;
    this.mark = {
      token: table.tokens,
      document,
      bytes: table.bytes.at(document),
      characters: table.characters.at(document),
    };
  }
}

/** After the first line break from `from` on, else before a space, else between characters near it; -1 for nowhere. */
function cutPlaceInBytes(bytes: Uint8Array, from: number): number {
  const line = bytes.indexOf(0x0a, from - 1);
  if (line !== -1 && line + 1 < bytes.length) return line + 1;
  const space = bytes.indexOf(0x20, from);
  if (space !== -1) return space;
  let at = from;
  while (at < bytes.length && isContinuation(bytes[at]!)) at++;
  if (at < bytes.length) return at;
  at = from;
  while (at > 0 && (at >= bytes.length || isContinuation(bytes[at]!))) at--;
  return at > 0 ? at : -1;
}

/** Whether a byte of UTF-8 goes on with a character that began before. */
const isContinuation = (byte: number): boolean => (byte & 0xc0) === 0x80;
