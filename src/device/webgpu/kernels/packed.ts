/** @file Matrices in storage formats on the WebGPU device (`packing.ts` has the layouts): reading them, and products. */
import type { Kernels, WeightFormat } from '../../kernels.js';
import { packedRowBytes, scaleOffset } from '../../packing.js';
import type { Gpu } from '../gpu.js';
import { map, mapGroups, program } from '../program.js';
import { checkTokens } from './language-model.js';
import { groupSum } from './sums.js';

/** `weight_of(row, c)` of the constant FORMAT, by the bytes of `packed`. */
const WEIGHT = `
fn half_word(at: u32) -> u32 { return packed_at(at) | (packed_at(at + 1u) << 8u); }
fn bfloat(at: u32) -> f32 { return bitcast<f32>(half_word(at) << 16u); }
fn half_float(at: u32) -> f32 {
  let bits = half_word(at);
  let exponent = (bits >> 10u) & 31u;
  let fraction = bits & 1023u;
  var size = f32(fraction) * 5.9604645e-8; // 2^-24
  if (exponent != 0u) { size = bitcast<f32>(((exponent + 112u) << 23u) | (fraction << 13u)); }
  return select(size, -size, (bits & 0x8000u) != 0u);
}
fn scale_of(base: u32, c: u32) -> f32 {
  var group = 0u;
  if (p.group > 0u) { group = c / p.group; }
  return bfloat(base + p.scales + 2u * group);
}
fn weight_of(row: u32, c: u32) -> f32 {
  let base = row * p.rowBytes;
  switch (FORMAT) {
    case 0u: { return bfloat(base + 2u * c); }
    case 1u: { return half_float(base + 2u * c); }
    case 2u: { return f32(bitcast<i32>(packed_at(base + c) << 24u) >> 24u) * scale_of(base, c); }
    default: {
      // bits 4j..4j+3 of word l of a block are weight 16 j + l
      let j = (c % 128u) / 16u;
      let byte = packed_at(base + 64u * (c / 128u) + 4u * (c % 16u) + j / 2u);
      return (f32((byte >> (4u * (j % 2u))) & 15u) - 8.0) * scale_of(base, c);
    }
  }
}
`;
const LAYOUT = 'rowBytes scales group';

const UNPACK = map('unpackRows', 'y', 'packed:u8', `C ${LAYOUT}`, 'y_set(n, weight_of(n / p.C, n % p.C));', WEIGHT);
const EMBEDDING = map(
  'embeddingPacked',
  'y',
  'tokens:i32 packed:u8',
  `C V ${LAYOUT}`,
  `let token = u32(tokens_at(n / p.C));
  if (token < p.V) { y_set(n, weight_of(token, n % p.C)); }`,
  WEIGHT,
);
/** A workgroup per element of y. */
const LINEAR = program({
  name: 'linearPacked',
  writes: 'y',
  reads: 'x packed:u8 bias',
  sizes: `O I ${LAYOUT}`,
  threads: 64,
  solo: true,
  code: (constants) => `${WEIGHT}${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let row = group / p.O;
  let unit = group % p.O;
  var part = 0.0;
  for (var i = lane; i < p.I; i += THREADS) { part += weight_of(unit, i) * x_at(row * p.I + i); }
  let sum = group_sum(lane, part);
  if (lane == 0u) { y_set(group, sum + bias_at(unit)); }
}`,
});

const layoutOf = (format: WeightFormat, columns: number, group: number) => ({
  rowBytes: packedRowBytes(format, columns, group),
  scales: scaleOffset(format, columns),
  group,
});

export const packed = (gpu: Gpu) =>
  ({
    unpackRows(y, packed, R, C, format, group) {
      gpu.run(UNPACK, { y, packed }, { N: R * C, C, ...layoutOf(format, C, group) }, mapGroups(R * C), {
        FORMAT: format,
      });
    },
    linearPacked(y, x, weight, bias, N, O, I, format, group) {
      const sizes = { O, I, ...layoutOf(format, I, group) };
      gpu.run(LINEAR, { y, x, packed: weight, bias }, sizes, N * O, { FORMAT: format });
    },
    embeddingPacked(y, tokens, table, N, D, V, format, group) {
      checkTokens(gpu, 'embeddingPacked', tokens, N, V);
      const sizes = { N: N * D, C: D, V, ...layoutOf(format, D, group) };
      gpu.run(EMBEDDING, { y, tokens, packed: table }, sizes, mapGroups(N * D), { FORMAT: format });
    },
  }) satisfies Partial<Kernels>;
