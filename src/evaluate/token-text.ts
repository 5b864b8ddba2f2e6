/** @file What an evaluation reads and reports to: a text as token ids, progress, a signal. */
import { encodeFiles, type EncodedPiece } from '../data/encode-files.js';
import type { SourceFile } from '../data/source-files.js';
import type { Tokenizer } from '../tokens/tokenizer.js';

/** A text as token ids. */
export interface TokenText {
  /** The documents in pieces, from the start at each call. */
  readonly pieces: () => AsyncIterable<EncodedPiece>;
  /** Token before each document, from which its first one is predicted; null for none: then the first is not. */
  readonly begin: number | null;
}

export interface EvaluateOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told how much was done since the last call: bytes of text that were read, tokens that the model computed. */
  readonly onProgress?: ((progress: { readonly bytes: number; readonly tokens: number }) => void) | undefined;
}

/**
 * The documents of files, each behind the token that begins a text, as in training. The names of special tokens in them
 * are text.
 * @param field  of .jsonl records; default "text"
 */
export function tokenText(files: readonly SourceFile[], tokenizer: Tokenizer, field?: string): TokenText {
  // Small pieces, so that progress moves.
  const options = { parseSpecial: false, pieceLength: 1 << 16, ...(field === undefined ? {} : { field }) };
  return { pieces: () => encodeFiles(files, tokenizer, options), begin: tokenizer.bosId ?? tokenizer.eosId };
}
