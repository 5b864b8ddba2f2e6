/** @file What the forms of the matrix product of the WebGPU device share: their sizes, and how a sum becomes an element of c. */

export const SIZES = 'M N K lda ldb ldc tilesM tilesN strideA strideB strideC';

/** `put(base, m, n, sum)` for the constants ACCUMULATE and, as `activate`, ACTIVATION; nothing outside of c. */
export const PUT = `
fn put(base: u32, m: u32, n: u32, sum: f32) {
  if (m >= p.M || n >= p.N) { return; }
  let at = base + m * p.ldc + n;
  let value = sum + bias_at(n);
  if (ACCUMULATE) { c_add(at, value); } else { c_set(at, activate(value)); }
}
`;

/** Where the square tile of workgroup `group` begins: `item` of a batch, `row`, `column`, and `base_a`, `base_b` of the item. */
export const tilePlace = (side: number): string => `
  let item = group / (p.tilesM * p.tilesN);
  let row = ((group / p.tilesN) % p.tilesM) * ${side}u;
  let column = (group % p.tilesN) * ${side}u;
  let base_a = item * p.strideA;
  let base_b = item * p.strideB;`;
