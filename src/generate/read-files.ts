/** @file A session reads text files of any length: encoded in pieces, read in stretches, in constant memory. */
import { encodeFiles } from '../data/encode-files.js';
import type { SourceFile } from '../data/source-files.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import type { Session } from './decode.js';
import { WHOLE_PREFILLS } from './tokens-at-once.js';

/** Tokens between two reports of progress; with whole prefills the state is to the bit that of a single `read`. */
const STRETCH = WHOLE_PREFILLS;

export interface ReadProgress {
  /** Bytes of text read so far, about: where in a piece a token ends is not known. */
  readonly bytes: number;
  readonly tokens: number;
}

export interface ReadOptions {
  readonly onProgress?: (progress: ReadProgress) => void;
  /** Stops between two stretches; the session then has read a part of the text. */
  readonly signal?: AbortSignal;
}

/**
 * Reads the text of files, as `read` would with all their tokens at once. The names of special tokens are read as those,
 * as in a prompt.
 * @throws Error that names the file when it is not readable text, or has a character that the tokenizer does not know.
 */
export async function readFiles(
  session: Session,
  tokenizer: Tokenizer,
  files: readonly SourceFile[],
  { onProgress, signal }: ReadOptions = {},
): Promise<ReadProgress> {
  const stretch = new Int32Array(STRETCH);
  let held = 0;
  let tokens = 0;
  let bytes = 0;
  for await (const piece of encodeFiles(files, tokenizer)) {
    for (let from = 0; from < piece.tokens.length;) {
      const some = piece.tokens.subarray(from, from + STRETCH - held);
      stretch.set(some, held);
      held += some.length;
      from += some.length;
      if (held < STRETCH) break;
      await session.read(stretch, signal);
      if (signal?.aborted) return { bytes, tokens };
      tokens += held;
      held = 0;
      onProgress?.({ bytes: bytes + (piece.bytes * from) / piece.tokens.length, tokens });
    }
    bytes += piece.bytes;
  }
  await session.read(stretch.subarray(0, held), signal);
  tokens += held;
  onProgress?.({ bytes, tokens });
  return { bytes, tokens };
}
