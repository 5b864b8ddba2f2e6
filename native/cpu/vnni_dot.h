// Products of int8 and int4 rows with a few rows of x by VNNI, which adds products of unsigned with signed bytes to sums
// of 32 bits, four at a time: three such instructions for 4 W weights, one for each digit of x. With vectors of 16 a line
// of int4 in groups of 32 takes 18 instructions of arithmetic, one of int8 6.5 (groups of blocks) or 11 (of 64). Decoding
// reads faster the fewer instructions wait for each cache line: so many more lines are on their way.
//
// x is taken block by block (128 columns) as whole numbers X of 24 bits: whole_numbers() of int4_dot.h. All sums of
// codes and digits are exact; rounded are X, and each block's sums once they become floats.
//
// int8: X is the bytes of its two's complement, h signed, m and l not. m and l are multiplied with the codes; h with
// codes + 128, whose sum therefore starts at -128 times that of h. A lane sums eight products of each digit, so that
// 256 m + l fits 32 bits. 65536 h is added as a float.
//
// int4: signed digits as in int4_dot.h. Bytes change places within four words so that each sum of four bytes lies in one
// group: with groups of 32, sum i of four belongs to group i; with groups of 64, sums 0 and 1 belong to group 0.
#ifndef XL_CPU_VNNI_DOT_H
#define XL_CPU_VNNI_DOT_H
#include "dot_rows.h"
#include "int4_dot.h"
#include "isa.h"

namespace XL_NS {
namespace {

#if defined(__AVX2__)
constexpr bool HAS_VNNI = true;  // in this build; whether the machine does is xl::uses_vnni()

#if defined(__AVX512F__)
#define XL_VNNI __attribute__((target("avx512vnni")))
#define XL_VNNI_INLINE inline __attribute__((always_inline, target("avx512vnni")))
#else
#define XL_VNNI __attribute__((target("avxvnni")))
#define XL_VNNI_INLINE inline __attribute__((always_inline, target("avxvnni")))
#endif

constexpr int BYTE_VECTORS = BLOCK / (4 * W);  // of a block of bytes

XL_VNNI_INLINE vi add_products(vi sum, vi unsigned_bytes, vi signed_bytes) {
#if defined(__AVX512F__)
  return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)unsigned_bytes, (__m512i)signed_bytes);
#else
  return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)unsigned_bytes, (__m256i)signed_bytes);
#endif
}

// The bytes of each 16 in another order; -1 is a zero.
XL_INLINE vi shuffle_bytes(vi bytes, __m128i order) {
#if defined(__AVX512F__)
  return (vi)_mm512_shuffle_epi8((__m512i)bytes, _mm512_maskz_broadcast_i32x4((__mmask16)-1, order));
#else
  return (vi)_mm256_shuffle_epi8((__m256i)bytes, _mm256_broadcastsi128_si256(order));
#endif
}

template <int R>
XL_INLINE void load_rows(vi (&words)[R], const uint8_t *row, int64_t row_bytes) {
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) words[r] = (vi)words_at(row + r * row_bytes);
}

// ---- scales ----

// Scales are made floats SCALES at a time, each times the unit of X there: a block then adds its sums with one instruction.
// After the blocks of prepared x stand its units: one for each group, up to a multiple of SCALES, row of x by row.
constexpr int64_t SCALES = 16;

inline int64_t units_of_row(const Weights &w) { return ceil_div(w.scale_count, SCALES) * SCALES; }

// W scales of which `left` are there, as floats; zeros beyond them.
XL_INLINE vf scales_at(const uint8_t *scales, int64_t left) {
  if (left >= W) return bfloats_at(scales);
#if defined(__AVX512F__)
  const auto there = __mmask16((1u << max_of(left, 0)) - 1);
  return (vf)((vu)_mm512_maskz_cvtepu16_epi32((__mmask16)-1, _mm256_maskz_loadu_epi16(there, scales)) << 16);
#else
  return small_floats_part<XL_BF16>(scales, max_of(left, 0));
#endif
}

// Those of R rows of weights by M rows of x. Of scales beyond the last group, which are `left` away, there is a zero.
template <int R, int M>
struct ScaledUnits {
  alignas(64) float at[R][M][SCALES];

