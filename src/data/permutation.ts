/**
 * @file A pseudo-random permutation of 0 .. size-1 without a table: a Feistel network (Luby & Rackoff 1988) over the
 * next power of two, walked until it lands inside (Black & Rogaway 2002). It says where one index goes, for any size.
 */
import { philoxBlock } from '../device/philox.js';
import type { RandomKey } from '../tensor/random.js';

/** Third counter word, so that the rounds never meet a stream of numbers or a derived key of the same key. */
const PERMUTE = 2;
/** Even, so that halves of unequal width are back in place at the end. */
const ROUNDS = 8;
/** With narrower halves some permutations of few indices would be more likely than others. */
const FEWEST_BITS = 6;

/**
 * Where `index` goes under the permutation of `key`.
 * @param size  from 1 to 2^52
 * @throws RangeError unless 0 <= index < size.
 */
export function permute(key: RandomKey, index: number, size: number): number {
  if (!(Number.isSafeInteger(index) && index >= 0 && index < size && size <= 2 ** 52)) {
    throw new RangeError(
      `permute: index must be a whole number from 0 to below size, got index ${index} and size ${size}`,
    );
  }
  const bits = Math.max(FEWEST_BITS, Math.ceil(Math.log2(size)));
  let at = index;
  do at = feistel(key, at, bits);
  while (at >= size);
  return at;
}

/** One bijection of [0, 2^bits). Each round the right half decides what is added to the left one, and they swap. */
function feistel(key: RandomKey, value: number, bits: number): number {
  let rightBits = Math.ceil(bits / 2);
  let leftBits = bits - rightBits;
  let left = Math.floor(value / 2 ** rightBits);
  let right = value % 2 ** rightBits;
  for (let round = 0; round < ROUNDS; round++) {
    // Halves have at most 26 bits.
    const mask = 2 ** leftBits - 1;
    const mixed = (left ^ philoxBlock([right, round, PERMUTE, bits], key[0], key[1])[0]) & mask;
    [left, right] = [right, mixed];
    [leftBits, rightBits] = [rightBits, leftBits];
  }
  return left * 2 ** rightBits + right;
}
