/**
 * @file The counts behind BPE training: how often each pair of neighbours stands in the text, and where. Counts are kept
 * up to date merge by merge, so a merge costs what it changes and not another look at the text. It names no tokens.
 */
import { PairTable } from './pair-table.js';

/**
 * All distinct words as one list of symbols, and for each pair of neighbours its count and its places. A merged symbol
 * stays at the place of its left half; -1 marks the right half, and `next`/`previous` step over it.
 */
export class PairMerger {
  readonly #symbols: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** How often the word to which a place belongs was met. */
  readonly #weight: Float64Array;
  readonly #index = new PairTable(1 << 12);
  readonly #left: number[] = [];
  readonly #right: number[] = [];
  readonly #count: number[] = [];
  /** Places where each pair was seen, ascending for a pair of equals; some may no longer hold it. */
  readonly #places: number[][] = [];
  readonly #heap = new PairHeap((a, b) => this.#isBefore(a, b));

  /** @param words  the distinct words and how often each was met, gone over twice; bytes are the first symbols. */
  constructor(words: Iterable<readonly [word: string, count: number]>) {
    const utf8 = new TextEncoder();
    let length = 0;
    for (const [word] of words) length += utf8.encode(word).length;
    this.#symbols = new Int32Array(length);
    this.#next = new Int32Array(length);
    this.#previous = new Int32Array(length);
    this.#weight = new Float64Array(length);
    let at = 0;
    for (const [word, count] of words) at = this.#addWord(utf8.encode(word), count, at);
    for (let pair = 0; pair < this.#count.length; pair++) this.#heap.push(pair, this.#count[pair]!);
  }

  #addWord(bytes: Uint8Array, count: number, at: number): number {
    const end = at + bytes.length;
    for (let k = at; k < end; k++) {
      this.#symbols[k] = bytes[k - at]!;
      this.#next[k] = k + 1 < end ? k + 1 : -1;
      this.#previous[k] = k > at ? k - 1 : -1;
      this.#weight[k] = count;
    }
    for (let k = at; k + 1 < end; k++) this.#addPlace(k, k + 1);
    return end;
  }

  /**
   * Merges the most frequent pair, of equals the one with the smallest symbols.
   * @param idOf  names the symbol that the pair becomes; null to leave the pair alone.
   * @returns false if no pair is met `minFrequency` times.
   */
  mergeTop(minFrequency: number, idOf: (left: number, right: number) => number | null): boolean {
    const pair = this.#top();
    if (pair === -1 || this.#count[pair]! < minFrequency) return false;
    const id = idOf(this.#left[pair]!, this.#right[pair]!);
    if (id !== null) this.#merge(pair, id);
    return true;
  }

  /**
   * Only pairs with the new symbol become more frequent, and all of them are new: what a symbol stands for was never
   * reached in another way. (No merge has crossed the ends of the symbol, so its bytes were merged as they are alone,
   * by the same rules in the same order.)
   */
  #merge(pair: number, id: number): void {
    const left = this.#left[pair]!;
    const right = this.#right[pair]!;
    const firstNew = this.#count.length;
    // Places ascend, so where occurrences overlap (a a a) the left one is merged, as in the encoder.
    for (const place of this.#places[pair]!) {
      const second = this.#next[place]!;
      const holds = this.#symbols[place] === left && second !== -1 && this.#symbols[second] === right;
      if (holds) this.#mergeAt(place, second, id);
    }
    this.#places[pair] = [];
    this.#count[pair] = 0;
    for (let fresh = firstNew; fresh < this.#count.length; fresh++) this.#heap.push(fresh, this.#count[fresh]!);
  }

  #mergeAt(place: number, second: number, id: number): void {
    const before = this.#previous[place]!;
    const after = this.#next[second]!;
    if (before !== -1) this.#drop(before, place);
    if (after !== -1) this.#drop(second, after);
    this.#symbols[place] = id;
    this.#symbols[second] = -1;
    this.#next[place] = after;
    if (after !== -1) {
      this.#previous[after] = place;
      this.#addPlace(place, after);
    }
    if (before !== -1) this.#addPlace(before, place);
  }

  #addPlace(first: number, second: number): void {
    const left = this.#symbols[first]!;
    const right = this.#symbols[second]!;
    let pair = this.#index.get(left, right);
    if (pair === -1) {
      pair = this.#count.length;
      this.#index.set(left, right, pair);
      this.#left.push(left);
      this.#right.push(right);
      this.#count.push(0);
      this.#places.push([]);
    }
    this.#count[pair]! += this.#weight[first]!;
    this.#places[pair]!.push(first);
  }

  #drop(first: number, second: number): void {
    this.#count[this.#index.get(this.#symbols[first]!, this.#symbols[second]!)]! -= this.#weight[first]!;
  }

  /** The pair to merge next; counts in the heap may be too high by now, and are put right as they come up. */
  #top(): number {
    while (this.#heap.size > 0) {
      const pair = this.#heap.top();
      const count = this.#count[pair]!;
      if (count === this.#heap.topCount()) {
        this.#heap.pop();
        return pair;
      }
      this.#heap.pop();
      if (count > 0) this.#heap.push(pair, count);
    }
    return -1;
  }

  #isBefore(a: number, b: number): boolean {
    return (
      this.#left[a]! - this.#left[b]! < 0 || (this.#left[a] === this.#left[b] && this.#right[a]! < this.#right[b]!)
    );
  }
}

/** A binary heap of pairs: highest count first, equals by `isBefore`. */
class PairHeap {
  readonly #pairs: number[] = [];
  readonly #counts: number[] = [];
  readonly #isBefore: (a: number, b: number) => boolean;

  constructor(isBefore: (a: number, b: number) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#pairs.length;
  }

  top(): number {
    return this.#pairs[0]!;
  }

  topCount(): number {
    return this.#counts[0]!;
  }

  push(pair: number, count: number): void {
    let k = this.#pairs.length;
    while (k > 0) {
      const parent = (k - 1) >> 1;
      if (!this.#precedes(pair, count, parent)) break;
      this.#place(k, this.#pairs[parent]!, this.#counts[parent]!);
      k = parent;
    }
    this.#place(k, pair, count);
  }

  pop(): void {
    const pair = this.#pairs.pop()!;
    const count = this.#counts.pop()!;
    const size = this.#pairs.length;
    if (size === 0) return;
    let k = 0;
    for (;;) {
      let child = 2 * k + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#precedes(this.#pairs[child + 1]!, this.#counts[child + 1]!, child)) child++;
      if (this.#precedes(pair, count, child)) break;
      this.#place(k, this.#pairs[child]!, this.#counts[child]!);
      k = child;
    }
    this.#place(k, pair, count);
  }

  #place(slot: number, pair: number, count: number): void {
    this.#pairs[slot] = pair;
    this.#counts[slot] = count;
  }

  #precedes(pair: number, count: number, slot: number): boolean {
    const other = this.#counts[slot]!;
    return count > other || (count === other && this.#isBefore(pair, this.#pairs[slot]!));
  }
}
