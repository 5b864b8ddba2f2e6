/** @file The token ids of text files, a piece at a time, so that a text of any length is read in bounded memory. */
import { UnknownCharacterError } from '../tokens/chars.js';
import type { EncodeOptions, Tokenizer } from '../tokens/tokenizer.js';
import { readPieces, type CorpusOptions } from './corpus.js';
import type { SourceFile } from './source-files.js';

export interface EncodedPiece {
  readonly tokens: Int32Array;
  /** Bytes of its text as UTF-8. */
  readonly bytes: number;
  /** Whether a document begins here. */
  readonly start: boolean;
  /** Where the document is: "stories.txt", or "records.jsonl:17". */
  readonly source: string;
}

/**
 * The documents of files as token ids. Text is cut at white space (see `cutPlace`), where the pieces' tokens are those of
 * the whole with every tokenizer that begins a word there: bytes, characters, and BPE over words.
 * @throws Error that names the file when it is not readable text, or has a character that the tokenizer does not know.
 */
export async function* encodeFiles(
  files: readonly SourceFile[],
  tokenizer: Tokenizer,
  options: CorpusOptions & EncodeOptions = {},
): AsyncGenerator<EncodedPiece> {
  for await (const { text, start, source } of readPieces(files, { pieceLength: 1 << 18, ...options })) {
    const tokens = encodeText(tokenizer, text, source, options);
    yield { tokens, bytes: Buffer.byteLength(text, 'utf8'), start, source };
  }
}

/** `encode` whose error names the file. */
export function encodeText(tokenizer: Tokenizer, text: string, source: string, options: EncodeOptions): Int32Array {
  try {
    return tokenizer.encode(text, options);
  } catch (error) {
    if (error instanceof UnknownCharacterError) throw new Error(`${source}: ${error.message}`, { cause: error });
    throw error;
  }
}
