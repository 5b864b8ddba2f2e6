/** @file bf16 and f16: every half there and back, and rounding to nearest even against a definition by bits. */
import { expect, it } from 'vitest';
import { fromFloat32, toFloat32 } from '../../src/model/float-formats.js';
import { randomKey, uniform } from '../../src/tensor/random.js';

const halves = Uint16Array.from({ length: 65536 }, (_, k) => k);
const isNan = (half: number, exponent: number) => (half & exponent) === exponent && (half & ~(0x8000 | exponent)) !== 0;

it.each([
  ['BF16', 0x7f80],
  ['F16', 0x7c00],
] as const)('%s: every number comes back, a NaN as a NaN', (dtype, exponent) => {
  const back = fromFloat32(toFloat32(halves, dtype), dtype);
  for (const half of halves) {
    if (isNan(half, exponent)) expect(isNan(back[half]!, exponent)).toBe(true);
    else expect(back[half]).toBe(half);
  }
});

it.each(['BF16', 'F16'] as const)('%s: to the nearest, ties to even', (dtype) => {
  const exact = toFloat32(halves, dtype);
  const largest = dtype === 'F16' ? 0x7bff : 0x7f7f;
  // Between each two neighbours: the middle, and a little to both sides of it.
  for (let half = 0; half < largest; half++) {
    const [low, high] = [exact[half]!, exact[half + 1]!];
    const middle = low / 2 + high / 2;
    const [below, above] = [middle - (high - low) / 8, middle + (high - low) / 8];
    const even = half % 2 === 0 ? half : half + 1;
    const values = Float32Array.of(below, middle, above, -below, -middle, -above);
    const wanted = [half, even, half + 1].flatMap((x) => [x]);
    expect([...fromFloat32(values, dtype)]).toEqual([...wanted, ...wanted.map((x) => x | 0x8000)]);
  }
});

it('what is too large becomes infinite, as IEEE 754 has it', () => {
  expect([...fromFloat32(Float32Array.of(65519, 65520, -1e30, Infinity), 'F16')]).toEqual([
    0x7bff, 0x7c00, 0xfc00, 0x7c00,
  ]);
  expect([...fromFloat32(Float32Array.of(3.4e38, -3.4e38), 'BF16')]).toEqual([0x7f80, 0xff80]);
  const values = Float32Array.from(uniform(randomKey(1), 1000, -1, 1));
  expect(fromFloat32(values, 'F32')).toBe(values);
});
