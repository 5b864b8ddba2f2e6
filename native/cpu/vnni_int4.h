// Products of int4 rows with a few rows of x by VNNI (vnni.h). With vectors of 16 a line in groups of 32 takes 15
// instructions of arithmetic.
//
// X is signed digits as in int4_dot.h. Bytes change places within four words so that each sum of four bytes lies in one
// group: the groups of a block take turns from sum to sum.
#ifndef XL_CPU_VNNI_INT4_H
#define XL_CPU_VNNI_INT4_H
#include "vnni.h"

namespace XL_NS {
namespace {

#if defined(__AVX2__)

// A prepared block of x is its digits from the highest, where the sum starts, the unit of X in all lanes.
constexpr int64_t INT4_START = DIGITS * BYTE_VECTORS * W, INT4_UNIT = INT4_START + W, INT4_BLOCK = INT4_UNIT + W;

// Bytes in the order of their groups; RUNS: scales of a block, 1, 2 or 4.
template <int RUNS>
XL_INLINE vi by_group(vi bytes) {
  if constexpr (RUNS == 4)
    return shuffle_bytes(bytes, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  if constexpr (RUNS == 2)
    return shuffle_bytes(bytes, _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
  return bytes;
}

// sum += products of codes with one digit of X, for R rows of codes and M of x.
template <int R, int M>
XL_VNNI_INLINE void add_digit(vi (&sum)[R][M], const vi (&codes)[R][CODE_VECTORS], const float *x, int digit) {
#pragma GCC unroll 4
  for (int k = 0; k < CODE_VECTORS; k++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      const vi own = (vi)load(x + m * INT4_BLOCK + (digit * CODE_VECTORS + k) * W);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) sum[r][m] = add_products(sum[r][m], codes[r][k], own);
    }
}

// sum += products of codes with X, whose digits are at x. The two highest digits share a sum, the lowest one has its
// own: fewer instructions than with a sum for each, and no longer chain of them than needed.
template <int R, int M>
XL_VNNI_INLINE void int4_products(vi (&sum)[R][M], const vi (&codes)[R][CODE_VECTORS], const float *x) {
  static_assert(DIGITS == 3, "");
  vi high[R][M] = {};
  add_digit<R, M>(high, codes, x, 0);
  add_digit<R, M>(sum, codes, x, 2);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) high[r][m] <<= 8;
  add_digit<R, M>(high, codes, x, 1);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) sum[r][m] += high[r][m] << 8;
}

template <int RUNS>
XL_VNNI float prepare_vnni_int4_block(float *to, const float *x, int64_t columns) {
  vi digits[CODE_VECTORS][DIGITS] = {};
  const float unit = int4_digits(digits, x, columns);
  for (int d = 0; d < DIGITS; d++)
    for (int k = 0; k < CODE_VECTORS; k++) store(to + (d * CODE_VECTORS + k) * W, (vf)by_group<RUNS>(digits[k][d]));
  vi eights[1][CODE_VECTORS], sum[1][1] = {};
  for (vi &codes : eights[0]) codes = splat_int(0x08080808);
  int4_products<1, 1>(sum, eights, to);
  store(to + INT4_START, (vf)-sum[0][0]);
  store(to + INT4_UNIT, splat(unit));
  return unit;
}

template <int RUNS>
void prepare_vnni_int4(const Weights &w, float *to, const float *const *x, int rows) {
  const int64_t units_row = units_of_row(w);
  float *units = to + ceil_div(w.columns, BLOCK) * rows * INT4_BLOCK;
  for (int64_t block = 0; block * BLOCK < w.columns; block++)
    for (int row = 0; row < rows; row++, to += INT4_BLOCK) {
      const float unit = prepare_vnni_int4_block<RUNS>(to, x[row] + block * BLOCK, w.columns - block * BLOCK);
      for (int64_t g = 0; RUNS > 1 && g < RUNS; g++) units[row * units_row + block * RUNS + g] = unit;
    }
}

template <int R>
using Words = vu[CODE_VECTORS / 2][R];

template <int R>
XL_INLINE void load_block(Words<R> &words, const uint8_t *at, int64_t row_bytes) {
#pragma GCC unroll 2
  for (int v = 0; v < CODE_VECTORS / 2; v++) load_rows<R>(words[v], at + 4 * W * v, row_bytes);
}

template <int RUNS, int R>
XL_INLINE void codes_of(vi (&codes)[CODE_VECTORS], const Words<R> &words, int r) {
#pragma GCC unroll 2
  for (int v = 0; v < CODE_VECTORS / 2; v++) {
    const vu word = (vu)by_group<RUNS>((vi)words[v][r]);
    codes[2 * v] = (vi)(word & 0x0f0f0f0fu);
    codes[2 * v + 1] = (vi)(word >> 4 & 0x0f0f0f0fu);
  }
}

// RUNS scales, 2 or 4, again and again.
template <int RUNS>
XL_INLINE vf repeat(const float *scales) {
#if defined(__AVX512F__)
  const __m128 few = RUNS == 4 ? _mm_loadu_ps(scales) : (__m128)_mm_loaddup_pd((const double *)scales);
  return (vf)_mm512_maskz_broadcast_f32x4((__mmask16)-1, few);
#else
  if constexpr (RUNS == 4) return (vf)_mm256_broadcast_ps((const __m128 *)scales);
  return (vf)_mm256_broadcast_sd((const double *)scales);
#endif
}

// A block of R rows of codes with M prepared rows of x: total[r][m] += their product times factor(r, m, prepared x).
template <int RUNS, int R, int M, class Factor>
XL_VNNI_INLINE void add_int4_block(Sums<R, M> &total, const Words<R> &words, const float *x, const Factor &factor) {
  vi codes[R][CODE_VECTORS], sum[R][M];
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    codes_of<RUNS, R>(codes[r], words, r);
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) sum[r][m] = (vi)load(x + m * INT4_BLOCK + INT4_START);
  }
  int4_products<R, M>(sum, codes, x);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) total[r][m] += to_float(sum[r][m]) * factor(r, m, x + m * INT4_BLOCK);
}

