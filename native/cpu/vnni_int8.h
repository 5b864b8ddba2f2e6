// Products of int8 rows with a few rows of x by VNNI (vnni.h). With vectors of 16 a line in groups of 64 takes 8 instructions
// of arithmetic, one of groups of whole blocks 6.5.
//
// X is the bytes of its two's complement, h signed, m and l not. m and l are multiplied with the codes; h with codes + 128,
// whose sum therefore starts at -128 times that of h.
#ifndef XL_CPU_VNNI_INT8_H
#define XL_CPU_VNNI_INT8_H
#include "vnni.h"

namespace XL_NS {
namespace {

#if defined(__AVX2__)

// ---- int8, groups of whole blocks or one for the row ----

// A prepared block of x is its digits from the highest, where the sum of the highest starts, the unit of X in all lanes.
constexpr int64_t INT8_START = DIGITS * BYTE_VECTORS * W, INT8_UNIT = INT8_START + W, INT8_BLOCK = INT8_UNIT + W;

// The lowest byte of each number.
XL_INLINE void store_bytes(uint8_t *to, vi numbers) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm512_maskz_cvtepi32_epi8((__mmask16)-1, (__m512i)numbers));
#else
  const vi bytes = shuffle_bytes(numbers, _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  __builtin_memcpy(to, &bytes[0], 4);
  __builtin_memcpy(to + 4, &bytes[W / 2], 4);
#endif
}

// The digits of a block, from the highest: bytes[d][c] of column c.
inline void int8_digits(uint8_t (&bytes)[DIGITS][BLOCK], const vi (&X)[PLANES][16 / W]) {
  for (int j = 0; j < PLANES; j++)
    for (int v = 0; v < 16 / W; v++)
#pragma GCC unroll 3
      for (int d = 0; d < DIGITS; d++) store_bytes(bytes[d] + 16 * j + v * W, X[j][v] >> 8 * (DIGITS - 1 - d));
}

// Where the sum of the highest digits starts: so much less as the 128 that is added to the codes makes it more.
XL_VNNI_INLINE vi start_below(vi start, vi highest) {
  return start - add_products(vi{}, splat_int((int32_t)0x80808080), highest);
}

XL_VNNI inline void prepare_vnni_int8(float *to, const float *x, int64_t columns) {
  vi X[PLANES][16 / W], start = {};
  uint8_t digits[DIGITS][BLOCK];
  const float unit = whole_numbers(X, x, columns);
  int8_digits(digits, X);
  __builtin_memcpy(to, digits, sizeof digits);
  for (int v = 0; v < BYTE_VECTORS; v++) start = start_below(start, (vi)load(to + v * W));
  store(to + INT8_START, (vf)start);
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
      prefetch_tile<R>(w, row, c);
      prefetch_tile<R>(w, row, c + LINE);
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

XL_VNNI inline void prepare_vnni_int8_groups(const Weights &w, float *to, const float *const *x, int rows) {
  const int64_t step = rows * INT8_VECTOR, units_row = units_of_row(w), groups = BLOCK / w.group;
  float *units = to + int8_vectors(w) * step;
  for (int row = 0; row < rows; row++, units += units_row)
    for (int64_t block = 0; block * BLOCK < w.columns; block++) {
      vi X[PLANES][16 / W];
      uint8_t digits[DIGITS][BLOCK];
      const float unit = whole_numbers(X, x[row] + block * BLOCK, w.columns - block * BLOCK, LARGEST_OF_GROUPS);
      for (int64_t g = 0; g < groups; g++) units[block * groups + g] = unit;
      int8_digits(digits, X);
      for (int v = 0; v < BYTE_VECTORS; v++) {
        float *vector = to + (block * BYTE_VECTORS + v) * step + row * INT8_VECTOR;
        for (int d = 0; d < DIGITS; d++) __builtin_memcpy(vector + d * W, digits[d] + 4 * W * v, 4 * W);
        store(vector + DIGITS * W, (vf)start_below(vi{}, (vi)load(vector)));
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
XL_VNNI_INLINE void add_int8_vector(Sums<R, M> &total, const vu (&codes)[R], const float *x, const Scale &scale) {
  vi raised[R], sum[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) raised[r] = (vi)(codes[r] ^ 0x80808080u);
#pragma GCC unroll 4
  for (int m = 0; m < M; m++, x += INT8_VECTOR) {
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r] = add_products((vi)load(x + DIGITS * W), raised[r], (vi)load(x)) << 8;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r] = add_products(sum[r], (vi)load(x + W), (vi)codes[r]) << 8;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r] = add_products(sum[r], (vi)load(x + 2 * W), (vi)codes[r]);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) total[r][m] += to_float(sum[r]) * scale(r, m);
  }
}

template <int GROUP, int R, int M>
XL_VNNI_INLINE void dot_vnni_int8_groups(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  constexpr int64_t VECTOR = 4 * W;
  const float *units = x + int8_vectors(w) * M * INT8_VECTOR;
  const int64_t row_bytes = w.row_bytes, units_row = units_of_row(w), last = (w.columns - 1) / VECTOR * VECTOR;
  vu codes[R], coming[R];
  load_rows<R>(coming, row, row_bytes);
  for (int64_t g = 0; g < w.scale_count; g += SCALES) {
    const ScaledUnits<R, M> scaled(row + w.scales + 2 * g, row_bytes, w.scale_count - g, units + g, units_row);
    const int64_t begin = g * GROUP, end = min_of(w.columns, begin + SCALES * GROUP);
    int64_t first = 0;
    for (int64_t c = begin; c < end; c += LINE, first += LINE / GROUP) {
      prefetch_tile<R>(w, row, c);
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

#endif

}  // namespace
}  // namespace XL_NS
#endif
