/** @file Draws for one example of a task: whole numbers, choices and shuffles out of a key. */
import { philoxBlock } from '../../device/philox.js';
import type { RandomKey } from '../../tensor/random.js';

/** Third counter word, so that draws never meet a stream of numbers or a derived key of the same key. */
const DRAW = 3;

export class Draws {
  readonly #key: RandomKey;
  /** Four words at a time: an example may need thousands. */
  #words: readonly number[] = [];
  #count = 0;

  constructor(key: RandomKey) {
    this.#key = key;
  }

  /** In [0,1), a multiple of 2^-32. */
  uniform(): number {
    const place = this.#count % 4;
    if (place === 0) this.#words = philoxBlock([this.#count / 4, 0, DRAW, 0], this.#key[0], this.#key[1]);
    this.#count++;
    return this.#words[place]! / 0x100000000;
  }

  /** A whole number from 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** `count` different whole numbers from 0 to n - 1, in random order. */
  distinct(n: number, count: number): number[] {
    // Fisher-Yates over a table of the places that were moved.
    const moved = new Map<number, number>();
    return Array.from({ length: count }, (_, k) => {
      const at = k + this.below(n - k);
      const chosen = moved.get(at) ?? at;
      moved.set(at, moved.get(k) ?? k);
      return chosen;
    });
  }

  /** An index with the probability of its weight; weights of 0 are never chosen. */
  weighted(weights: readonly number[]): number {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let left = this.uniform() * total;
    let last = -1;
    for (const [index, weight] of weights.entries()) {
      if (weight === 0) continue;
      last = index;
      left -= weight;
      if (left < 0) break;
    }
    return last;
  }
}
