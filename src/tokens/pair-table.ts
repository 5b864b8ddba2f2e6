/**
 * @file A hash table from pairs of ids to a small number, in typed arrays: what BPE looks up for every two neighbours.
 * A Map would need a key object or a number beyond 32 bits for each look-up.
 */

export class PairTable {
  #left: Int32Array;
  #right: Int32Array;
  #value: Int32Array;
  #mask: number;
  #used = 0;

  /** @param expected  pairs to make room for; the table grows beyond. */
  constructor(expected = 16) {
    const slots = slotsFor(expected);
    this.#left = new Int32Array(slots).fill(-1);
    this.#right = new Int32Array(slots);
    this.#value = new Int32Array(slots);
    this.#mask = slots - 1;
  }

  /** The value of a pair of ids, both 0 or more; -1 if it has none. */
  get(left: number, right: number): number {
    const slot = this.#find(left, right);
    return this.#left[slot] === -1 ? -1 : this.#value[slot]!;
  }

  set(left: number, right: number, value: number): void {
    let slot = this.#find(left, right);
    if (this.#left[slot] === -1) {
      if ((this.#used + 1) * 2 > this.#left.length) {
        this.#grow();
        slot = this.#find(left, right);
      }
      this.#used++;
      this.#left[slot] = left;
      this.#right[slot] = right;
    }
    this.#value[slot] = value;
  }

  /** The slot of the pair, or the empty one where it would go. */
  #find(left: number, right: number): number {
    let slot = (Math.imul(left, 0x9e3779b1) + Math.imul(right, 0x85ebca6b)) | 0;
    slot = (slot ^ (slot >>> 15)) & this.#mask;
    while (this.#left[slot] !== -1 && (this.#left[slot] !== left || this.#right[slot] !== right)) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  #grow(): void {
    const [left, right, value] = [this.#left, this.#right, this.#value];
    const bigger = new PairTable(left.length);
    for (let k = 0; k < left.length; k++) if (left[k] !== -1) bigger.set(left[k]!, right[k]!, value[k]!);
    this.#left = bigger.#left;
    this.#right = bigger.#right;
    this.#value = bigger.#value;
    this.#mask = bigger.#mask;
  }
}

/** A power of two at least twice `expected`. */
function slotsFor(expected: number): number {
  let slots = 32;
  while (slots < 2 * expected) slots *= 2;
  return slots;
}
