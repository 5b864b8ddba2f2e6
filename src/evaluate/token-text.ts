/** @file What an evaluation reads and reports to: a text as token ids, progress, a signal. */
import { encodeFiles, type EncodedPiece } from '../data/encode-files.js';
import type { SourceFile } from '../data/source-files.js';
import type { Tokenizer } from '../tokens/tokenizer.js';

/** Characters in a piece: few, so that progress moves. */
const PIECE = 1 << 16;

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
 * The documents of files as training sees them: each behind the token that begins a text, separated in .txt files by the
 * text of the end-of-text token. The names of special tokens in them are text.
 * @param field  of .jsonl records; default "text"
 */
export function tokenText(files: readonly SourceFile[], tokenizer: Tokenizer, field = 'text'): TokenText {
  const separator = tokenizer.eosId === null ? null : tokenizer.decode([tokenizer.eosId]);
  const options = { parseSpecial: false, field, separator, pieceLength: PIECE };
  return { pieces: () => encodeFiles(files, tokenizer, options), begin: tokenizer.bosId ?? tokenizer.eosId };
}
