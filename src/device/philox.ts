/**
 * @file Philox4x32-10, the counter-based random generator (Salmon et al. 2011, "Parallel random numbers: as easy as
 * 1, 2, 3"), in exact 32-bit integers. It is the stream that dropout reads on every device; it is not a distribution:
 * uniform and normal numbers are made of its words in `tensor/random.ts`.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** The four 32-bit words of a counter or of an output block. */
export type PhiloxBlock = [number, number, number, number];

/** Upper 32 bits of the 64-bit product of two unsigned 32-bit integers, by 16-bit halves. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  // Each product and each sum below stays under 2^53, so doubles hold them exactly.
  const middle = aHigh * bLow + Math.floor((aLow * bLow) / 0x10000);
  const middleLow = (middle % 0x10000) + aLow * bHigh;
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(middleLow / 0x10000)) >>> 0;
}

/**
 * One block of Philox4x32-10.
 *
 * @param counter  four unsigned 32-bit words
 * @param key0     unsigned 32-bit
 * @param key1     unsigned 32-bit
 * @returns        four unsigned 32-bit words
 */
export function philoxBlock(counter: Readonly<PhiloxBlock>, key0: number, key1: number): PhiloxBlock {
  let [c0, c1, c2, c3] = counter;
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * Word `n` of the stream of (key0, key1): output word n % 4 of the block whose counter is floor(n / 4), low word first.
 *
 * @param n  an integer from 0 to 2^53 - 1
 * @returns  an unsigned 32-bit integer
 */
export function philoxWord(key0: number, key1: number, n: number): number {
  const block = Math.floor(n / 4);
  const counter: PhiloxBlock = [block >>> 0, Math.floor(block / 0x100000000), 0, 0];
  return philoxBlock(counter, key0, key1)[n % 4]!;
}
