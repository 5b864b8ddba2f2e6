/**
 * @file Random keys that are passed, never a global state: a key and a counter decide every number.
 * The bits are Philox4x32-10 (`device/philox.ts`); here they become keys, uniform and normal numbers.
 */
import { philoxBlock } from '../device/philox.js';

/** Two unsigned 32-bit words. */
export type RandomKey = readonly [number, number];

/** Third counter word of the blocks that derive keys, so that they never coincide with a stream of numbers. */
const DERIVE = 1;

/** The key of a seed. @throws RangeError when the seed is not an integer from 0 to 2^53 - 1. */
export function randomKey(seed: number): RandomKey {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`randomKey: a seed is a whole number from 0 to 2^53 - 1, got ${seed}`);
  }
  return fold([seed >>> 0, Math.floor(seed / 0x100000000)], 0);
}

/**
 * A new key from a key and a label: `fold(fold(key, 'dropout'), step)`. Different labels give independent streams.
 * @param label  a string, or an integer from 0 to 2^53 - 1
 */
export function fold(key: RandomKey, label: string | number): RandomKey {
  const [low, high, kind] =
    typeof label === 'string' ? [...hash(label), 1] : [label >>> 0, Math.floor(label / 0x100000000), 0];
  const [a, b] = philoxBlock([low, high, DERIVE, kind], key[0], key[1]);
  return [a, b];
}

/** Two FNV-1a hashes of the UTF-16 units of a label, from two offsets. */
function hash(label: string): [number, number] {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let k = 0; k < label.length; k++) {
    a = Math.imul(a ^ label.charCodeAt(k), 0x01000193) >>> 0;
    b = Math.imul(b ^ label.charCodeAt(k), 0x0100019d) >>> 0;
  }
  return [a, b];
}

/** `length` numbers uniform in [low, high). */
export function uniform(key: RandomKey, length: number, low = 0, high = 1): Float64Array {
  const out = new Float64Array(length);
  forEachBlock(key, length, 2, (at, words) => {
    // 53 bits of two words, as far as a double has them.
    const fraction = ((words[0] >>> 5) * 67108864 + (words[1] >>> 6)) / 9007199254740992;
    const next = ((words[2] >>> 5) * 67108864 + (words[3] >>> 6)) / 9007199254740992;
    out[at] = low + fraction * (high - low);
    if (at + 1 < length) out[at + 1] = low + next * (high - low);
  });
  return out;
}

/** `length` normal numbers of the given mean and standard deviation (Box & Muller 1958). */
export function normal(key: RandomKey, length: number, mean = 0, std = 1): Float64Array {
  const out = new Float64Array(length);
  forEachBlock(key, length, 4, (at, words) => {
    for (let half = 0; half < 2; half++) {
      const radius = std * Math.sqrt(-2 * Math.log((words[2 * half]! + 0.5) / 0x100000000));
      const angle = (2 * Math.PI * words[2 * half + 1]!) / 0x100000000;
      if (at + 2 * half < length) out[at + 2 * half] = mean + radius * Math.cos(angle);
      if (at + 2 * half + 1 < length) out[at + 2 * half + 1] = mean + radius * Math.sin(angle);
    }
  });
  return out;
}

type Words = readonly [number, number, number, number];

function forEachBlock(
  key: RandomKey,
  length: number,
  perBlock: number,
  visit: (at: number, words: Words) => void,
): void {
  for (let at = 0; at < length; at += perBlock) {
    visit(at, philoxBlock([(at / perBlock) >>> 0, Math.floor(at / perBlock / 0x100000000), 0, 0], key[0], key[1]));
  }
}

/** One uniform number in [0,1): number `index` of the key's stream of single draws. */
export function draw(key: RandomKey, index: number): number {
  const [a, b] = philoxBlock([index >>> 0, Math.floor(index / 0x100000000), 0, 0], key[0], key[1]);
  return ((a >>> 5) * 67108864 + (b >>> 6)) / 9007199254740992;
}
