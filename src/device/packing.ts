/**
 * @file How a matrix that is only read is stored in fewer bits: the layout of its rows. It computes sizes and checks
 * them; the kernels that write and read such rows are `packRows`, `unpackRows`, `linearPacked` and `embeddingPacked`.
 *
 * A row of C weights, by format (all numbers little-endian):
 *
 * - `bf16`, `f16`: C numbers of 2 bytes and nothing else, as in a checkpoint. There are no groups: group is 0.
 * - `int8`: C codes of one byte (two's complement); from the next multiple of 2 bytes on ceil(C / group) scales in
 *   bfloat16, one for the row where group is 0; zeros up to a multiple of 64 bytes. A weight is code * scale.
 * - `int4`: blocks of 128 weights, each 16 words of 32 bits; bits 4j..4j+3 of word l are weight 16 j + l of the block,
 *   so that a vector of words becomes eight vectors of neighbouring weights by masks. Then ceil(C / group) scales in
 *   bfloat16; zeros up to a multiple of 64 bytes. A weight is (code - 8) * scale. The last block is filled with code 8.
 *
 * A group is a multiple of 16 weights of one row, so that no vector of weights has two scales. Scales may be negative.
 */
import { WeightFormat } from './kernels.js';

/** Weights of a block of int4, which is one cache line. */
const BLOCK = 128;
const LINE = 64;

/** The name of a format, for messages. */
export function formatName(format: WeightFormat): keyof typeof WeightFormat {
  const found = Object.entries(WeightFormat).find(([, value]) => value === format);
  if (!found) throw new RangeError(`packing: ${String(format)} is no storage format; there are 0 (bf16) to 3 (int4)`);
  return found[0] as keyof typeof WeightFormat;
}

/** @throws RangeError for a format, a number of columns or a group that cannot be. */
export function checkPacking(format: WeightFormat, columns: number, group: number): void {
  const name = formatName(format);
  if (!Number.isSafeInteger(columns) || columns < 1) {
    throw new RangeError(`packing: a row must have at least one column, got ${columns}`);
  }
  const isWhole = Number.isSafeInteger(group) && group >= 16 && group % 16 === 0;
  if (isScaled(format) ? !isWhole && !(group === 0 && name === 'int8') : group !== 0) {
    const rule = { bf16: '0', f16: '0', int8: 'a multiple of 16, or 0 for one per row', int4: 'a multiple of 16' }[
      name
    ];
    throw new RangeError(`packing: the group of ${name} must be ${rule}, got ${group}`);
  }
}

/** Whether weights are codes with a scale per group. */
export const isScaled = (format: WeightFormat): boolean => format === WeightFormat.int8 || format === WeightFormat.int4;

/** Scales of a row. */
export const scaleCount = (format: WeightFormat, columns: number, group: number): number =>
  isScaled(format) ? (group === 0 ? 1 : Math.ceil(columns / group)) : 0;

/** Where in a row the scales begin, in bytes. */
export function scaleOffset(format: WeightFormat, columns: number): number {
  if (!isScaled(format)) return 2 * columns;
  return format === WeightFormat.int8 ? 2 * Math.ceil(columns / 2) : LINE * Math.ceil(columns / BLOCK);
}

/**
 * Bytes of one row.
 * @param format   how the weights are stored
 * @param columns  weights of a row, at least 1
 * @param group    neighbouring weights that share a scale; 0 for bf16 and f16, and for one scale per row of int8
 * @throws RangeError for a format, a number of columns or a group that cannot be.
 */
export function packedRowBytes(format: WeightFormat, columns: number, group: number): number {
  checkPacking(format, columns, group);
  const bytes = scaleOffset(format, columns) + 2 * scaleCount(format, columns, group);
  return isScaled(format) ? LINE * Math.ceil(bytes / LINE) : bytes;
}