// Groups of whole blocks.
template <int R, int M>
XL_VNNI_INLINE void dot_vnni_int4(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  const int64_t row_bytes = w.row_bytes, blocks = ceil_div(w.columns, BLOCK), blocks_of_group = w.group / BLOCK;
  const uint8_t *scales = row + w.scales;
  Words<R> words, coming;
  load_block<R>(coming, row, row_bytes);
  for (int64_t block = 0; block < blocks; scales += 2) {
    Sums<R, M> sum = {};
    for (const int64_t end = min_of(blocks, block + blocks_of_group); block < end; block++) {
      prefetch_tile<R>(w, row, block * LINE);
      __builtin_memcpy(words, coming, sizeof words);
      load_block<R>(coming, row + min_of(block + 1, blocks - 1) * LINE, row_bytes);
      add_int4_block<1, R, M>(sum, words, x, [](int, int, const float *own) { return load(own + INT4_UNIT); });
      x += M * INT4_BLOCK;
    }
    add_scaled<R, M>(total, sum, scales, row_bytes);
  }
}

// Groups of 64 or 32: RUNS of them in a block.
template <int RUNS, int R, int M>
XL_VNNI_INLINE void dot_vnni_int4_groups(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  const int64_t row_bytes = w.row_bytes, blocks = ceil_div(w.columns, BLOCK), units_row = units_of_row(w);
  const float *units = x + blocks * M * INT4_BLOCK;
  Words<R> words, coming;
  load_block<R>(coming, row, row_bytes);
  for (int64_t block = 0, g = 0; block < blocks; g += SCALES) {
    const ScaledUnits<R, M> scaled(row + w.scales + 2 * g, row_bytes, w.scale_count - g, units + g, units_row);
    const int64_t end = min_of(blocks, block + SCALES / RUNS);
    for (int64_t first = 0; block < end; block++, first += RUNS, x += M * INT4_BLOCK) {
      prefetch_tile<R>(w, row, block * LINE);
      __builtin_memcpy(words, coming, sizeof words);
      load_block<R>(coming, row + min_of(block + 1, blocks - 1) * LINE, row_bytes);
      add_int4_block<RUNS, R, M>(total, words, x, [&](int r, int m, const float *) {
        return repeat<RUNS>(scaled.at[r][m] + first);
      });
    }
  }
}

#endif

}  // namespace
}  // namespace XL_NS
#endif
