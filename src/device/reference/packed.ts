/**
 * @file Reference kernels of matrices in storage formats (see `../packing.ts`): writing them, reading them, products.
 *
 * Writing works on float32 numbers, each operation rounded to float32, so that every device makes the same bytes.
 * Reading and products are float64, as everywhere on this device.
 */
import type { Kernels } from '../kernels.js';
import { WeightFormat } from '../kernels.js';
import { checkPacking, isScaled, packedRowBytes, scaleCount, scaleOffset } from '../packing.js';
import { bytes, floats, ints, optionalFloats } from './buffer.js';
import { tokenAt } from './cross-entropy.js';
import { bfloatBits, bfloatValue, halfBits, halfValue, roundEven } from './small-floats.js';

const { bf16, f16, int8, int4 } = WeightFormat;
const { fround } = Math;

/** Groups whose largest weight is below this are stored as zeros: their scales would leave the normal numbers. */
const SMALLEST = 2 ** -110;

/** What `int4` tries: the largest weight of a group is this many steps from zero. 8 is the last code; more clips. */
const STEPS = Array.from({ length: 16 }, (_, k) => 7 + k / 2);

/** The float32 number that a bfloat16 near x stands for. */
const toBfloat = (x: number): number => bfloatValue(bfloatBits(x));

const limit = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));

/** The nearest code, as float32 arithmetic finds it. */
const codeOf = (x: number, inverse: number, low: number, high: number): number =>
  limit(roundEven(fround(x * inverse)), low, high);

/** A bfloat16 scale that maps the largest weight to code 127 or, where it is rounded up or down, next to it. */
function int8Scale(weights: readonly number[]): number {
  const largest = weights.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
  return largest < SMALLEST ? 0 : toBfloat(fround(largest / 127));
}

/** The sum of squared errors of a group: 16 sums of every 16th weight, added as a tree that halves. */
function squaredError(weights: readonly number[], scale: number): number {
  const inverse = fround(1 / scale);
  const sums = new Float64Array(16);
  weights.forEach((x, c) => {
    const error = fround(x - codeOf(x, inverse, -8, 7) * scale);
    sums[c % 16]! += error * error;
  });
  for (let half = 8; half >= 1; half /= 2) for (let l = 0; l < half; l++) sums[l]! += sums[l + half]!;
  return sums[0]!;
}

/**
 * The scale with the smallest squared error of those that put the largest weight 7 to 14.5 steps from zero, on the side
 * of the code -8, which has no positive counterpart: so the scale is negative where that weight is positive.
 */
function int4Scale(weights: readonly number[]): number {
  const largest = weights.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
  if (largest < SMALLEST) return 0;
  const signed = weights.find((x) => Math.abs(x) === largest)! > 0 ? -largest : largest;
  let [best, least] = [0, Infinity];
  for (const steps of STEPS) {
    const scale = toBfloat(fround(signed / steps));
    const error = squaredError(weights, scale);
    if (best === 0 || error < least) [best, least] = [scale, error];
  }
  return best;
}

/** Writes one row of float32 numbers; the row is zeros at first. */
function packRow(row: DataView, weights: readonly number[], format: WeightFormat, group: number): void {
  const C = weights.length;
  if (!isScaled(format)) {
    weights.forEach((x, c) => row.setUint16(2 * c, format === bf16 ? bfloatBits(x) : halfBits(x), true));
    return;
  }
  const scales = scaleOffset(format, C);
  if (format === int4) for (let at = 0; at < scales; at++) row.setUint8(at, 0x88);
  for (let g = 0; g < scaleCount(format, C, group); g++) {
    const [begin, end] = [g * group, group === 0 ? C : Math.min(C, (g + 1) * group)];
    const own = weights.slice(begin, end);
    const scale = format === int8 ? int8Scale(own) : int4Scale(own);
    row.setUint16(scales + 2 * g, bfloatBits(scale), true);
    if (scale === 0) continue;
    const inverse = fround(1 / scale);
    own.forEach((x, k) => {
      const c = begin + k;
      if (format === int8) row.setInt8(c, codeOf(x, inverse, -127, 127));
      else setNibble(row, c, codeOf(x, inverse, -8, 7) + 8);
    });
  }
}