  XL_INLINE ScaledUnits(const uint8_t *scales, int64_t row_bytes, int64_t left, const float *units, int64_t units_row) {
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int64_t i = 0; i < SCALES; i += W) {
        const vf own = scales_at(scales + r * row_bytes + 2 * i, left - i);
#pragma GCC unroll 4
        for (int m = 0; m < M; m++) store(at[r][m] + i, own * load(units + m * units_row + i));
      }
  }
};

// COUNT of them, 1, 2 or 4, again and again.
template <int COUNT>
XL_INLINE vf repeat(const float *scales) {
  if constexpr (COUNT == 1) return splat(*scales);
#if defined(__AVX512F__)
  const __m128 few = COUNT == 4 ? _mm_loadu_ps(scales) : (__m128)_mm_loaddup_pd((const double *)scales);
  return (vf)_mm512_maskz_broadcast_f32x4((__mmask16)-1, few);
#else
  if constexpr (COUNT == 4) return (vf)_mm256_broadcast_ps((const __m128 *)scales);
  return (vf)_mm256_broadcast_sd((const double *)scales);
#endif
}

// ---- int8, groups of whole blocks or one for the row ----

// A prepared block of x is its digits from the highest, where the sum of the highest starts, the unit of X in all lanes.
constexpr int64_t INT8_START = DIGITS * BYTE_VECTORS * W, INT8_UNIT = INT8_START + W, INT8_BLOCK = INT8_UNIT + W;

// Digit d, from the highest, of COUNT numbers.
template <int COUNT>
XL_INLINE void store_digit(float *to, const int32_t *numbers, int d) {
  int8_t digits[COUNT];
  for (int c = 0; c < COUNT; c++) digits[c] = int8_t(numbers[c] >> 8 * (DIGITS - 1 - d));
  __builtin_memcpy(to, digits, sizeof digits);
}

inline void prepare_vnni_int8(float *to, const float *x, int64_t columns) {
  vi X[PLANES][16 / W];
  const float unit = whole_numbers(X, x, columns);
  int32_t numbers[BLOCK], start[W] = {};
  __builtin_memcpy(numbers, X, sizeof X);
  for (int d = 0; d < DIGITS; d++) store_digit<BLOCK>(to + d * BYTE_VECTORS * W, numbers, d);
  for (int c = 0; c < BLOCK; c++) start[c / 4 % W] -= 128 * int8_t(numbers[c] >> 16);
  __builtin_memcpy(to + INT8_START, start, sizeof start);
  store(to + INT8_UNIT, splat(unit));
}

// The products of the first VECTORS vectors of a block with X.
template <int VECTORS>
XL_VNNI_INLINE vf int8_products(const uint8_t *codes, const float *x) {
  const auto digits = [&](int d, int v) { return (vi)load(x + (d * BYTE_VECTORS + v) * W); };
  vi high = (vi)load(x + INT8_START), low = {};
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const vi code = (vi)words_at(codes + v * 4 * W);
    high = add_products(high, code ^ splat_int((int32_t)0x80808080), digits(0, v));
    low = add_products(low, digits(1, v), code);
  }
  low <<= 8;
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) low = add_products(low, digits(2, v), (vi)words_at(codes + v * 4 * W));
  return to_float(high) * 65536.0f + to_float(low);
}

template <int VECTORS, int R, int M>
XL_VNNI_INLINE void add_int8_block(Sums<R, M> &sum, const uint8_t *codes, int64_t row_bytes, const float *x) {
#pragma GCC unroll 4
  for (int m = 0; m < M; m++, x += INT8_BLOCK)
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r][m] += int8_products<VECTORS>(codes + r * row_bytes, x) * load(x + INT8_UNIT);
}

template <int R, int M>
XL_VNNI_INLINE void dot_vnni_int8(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  for (int64_t c = 0, g = 0; c < w.columns; g++) {
    const int64_t end = min_of(w.columns, c + w.group);
    Sums<R, M> sum = {};
    for (; c + BLOCK / 2 < end; c += BLOCK, x += M * INT8_BLOCK) {
      prefetch_tile<R>(row, c, w.row_bytes);
      prefetch_tile<R>(row, c + LINE, w.row_bytes);
      add_int8_block<BYTE_VECTORS, R, M>(sum, row + c, w.row_bytes, x);
    }
    // The row may end after the first half of a block.
    if (c < end) {
      add_int8_block<BYTE_VECTORS / 2, R, M>(sum, row + c, w.row_bytes, x);
      c = end;
    }
    add_scaled<R, M>(total, sum, row + w.scales + 2 * g, w.row_bytes);
  }
}

