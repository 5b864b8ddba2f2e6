/**
 * @file Which part of a corpus is held out: whole documents by the hash of their text, or the end of the text.
 * Decided from the table of documents alone; the two parts never share a token.
 */
import type { DocumentTable } from './document-table.js';

/** A range of the stream of all tokens that goes to one part, with its documents. */
export interface Run {
  readonly start: number;
  readonly end: number;
  /** Where documents begin in it. */
  readonly documents: readonly number[];
  readonly bytes: number;
  readonly characters: number;
  /** Whether it begins, or ends, inside a document that was cut. */
  readonly cutBefore: boolean;
  readonly cutAfter: boolean;
}

/** Where the text can be cut by position: after so many tokens, bytes and characters of one document. */
export interface CutMark {
  readonly token: number;
  readonly document: number;
  readonly bytes: number;
  readonly characters: number;
}

export interface Parts {
  readonly train: readonly Run[];
  readonly validation: readonly Run[];
}

/** All of it for training. */
export function splitNothing(table: DocumentTable): Parts {
  return { train: wholeDocuments(table, () => true), validation: [] };
}

/**
 * Holds out documents in the order of their hashes until they have about `fraction` of all tokens: as near to it as
 * whole documents come, at least one, and never all. Documents of the same text stay together.
 * @throws Error if there are not two different documents.
 */
export function splitByDocument(table: DocumentTable, fraction: number): Parts {
  const order = Array.from({ length: table.length }, (_, k) => k).sort(
    (a, b) => table.hashes.at(a) - table.hashes.at(b) || a - b,
  );
  const wanted = fraction * table.tokens;
  let held = 0;
  let taken = 0;
  for (let k = 0; k < order.length;) {
    let next = k;
    let tokens = 0;
    while (next < order.length && table.hashes.at(order[next]!) === table.hashes.at(order[k]!)) {
      tokens += table.endOf(order[next]!) - table.starts.at(order[next]!);
      next++;
    }
    const nearer = Math.abs(held + tokens - wanted) <= Math.abs(held - wanted);
    if (next === order.length || (taken > 0 && !nearer)) break;
    held += tokens;
    taken = next;
    k = next;
  }
  if (taken === 0) {
    throw new Error(
      `prepareDataset: splitBy "document" needs at least two different documents, found ${table.length}` +
        `${table.length > 1 ? ' with the same text' : ''}; use splitBy "tail" or validationFraction 0`,
    );
  }
  const validation = new Set(order.slice(0, taken));
  return {
    train: wholeDocuments(table, (document) => !validation.has(document)),
    validation: wholeDocuments(table, (document) => validation.has(document)),
  };
}

/**
 * Holds out the end: what comes after the mark, or without one the last documents with about `fraction` of the tokens.
 * @throws Error if there is no mark and only one document.
 */
export function splitTail(table: DocumentTable, fraction: number, mark: CutMark | null): Parts {
  if (mark !== null) return splitAtMark(table, mark);
  if (table.length < 2) {
    throw new Error(
      `prepareDataset: the only document (${table.bytes.at(0)} bytes) cannot be cut: it is too short, or in a .jsonl file; ` +
        'put longer text into a .txt file, or use validationFraction 0',
    );
  }
  const wanted = (1 - fraction) * table.tokens;
  let first = 1;
  for (let k = 2; k < table.length; k++) {
    if (Math.abs(table.starts.at(k) - wanted) < Math.abs(table.starts.at(first) - wanted)) first = k;
  }
  return {
    train: wholeDocuments(table, (document) => document < first),
    validation: wholeDocuments(table, (document) => document >= first),
  };
}

function splitAtMark(table: DocumentTable, { token, document, bytes, characters }: CutMark): Parts {
  const start = table.starts.at(document);
  const head: Run = { start, end: token, documents: [start], bytes, characters, cutBefore: false, cutAfter: true };
  const tail: Run = {
    start: token,
    end: table.endOf(document),
    documents: [token],
    bytes: table.bytes.at(document) - bytes,
    characters: table.characters.at(document) - characters,
    cutBefore: true,
    cutAfter: false,
  };
  return {
    train: [...wholeDocuments(table, (other) => other < document), head],
    validation: [tail, ...wholeDocuments(table, (other) => other > document)],
  };
}

/** The chosen documents, neighbours joined into runs. */
function wholeDocuments(table: DocumentTable, isChosen: (document: number) => boolean): Run[] {
  const runs: Run[] = [];
  for (let first = 0; first < table.length; first++) {
    if (!isChosen(first)) continue;
    const documents: number[] = [];
    let bytes = 0;
    let characters = 0;
    let document = first;
    for (; document < table.length && isChosen(document); document++) {
      documents.push(table.starts.at(document));
      bytes += table.bytes.at(document);
      characters += table.characters.at(document);
    }
    const [start, end] = [table.starts.at(first), table.endOf(document - 1)];
    runs.push({ start, end, documents, bytes, characters, cutBefore: false, cutAfter: false });
    first = document;
  }
  return runs;
}
