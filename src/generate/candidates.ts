/**
 * @file The tokens that may be drawn, with their weights, and the filters that narrow them down. They stay in the order
 * of their numbers throughout: a draw then depends on the logits as smoothly as it can, so that the last bits, which
 * differ between devices, seldom change the text.
 */
import { exponentials } from './exponentials.js';
import { cutAfterLargest, cutAtMass, type Cut } from './select.js';

export class Candidates {
  #ids = new Int32Array(0);
  /** (score - top) / temperature: the log of the weight. */
  #logs = new Float64Array(0);
  /** Probability over that of the most probable token. */
  #weights = new Float64Array(0);
  #keys = new Float64Array(0);
  #count = 0;
  #total = 0;

  get count(): number {
    return this.#count;
  }

  /** The tokens, in order. */
  get tokens(): Int32Array {
    return this.#ids.slice(0, this.#count);
  }

  /**
   * Begins with the `topK` largest scores (0: all of them); of equal ones the first.
   * @param scores       [V], at least one finite
   * @param top          the largest of them
   * @param temperature  above 0
   */
  start(scores: Float64Array, top: number, temperature: number, topK: number): void {
    const V = scores.length;
    this.#reserve(V);
    const ids = this.#ids;
    const logs = this.#logs;
    let count = 0;
    if (topK > 0 && topK < V) {
      const { value, rest } = cutAfterLargest(scores, V, topK);
      let equals = rest;
      for (let id = 0; id < V; id++) {
        const score = scores[id]!;
        if (score > value || (score === value && equals-- > 0)) {
          ids[count] = id;
          logs[count++] = score;
        }
      }
    } else {
      for (let id = 0; id < V; id++) ids[id] = id;
      logs.set(scores);
      count = V;
    }
    this.#total = exponentials(this.#weights, logs, count, top, temperature);
    for (let i = 0; i < count; i++) logs[i] = (logs[i]! - top) / temperature;
    this.#count = count;
  }

  /** The most probable tokens that together hold `mass` of the probability that is left, one at least. */
  topP(mass: number): void {
    // Tokens at or below this weight hold at most 1 - mass together, so the others reach it.
    const above = ((1 - mass) * this.#total) / this.#count;
    this.#keep(this.#weights, cutAtMass(this.#weights, this.#weights, this.#count, this.#share(mass), above));
  }

  /** Tokens at least this share as probable as the most probable one. */
  minP(share: number): void {
    this.#keep(this.#weights, { value: share, rest: Infinity });
  }

  /**
   * Local typicality (arXiv 2202.00666 eq. 11): the tokens whose information -log p is nearest to its expectation, the
   * entropy, until they hold `mass`. Information and entropy have the same additive constant here, which cancels.
   */
  typical(mass: number): void {
    const count = this.#count;
    let expected = 0;
    for (let i = 0; i < count; i++) {
      const weight = this.#weights[i]!;
      if (weight > 0) expected += weight * this.#logs[i]!;
    }
    expected /= this.#total;
    for (let i = 0; i < count; i++) this.#keys[i] = -Math.abs(this.#logs[i]! - expected);
    this.#keep(this.#keys, cutAtMass(this.#keys, this.#weights, count, this.#share(mass)));
  }

  /** The token at this fraction, from 0 to below 1, of the probability that is left. */
  pick(fraction: number): number {
    let rest = fraction * this.#total;
    let last = 0;
    for (let i = 0; i < this.#count; i++) {
      const weight = this.#weights[i]!;
      if (weight === 0) continue;
      rest -= weight;
      if (rest < 0) return this.#ids[i]!;
      last = i;
    }
    return this.#ids[last]!; // rounding
  }

  #share(mass: number): number {
    return Math.max(mass * this.#total, Number.MIN_VALUE);
  }

  #keep(keys: Float64Array, { value, rest }: Cut): void {
    let count = 0;
    let total = 0;
    let left = rest;
    for (let i = 0; i < this.#count; i++) {
      const key = keys[i]!;
      if (!(key >= value)) continue;
      const weight = this.#weights[i]!;
      if (key === value) {
        if (!(left > 0)) continue;
        left -= weight;
      }
      this.#ids[count] = this.#ids[i]!;
      this.#logs[count] = this.#logs[i]!;
      this.#weights[count++] = weight;
      total += weight;
    }
    this.#count = count;
    this.#total = total;
  }

  #reserve(V: number): void {
    if (this.#ids.length >= V) return;
    this.#ids = new Int32Array(V);
    this.#logs = new Float64Array(V);
    this.#weights = new Float64Array(V);
    this.#keys = new Float64Array(V);
  }
}
