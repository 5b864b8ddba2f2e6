/**
 * @file Packing documents into rows: several short ones in a row, each whole, with a reset where one begins. What a model
 * computes for a packed document is what it computes for the document alone.
 */
import type { Batch } from './batches.js';

/** Where a document went: its inputs are [start, start + length) of the row. */
export interface Placement {
  readonly row: number;
  readonly start: number;
  readonly length: number;
}

export interface PackedDocuments extends Batch {
  /** One for each document, in order. */
  readonly placements: readonly Placement[];
}

/**
 * Packs documents into as many rows of T as they need, each into the first row with room for it. A document of n tokens
 * takes n - 1 places: every token but the last is an input, every one but the first a target. What is left of a row is
 * `padId` behind a reset, without targets.
 *
 * @throws RangeError if a document has fewer than 2 tokens or more than T + 1.
 */
export function packDocuments(documents: readonly ArrayLike<number>[], T: number, padId = 0): PackedDocuments {
  const filled: number[] = [];
  const placements = documents.map((document, k): Placement => {
    const length = document.length - 1;
    if (length < 1 || length > T) {
      throw new RangeError(
        `packDocuments: document ${k} has ${document.length} tokens, but a row of T = ${T} takes from 2 to ${T + 1}; cut it or make T larger`,
      );
    }
    let row = filled.findIndex((used) => used + length <= T);
    if (row === -1) row = filled.push(0) - 1;
    const start = filled[row]!;
    filled[row] = start + length;
    return { row, start, length };
  });
  const B = filled.length;
  const tokens = new Int32Array(B * T).fill(padId);
  const targets = new Int32Array(B * T).fill(-1);
  const reset = new Uint8Array(B * T);
  placements.forEach(({ row, start, length }, k) => {
    const at = row * T + start;
    const ids = Int32Array.from(documents[k]!);
    tokens.set(ids.subarray(0, length), at);
    targets.set(ids.subarray(1), at);
    reset[at] = 1;
  });
  filled.forEach((used, row) => {
    if (used < T) reset[row * T + used] = 1;
  });
  return { B, T, tokens, targets, reset, placements };
}