// ---- int8, groups of 64 or 32 ----

// X of 23 bits, so that four products of it with codes fit 32. A prepared vector of 4 W columns: its digits from the
// highest, and where the sum starts.
constexpr float LARGEST_OF_GROUPS = 4194300.0f;
constexpr int64_t INT8_VECTOR = (DIGITS + 1) * W;
inline int64_t int8_vectors(const Weights &w) { return ceil_div(w.columns, BLOCK) * BYTE_VECTORS; }

inline void prepare_vnni_int8_groups(const Weights &w, float *to, const float *const *x, int rows) {
  const int64_t step = rows * INT8_VECTOR, units_row = units_of_row(w), groups = BLOCK / w.group;
  float *units = to + int8_vectors(w) * step;
  for (int row = 0; row < rows; row++, units += units_row)
    for (int64_t block = 0; block * BLOCK < w.columns; block++) {
      vi X[PLANES][16 / W];
      const float unit = whole_numbers(X, x[row] + block * BLOCK, w.columns - block * BLOCK, LARGEST_OF_GROUPS);
      for (int64_t g = 0; g < groups; g++) units[block * groups + g] = unit;
      int32_t numbers[BLOCK];
      __builtin_memcpy(numbers, X, sizeof X);
      for (int v = 0; v < BYTE_VECTORS; v++) {
        float *vector = to + (block * BYTE_VECTORS + v) * step + row * INT8_VECTOR;
        const int32_t *own = numbers + 4 * W * v;
        for (int d = 0; d < DIGITS; d++) store_digit<4 * W>(vector + d * W, own, d);
        int32_t start[W] = {};
        for (int c = 0; c < 4 * W; c++) start[c / 4] -= 128 * int8_t(own[c] >> 16);
        __builtin_memcpy(vector + DIGITS * W, start, sizeof start);
      }
    }
}

// The scales of a vector of codes.
template <int GROUP>
XL_INLINE vf scales_of_codes(const float *scales) {
  if constexpr (GROUP >= 4 * W) return splat(*scales);
#if defined(__AVX512F__)
  return (vf)_mm512_mask_broadcastss_ps((__m512)splat(scales[0]), 0xff00, _mm_load_ss(scales + 1));
#endif
}

// A vector of R rows of codes with M rows of x.
template <int R, int M, class Scale>
XL_VNNI_INLINE void add_int8_vector(Sums<R, M> &total, const vi (&codes)[R], const float *x, const Scale &scale) {
  vi raised[R], sum[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) raised[r] = codes[r] ^ splat_int((int32_t)0x80808080);
#pragma GCC unroll 4
  for (int m = 0; m < M; m++, x += INT8_VECTOR) {
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r] = add_products((vi)load(x + DIGITS * W), raised[r], (vi)load(x)) << 8;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r] = add_products(sum[r], (vi)load(x + W), codes[r]) << 8;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r] = add_products(sum[r], (vi)load(x + 2 * W), codes[r]);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) total[r][m] += to_float(sum[r]) * scale(r, m);
  }
}

