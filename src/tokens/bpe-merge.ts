/**
 * @file Applying BPE merges to one word: the merge of lowest rank first, the leftmost of equals, until none applies.
 * Short words by scanning; long ones with a heap, O(n log n), so that a megabyte without a space costs no more than text.
 */
import { PairTable } from './pair-table.js';

/** The merges of a BPE model: pair of ids -> rank, rank -> merged id. */
export class MergeRules {
  readonly count: number;
  readonly #ranks: PairTable;
  readonly #merged: Int32Array;

  /** @param merges  [left, right, merged] ids, in order of rank. */
  constructor(merges: readonly (readonly [left: number, right: number, merged: number])[]) {
    this.count = merges.length;
    this.#ranks = new PairTable(merges.length);
    this.#merged = new Int32Array(merges.length);
    merges.forEach(([left, right, merged], rank) => {
      this.#ranks.set(left, right, rank);
      this.#merged[rank] = merged;
    });
  }

  /** Rank of a pair, lower first; -1 if it does not merge. */
  rank(left: number, right: number): number {
    return this.#ranks.get(left, right);
  }

  /** The id that the merge of this rank makes. */
  merged(rank: number): number {
    return this.#merged[rank]!;
  }
}

/** Above this many symbols the heap wins. */
const SCAN_LIMIT = 48;
const NONE = 0x7fffffff;

/** Merges `ids[0, n)` in place. @returns how many ids are left, at the front. */
export function mergeWord(rules: MergeRules, ids: Int32Array, n: number): number {
  if (n < 2 || rules.count === 0) return n;
  return n <= SCAN_LIMIT ? mergeByScan(rules, ids, n) : mergeByHeap(rules, ids, n);
}

const scanRanks = new Int32Array(SCAN_LIMIT);

function mergeByScan(rules: MergeRules, ids: Int32Array, n: number): number {
  const ranks = scanRanks;
  const rankAt = (k: number): number => {
    const rank = k + 1 < n ? rules.rank(ids[k]!, ids[k + 1]!) : -1;
    return rank === -1 ? NONE : rank;
  };
  for (let k = 0; k < n; k++) ranks[k] = rankAt(k);
  for (;;) {
    let best = NONE;
    let at = -1;
    for (let k = 0; k + 1 < n; k++) {
      if (ranks[k]! < best) {
        best = ranks[k]!;
        at = k;
      }
    }
    if (at === -1) return n;
    ids[at] = rules.merged(best);
    for (let k = at + 1; k + 1 < n; k++) {
      ids[k] = ids[k + 1]!;
      ranks[k] = ranks[k + 1]!;
    }
    n--;
    ranks[at] = rankAt(at);
    if (at > 0) ranks[at - 1] = rankAt(at - 1);
  }
}

/** Places come after ranks in a heap key, so that one comparison of numbers orders both; 2^32 of them. */
const PLACES = 0x100000000;

function mergeByHeap(rules: MergeRules, ids: Int32Array, n: number): number {
  // A doubly linked list of the symbols that are left; a symbol that was merged into its left neighbour has id -1.
  const next = new Int32Array(n);
  const previous = new Int32Array(n);
  const heap = new KeyHeap(n);
  const offer = (k: number): void => {
    const rank = rules.rank(ids[k]!, ids[next[k]!]!);
    if (rank !== -1) heap.push(rank * PLACES + k);
  };
  for (let k = 0; k < n; k++) {
    next[k] = k + 1 < n ? k + 1 : -1;
    previous[k] = k - 1;
  }
  for (let k = 0; k + 1 < n; k++) offer(k);
  while (heap.size > 0) {
    const key = heap.pop();
    const rank = Math.floor(key / PLACES);
    const k = key - rank * PLACES;
    const right = next[k]!;
    // The pair at k may have changed since it was offered.
    if (ids[k] === -1 || right === -1 || rules.rank(ids[k]!, ids[right]!) !== rank) continue;
    ids[k] = rules.merged(rank);
    ids[right] = -1;
    const after = next[right]!;
    next[k] = after;
    if (after !== -1) {
      previous[after] = k;
      offer(k);
    }
    if (previous[k] !== -1) offer(previous[k]!);
  }
  let kept = 0;
  for (let k = 0; k < n; k++) if (ids[k] !== -1) ids[kept++] = ids[k]!;
  return kept;
}

/** A binary heap of numbers, smallest first. */
class KeyHeap {
  size = 0;
  #keys: Float64Array;

  constructor(capacity: number) {
    this.#keys = new Float64Array(capacity);
  }

  push(key: number): void {
    if (this.size === this.#keys.length) {
      const more = new Float64Array(this.size * 2);
      more.set(this.#keys);
      this.#keys = more;
    }
    const keys = this.#keys;
    let k = this.size++;
    while (k > 0) {
      const parent = (k - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[k] = keys[parent]!;
      k = parent;
    }
    keys[k] = key;
  }

  /** The smallest key; only while `size` is above 0. */
  pop(): number {
    const keys = this.#keys;
    const top = keys[0]!;
    const last = keys[--this.size]!;
    let k = 0;
    for (;;) {
      let child = 2 * k + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= last) break;
      keys[k] = keys[child]!;
      k = child;
    }
    keys[k] = last;
    return top;
  }
}
