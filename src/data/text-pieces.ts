/**
 * @file A .txt file as pieces of text: documents are cut at a separator if one is given, long ones into pieces at white
 * space, so that a file of any size is read in bounded memory.
 */

/** A stretch of a document. Its texts, joined, are the document. */
export interface Piece {
  readonly text: string;
  /** Where the document is: "stories.txt", or "records.jsonl:17". */
  readonly source: string;
  /** Whether a document begins here. */
  readonly start: boolean;
}

export class TextPieces {
  readonly #source: string;
  readonly #separator: RegExp | null;
  readonly #pieceLength: number;
  /** Characters at the end that may belong to a separator, with its line breaks, which is not all here yet. */
  readonly #margin: number;
  #held = '';
  #start = true;

  /**
   * @param separator    text between documents; a line break before and after it belongs to it. Null for one document.
   * @param pieceLength  the most characters (UTF-16 units) in a piece; at least 2.
   */
  constructor(source: string, separator: string | null, pieceLength: number) {
    this.#source = source;
    this.#pieceLength = pieceLength;
    this.#separator =
      separator === null || separator === ''
        ? null
        : new RegExp(`(?:\\r?\\n)?${separator.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')}(?:\\r?\\n)?`, 'g');
    this.#margin = (separator?.length ?? 0) + 8;
  }

  *push(text: string): Generator<Piece> {
    this.#held += text;
    yield* this.#cut(false);
  }

  *end(): Generator<Piece> {
    yield* this.#cut(true);
  }

  *#cut(final: boolean): Generator<Piece> {
    const held = this.#held;
    let done = 0;
    for (const match of this.#separator === null ? [] : held.matchAll(this.#separator)) {
      const end = match.index + match[0].length;
      if (!final && end + 2 > held.length) break; // a line break may follow
      yield* this.#pieces(held.slice(done, match.index), true);
      this.#start = true;
      done = end;
    }
    const rest = held.slice(done);
    if (final) {
      this.#held = '';
      yield* this.#pieces(rest, true);
    } else {
      const ready = rest.length - this.#margin;
      this.#held = ready < this.#pieceLength ? rest : yield* this.#pieces(rest, false);
    }
  }

  /** Pieces of a text; all of it if it is complete, else what is certainly before a cut. @returns what is left. */
  *#pieces(text: string, complete: boolean): Generator<Piece, string> {
    let from = 0;
    const left = complete ? 0 : this.#margin;
    while (text.length - from > this.#pieceLength + left) {
      const end = cutPlace(text, from, from + this.#pieceLength);
      yield this.#piece(text.slice(from, end));
      from = end;
    }
    const rest = text.slice(from);
    if (complete && rest !== '') yield this.#piece(rest);
    return complete ? '' : rest;
  }

  #piece(text: string): Piece {
    const piece = { text, source: this.#source, start: this.#start };
    this.#start = false;
    return piece;
  }
}

/**
 * Where to cut `text` after `from` and not beyond `limit` so that encoding the halves gives the tokens of the whole:
 * before white space that follows something else (there a word ends in any case); else between two characters.
 */
export function cutPlace(text: string, from: number, limit: number): number {
  for (let at = limit; at > from + 1; at--) {
    if ((text[at] === '\n' || text[at] === ' ') && !SPACE.test(text[at - 1]!)) return at;
  }
  const isPair = (text.charCodeAt(limit) & 0xfc00) === 0xdc00;
  return isPair && limit - 1 > from ? limit - 1 : limit;
}

const SPACE = /\p{White_Space}/u;