/** Where the four bits of int4 weight c lie: the byte, and whether they are its upper half. */
const nibbleAt = (c: number): { byte: number; shift: number } => {
  const [block, j, l] = [Math.floor(c / 128), Math.floor((c % 128) / 16), c % 16];
  return { byte: 64 * block + 4 * l + Math.floor(j / 2), shift: 4 * (j % 2) };
};

function setNibble(row: DataView, c: number, code: number): void {
  const { byte, shift } = nibbleAt(c);
  row.setUint8(byte, (row.getUint8(byte) & ~(15 << shift)) | (code << shift));
}

/** The rows of a packed matrix, each a view of its bytes. */
function rowsOf(packed: Uint8Array, R: number, C: number, format: WeightFormat, group: number): DataView[] {
  const rowBytes = packedRowBytes(format, C, group);
  return Array.from({ length: R }, (_, r) => new DataView(packed.buffer, packed.byteOffset + r * rowBytes, rowBytes));
}

/** The C weights of a row. */
function unpackRow(row: DataView, C: number, format: WeightFormat, group: number): Float64Array {
  const scales = scaleOffset(format, C);
  return Float64Array.from({ length: C }, (_, c) => {
    if (format === bf16) return bfloatValue(row.getUint16(2 * c, true));
    if (format === f16) return halfValue(row.getUint16(2 * c, true));
    const scale = bfloatValue(row.getUint16(scales + 2 * (group === 0 ? 0 : Math.floor(c / group)), true));
    if (format === int8) return row.getInt8(c) * scale;
    const { byte, shift } = nibbleAt(c);
    return (((row.getUint8(byte) >> shift) & 15) - 8) * scale;
  });
}

/** @throws RangeError naming the row, for a number that the format cannot hold. */
function checkStorable(X: Float64Array, R: number, C: number, format: WeightFormat): void {
  for (let n = 0; n < R * C; n++) {
    const x = fround(X[n]!);
    const at = `row ${Math.floor(n / C)} holds ${x} at column ${n % C}`;
    if (!Number.isFinite(x)) throw new RangeError(`packRows: ${at}; only finite numbers can be packed`);
    if (format === f16 && (halfBits(x) & 0x7fff) >= 0x7c00) {
      throw new RangeError(`packRows: ${at}, beyond what f16 can hold (65504); use bf16`);
    }
    if (format === bf16 && (bfloatBits(x) & 0x7fff) >= 0x7f80) {
      throw new RangeError(`packRows: ${at}, beyond what bf16 can hold (3.39e38)`);
    }
  }
}

export const packed = {
  packRows(packed, x, R, C, format, group) {
    checkPacking(format, C, group);
    const [P, X] = [bytes(packed, R * packedRowBytes(format, C, group)), floats(x, R * C)];
    checkStorable(X, R, C, format);
    P.fill(0, 0, R * packedRowBytes(format, C, group));
    rowsOf(P, R, C, format, group).forEach((row, r) =>
      packRow(row, Array.from(X.subarray(r * C, (r + 1) * C), fround), format, group),
    );
  },

  unpackRows(y, packed, R, C, format, group) {
    const [Y, P] = [floats(y, R * C), bytes(packed, R * packedRowBytes(format, C, group))];
    rowsOf(P, R, C, format, group).forEach((row, r) => Y.set(unpackRow(row, C, format, group), r * C));
  },

  linearPacked(y, x, weight, bias, N, O, I, format, group) {
    const [Y, X, Bias] = [floats(y, N * O), floats(x, N * I), optionalFloats(bias, O)];
    const rows = rowsOf(bytes(weight, O * packedRowBytes(format, I, group)), O, I, format, group);
    rows.forEach((row, o) => {
      const W = unpackRow(row, I, format, group);
      for (let n = 0; n < N; n++) {
        let sum = Bias?.[o] ?? 0;
        for (let i = 0; i < I; i++) sum += W[i]! * X[n * I + i]!;
        Y[n * O + o] = sum;
      }
    });
  },

  embeddingPacked(y, tokens, table, N, D, V, format, group) {
    const [Y, I] = [floats(y, N * D), ints(tokens, N)];
    const rows = rowsOf(bytes(table, V * packedRowBytes(format, D, group)), V, D, format, group);
    for (let n = 0; n < N; n++) {
      Y.set(unpackRow(rows[tokenAt(I, n, V, 'embeddingPacked')]!, D, format, group), n * D);
    }
  },
} satisfies Partial<Kernels>;
