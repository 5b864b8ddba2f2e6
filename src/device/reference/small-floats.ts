/**
 * @file The 16-bit floats of the reference kernels, bfloat16 and IEEE half: their bits and their values, in plain
 * arithmetic on float64. Rounding is to nearest, ties to even.
 */

/** x to the nearest integer, of two the even one. */
export function roundEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

/** How many bits of exponent and of fraction follow the sign. */
interface Shape {
  readonly exponent: number;
  readonly fraction: number;
}

const BFLOAT: Shape = { exponent: 8, fraction: 7 };
const HALF: Shape = { exponent: 5, fraction: 10 };

/** The bits of the number nearest to a finite x; of infinity where that is too large. */
function bitsOf(x: number, { exponent, fraction }: Shape): number {
  const sign = x < 0 || Object.is(x, -0) ? 1 << (exponent + fraction) : 0;
  const size = Math.abs(x);
  const bias = 2 ** (exponent - 1) - 1;
  // Below the smallest normal number 2^(1 - bias) all steps are the same.
  const power = size === 0 ? 1 - bias : Math.max(1 - bias, floorLog2(size));
  const steps = roundEven(size / 2 ** (power - fraction));
  // A subnormal has steps < 2^fraction and exponent field 0; a carry moves into the field by itself.
  const bits = (power + bias - 1) * 2 ** fraction + steps;
  return sign | Math.min(bits, (2 ** exponent - 1) * 2 ** fraction);
}

/** The largest integer e with 2^e <= x, for x > 0. */
function floorLog2(x: number): number {
  const guess = Math.floor(Math.log2(x));
  return 2 ** guess > x ? guess - 1 : 2 ** (guess + 1) <= x ? guess + 1 : guess;
}

function valueOf(bits: number, { exponent, fraction }: Shape): number {
  const field = (bits >> fraction) & (2 ** exponent - 1);
  const rest = bits & (2 ** fraction - 1);
  const sign = bits >> (exponent + fraction) ? -1 : 1;
  const bias = 2 ** (exponent - 1) - 1;
  if (field === 2 ** exponent - 1) return rest === 0 ? sign * Infinity : NaN;
  return sign * (field === 0 ? rest : rest + 2 ** fraction) * 2 ** (Math.max(1, field) - bias - fraction);
}

export const bfloatBits = (x: number): number => bitsOf(x, BFLOAT);
export const bfloatValue = (bits: number): number => valueOf(bits, BFLOAT);
export const halfBits = (x: number): number => bitsOf(x, HALF);
export const halfValue = (bits: number): number => valueOf(bits, HALF);