template <int GROUP, int R, int M>
XL_VNNI_INLINE void dot_vnni_int8_groups(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  constexpr int64_t VECTOR = 4 * W;
  const float *units = x + int8_vectors(w) * M * INT8_VECTOR;
  const int64_t row_bytes = w.row_bytes, units_row = units_of_row(w), last = (w.columns - 1) / VECTOR * VECTOR;
  vi codes[R], coming[R];
  load_rows<R>(coming, row, row_bytes);
  for (int64_t g = 0; g < w.scale_count; g += SCALES) {
    const ScaledUnits<R, M> scaled(row + w.scales + 2 * g, row_bytes, w.scale_count - g, units + g, units_row);
    const int64_t begin = g * GROUP, end = min_of(w.columns, begin + SCALES * GROUP);
    int64_t first = 0;
    for (int64_t c = begin; c < end; c += LINE, first += LINE / GROUP) {
      prefetch_tile<R>(row, c, row_bytes);
#pragma GCC unroll 2
      for (int64_t v = 0; v < LINE; v += VECTOR, x += M * INT8_VECTOR) {
        __builtin_memcpy(codes, coming, sizeof codes);
        load_rows<R>(coming, row + min_of(c + v + VECTOR, last), row_bytes);
        add_int8_vector<R, M>(total, codes, x, [&](int r, int m) {
          return scales_of_codes<GROUP>(scaled.at[r][m] + first + v / GROUP);
        });
      }
    }
  }
}

// ---- int4 ----

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

// start + the sum of products of codes with X, whose digits are at x, for R rows of codes and M of x. What waits for each
// other stands apart, so that the processor need not look far for something to do.
template <int R, int M>
XL_VNNI_INLINE void int4_products(vi (&sum)[R][M], const vi (&codes)[R][CODE_VECTORS], const float *x) {
  vi digits[DIGITS][R][M] = {};
#pragma GCC unroll 4
  for (int m = 0; m < M; m++)
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) digits[DIGITS - 1][r][m] = sum[r][m];
#pragma GCC unroll 4
  for (int k = 0; k < CODE_VECTORS; k++)
#pragma GCC unroll 3
    for (int d = 0; d < DIGITS; d++)
#pragma GCC unroll 4
      for (int m = 0; m < M; m++) {
        const vi own = (vi)load(x + m * INT4_BLOCK + (d * CODE_VECTORS + k) * W);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) digits[d][r][m] = add_products(digits[d][r][m], codes[r][k], own);
      }
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) sum[r][m] = (digits[0][r][m] << 16) + ((digits[1][r][m] << 8) + digits[2][r][m]);
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
using Words = vi[CODE_VECTORS / 2][R];

template <int R>
XL_INLINE void load_block(Words<R> &words, const uint8_t *at, int64_t row_bytes) {
#pragma GCC unroll 2
  for (int v = 0; v < CODE_VECTORS / 2; v++) load_rows<R>(words[v], at + 4 * W * v, row_bytes);
}

template <int RUNS, int R>
XL_INLINE void codes_of(vi (&codes)[CODE_VECTORS], const Words<R> &words, int r) {
#pragma GCC unroll 2
  for (int v = 0; v < CODE_VECTORS / 2; v++) {
    const vu word = (vu)by_group<RUNS>(words[v][r]);
    codes[2 * v] = (vi)(word & 0x0f0f0f0fu);
    codes[2 * v + 1] = (vi)(word >> 4 & 0x0f0f0f0fu);
  }
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
  ReadAhead ahead(row, R * row_bytes, blocks, R);
  Words<R> words, coming;
  load_block<R>(coming, row, row_bytes);
  for (int64_t block = 0; block < blocks; scales += 2) {
    Sums<R, M> sum = {};
    for (const int64_t end = min_of(blocks, block + blocks_of_group); block < end; block++) {
      ahead.template ask<R>();
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
  ReadAhead ahead(row, R * row_bytes, blocks, R);
  Words<R> words, coming;
  load_block<R>(coming, row, row_bytes);
  for (int64_t block = 0, g = 0; block < blocks; g += SCALES) {
    const ScaledUnits<R, M> scaled(row + w.scales + 2 * g, row_bytes, w.scale_count - g, units + g, units_row);
    const int64_t end = min_of(blocks, block + SCALES / RUNS);
    for (int64_t first = 0; block < end; block++, first += RUNS, x += M * INT4_BLOCK) {
      ahead.template ask<R>();
      __builtin_memcpy(words, coming, sizeof words);
      load_block<R>(coming, row + min_of(block + 1, blocks - 1) * LINE, row_bytes);
      add_int4_block<RUNS, R, M>(total, words, x, [&](int r, int m, const float *) {
        return repeat<RUNS>(scaled.at[r][m] + first);
      });
    }
  }
}

#else
constexpr bool HAS_VNNI = false;
#endif

}  // namespace
}  // namespace XL_NS
#endif
