/** @file What the backward programs of the mLSTM read of their chunk, as elements that are 0 outside. It runs nothing. */

/** Queries, scaled, keys and `dnum`. They are loaded as tiles of 16 columns in rows of 17. */
export const TILES = `
fn query_at(b: u32, head: u32, chunk: u32, t: u32, d: u32) -> f32 {
  if (!is_step(chunk, t) || d >= p.DK) { return 0.0; }
  return q_at(row_of(b, head, chunk, t) * p.DK + d) * p.scale;
}
fn key_at(b: u32, head: u32, chunk: u32, s: u32, d: u32) -> f32 {
  if (!is_step(chunk, s) || d >= p.DK) { return 0.0; }
  return k_at(row_of(b, head, chunk, s) * p.DK + d);
}
fn dnum_of(b: u32, head: u32, chunk: u32, t: u32, e: u32) -> f32 {
  if (!is_step(chunk, t) || e >= p.DW) { return 0.0; }
  return dnum_at(row_of(b, head, chunk, t) * p.DW + e);
}
`;
/** Values with their column of ones. */
export const VALUES = `
fn value_at(b: u32, head: u32, chunk: u32, s: u32, e: u32) -> f32 {
  if (!is_step(chunk, s) || e >= p.DW) { return 0.0; }
  if (e == p.DV) { return 1.0; }
  return v_at(row_of(b, head, chunk, s) * p.DV + e);
}
`;
