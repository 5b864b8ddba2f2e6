// Products of rows of stored weights with a few rows of x, in registers: each weight is made a float once and multiplied
// with all rows of x. This is what decoding is made of; it wants as few instructions per weight as possible, since it
// has to keep up with memory. Threads and larger products are in linear_packed.cpp.
//
// Order of summation, whatever the number of rows: lane l of W sums the columns that fall to it from left to right;
// without scales in two sums, of even and of odd vectors, since one would wait for itself. With scales, each run of columns (a group; of int8 at most 256 columns of it, of int4 at most 128) has sums of its own,
// which are multiplied by the scale and added to the lane. At the end the lanes are added as a tree that halves.
//
// int4: a nibble at bit 4j of a word, masked and taken as an integer, is code * 16^j; x is prepared with its columns
// 16 j + l of a block divided by 16^j, which is exact. So a code costs a mask and a conversion. That codes stand 8 above
// their value is taken off at the begin of a run, whose sums start at -8 times the sum of x. Groups of 32, 64 and of
// multiples of 128 have a faster way on x86 (int4_dot.h).
#ifndef XL_CPU_PACKED_DOT_H
#define XL_CPU_PACKED_DOT_H
#include "int4_dot.h"

namespace XL_NS {
namespace {

constexpr int MOST_X = 4;  // rows of x at once
constexpr int64_t INT8_RUN = 256;

// How a tile reads its weights: the format, and the runs of int4.
enum Kind { DOT_BF16, DOT_F16, DOT_INT8, DOT_INT4, DOT_INT4_64, DOT_INT4_32, DOT_INT4_16, DOT_INT4_ANY };

inline Kind kind_of(const Weights &w) {
  if (w.format != XL_INT4) return Kind(w.format);
  if (w.group % BLOCK == 0) return DOT_INT4;
  return w.group == 64 ? DOT_INT4_64 : w.group == 32 ? DOT_INT4_32 : w.group == 16 ? DOT_INT4_16 : DOT_INT4_ANY;
}

// Whether it works on integers.
constexpr bool is_int4_dot(Kind kind) {
  return HAS_INT4_DOT && (kind == DOT_INT4 || kind == DOT_INT4_64 || kind == DOT_INT4_32);
}

// ---- x as the tiles read it: front to back, the vectors of its rows side by side ----

// Planes from `j` on of block `block` up to the next border of a group, or to the last plane that has weights.
inline int64_t run_end(const Weights &w, int64_t block, int64_t j) {
  const int64_t column = block * BLOCK + j * 16, end = (column / w.group + 1) * w.group;
  return min_of(min_of(PLANES, ceil_div(end - block * BLOCK, 16)), ceil_div(w.columns - block * BLOCK, 16));
}

// Floats of one prepared row of x, at most.
inline int64_t prepared_floats(const Weights &w) {
  const int64_t blocks = ceil_div(w.columns, BLOCK);
  return w.format == XL_INT4 ? 2 * blocks * BLOCK : blocks * BLOCK;
}

inline void prepare_int4(const Weights &w, float *to, const float *const *x, int rows) {
  // The last plane is shifted down, not masked.
  constexpr float factors[PLANES] = {0x1p-0f, 0x1p-4f, 0x1p-8f, 0x1p-12f, 0x1p-16f, 0x1p-20f, 0x1p-24f, 0x1p-0f};
  for (int64_t block = 0; block * BLOCK < w.columns; block++) {
    const int64_t planes = min_of(PLANES, ceil_div(w.columns - block * BLOCK, 16));
    for (int64_t l = 0; l < 16; l += W)
      for (int64_t j = 0; j < planes;) {
        const int64_t end = run_end(w, block, j);
        const auto part = [&](int row, int64_t plane) {
          const int64_t c = block * BLOCK + 16 * plane + l;
          return load_lanes(x[row] + c, max_of(w.columns - c, 0));
        };
        for (int row = 0; row < rows; row++, to += W) {
          vf sum = {};
          for (int64_t plane = j; plane < end; plane++) sum += part(row, plane);
          store(to, -8.0f * sum);
        }
        for (; j < end; j++)
          for (int row = 0; row < rows; row++, to += W) store(to, part(row, j) * factors[j]);
      }
  }
}

// `rows` rows of x, at most MOST_X.
inline void prepare(const Weights &w, float *to, const float *const *x, int rows) {
#if defined(__AVX2__)
  const Kind kind = kind_of(w);
  if (is_int4_dot(kind)) {
    const auto block = kind == DOT_INT4 ? prepare_block<1> : kind == DOT_INT4_64 ? prepare_block<2> : prepare_block<4>;
    for (int64_t c = 0; c < w.columns; c += BLOCK)
      for (int row = 0; row < rows; row++, to += INT4_BLOCK_VECTORS * W) block(to, x[row] + c, w.columns - c);
    return;
  }
#endif
  if (w.format == XL_INT4) return prepare_int4(w, to, x, rows);
  for (int64_t c = 0; c < w.columns; c += W)
    for (int row = 0; row < rows; row++, to += W) store(to, load_lanes(x[row] + c, w.columns - c));
}

// ---- tiles: R rows of weights by M rows of x ----

template <int R, int M>
using Sums = vf[R][M];

template <int R, int M>
XL_INLINE void multiply(Sums<R, M> &sum, int r, vf weight, const vf (&right)[M]) {
#pragma GCC unroll 4
  for (int m = 0; m < M; m++) sum[r][m] = weight * right[m] + sum[r][m];
}

template <int M>
XL_INLINE void next(vf (&right)[M], const float *&x) {
#pragma GCC unroll 4
  for (int m = 0; m < M; m++) right[m] = load(x + m * W);
  x += M * W;
}

// total += scale * sum, the scale of row r at scales + r * row_bytes.
template <int R, int M>
XL_INLINE void add_scaled(Sums<R, M> &total, const Sums<R, M> &sum, const uint8_t *scales, int64_t row_bytes) {
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    const vf scale = splat_scale(scales + r * row_bytes);
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) total[r][m] = scale * sum[r][m] + total[r][m];
  }
}

// Asks for what comes. One row after the other is one stream, of which the hardware alone does not keep enough on the
// way. Of several rows no hardware guesses the next: those of the tile `ahead` tiles from here that lie where these are
// read now; short rows need more time than one tile takes.
constexpr int64_t AHEAD_BYTES = 1024;
template <int R>
XL_INLINE void prefetch_rows(const uint8_t *at, int64_t row_bytes, int64_t ahead) {
  if constexpr (R == 1) return __builtin_prefetch(at + AHEAD_BYTES, 0, 2);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) __builtin_prefetch(at + (ahead * R + r) * row_bytes, 0, 2);
}

template <int32_t F, int R, int M>
XL_INLINE void dot_small_floats(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  const int64_t pairs = w.columns / (2 * W) * 2 * W;
  const auto at = [&](int r, int64_t c) { return row + r * w.row_bytes + 2 * c; };
  Sums<R, M> odd = {};
  vf right[M];
  for (int64_t c = 0; c < pairs; c += 2 * W) {
    if (c % 32 == 0) prefetch_rows<R>(at(0, c), w.row_bytes, 1);
    next(right, x);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) multiply<R, M>(total, r, small_floats_at<F>(at(r, c)), right);
    next(right, x);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) multiply<R, M>(odd, r, small_floats_at<F>(at(r, c + W)), right);
  }
  for (int64_t c = pairs; c < w.columns; c += W) {
    next(right, x);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
      multiply<R, M>(total, r, small_floats_part<F>(at(r, c), min_of(W, w.columns - c)), right);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) total[r][m] += odd[r][m];
}

template <int R, int M>
XL_INLINE void dot_int8(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  for (int64_t c = 0, g = 0; c < w.columns; g++) {
    const int64_t group_end = min_of(w.columns, c + w.group);
    while (c < group_end) {
      Sums<R, M> sum = {};
      // Rows end at a multiple of 64 bytes and x at zeros, so that the last vector may reach beyond the last column.
      for (const int64_t end = min_of(group_end, c + INT8_RUN); c < end; c += W) {
        if ((c & 63) == 0) prefetch_rows<R>(row + c, w.row_bytes, 2);
        vf right[M];
        next(right, x);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
          multiply<R, M>(sum, r, bytes_at(row + r * w.row_bytes + c), right);
      }
      add_scaled<R, M>(total, sum, row + w.scales + 2 * g, w.row_bytes);
    }
  }
}

// A code of plane j, times 16^j (but in the last plane, where that would be negative).
XL_INLINE vf nibble(vu word, int64_t j) {
  return to_float((vi)(j == PLANES - 1 ? word >> 28 : word & (15u << (uint32_t)(4 * j))));
}

// The planes begin .. end - 1 of words, which are a run.
template <int R, int M>
XL_INLINE void dot_planes(Sums<R, M> &total, const vu (&word)[R], int64_t begin, int64_t end, const uint8_t *scales,
                          int64_t row_bytes, const float *&x) {
  Sums<R, M> sum;
  vf right[M];
  next(right, x);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) sum[r][m] = right[m];
#pragma GCC unroll 8
  for (int64_t j = begin; j < end; j++) {
    next(right, x);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) multiply<R, M>(sum, r, nibble(word[r], j), right);
  }
  add_scaled<R, M>(total, sum, scales, row_bytes);
}

template <int R>
XL_INLINE void load_rows(vu (&word)[R], const uint8_t *row, int64_t row_bytes) {
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) word[r] = words_at(row + r * row_bytes);
}

// A block of any runs: the last one of a row, and those of groups that no block is cut into evenly.
template <int R, int M>
__attribute__((noinline)) void dot_uneven_block(Sums<R, M> &total, const Weights &w, const uint8_t *row, int64_t block,
                                                const float *&x) {
  const int64_t planes = min_of(PLANES, ceil_div(w.columns - block * BLOCK, 16));
  for (int64_t l = 0; l < 16; l += W) {
    vu word[R];
    load_rows(word, row + block * LINE + 4 * l, w.row_bytes);
    for (int64_t j = 0; j < planes;) {
      const int64_t end = run_end(w, block, j), g = (block * BLOCK + 16 * j) / w.group;
      dot_planes<R, M>(total, word, j, end, row + w.scales + 2 * g, w.row_bytes, x);
      j = end;
    }
  }
}

#if defined(__AVX2__)
// The same by integers, RUNS 1, 2 or 4.
template <int RUNS, int R, int M>
XL_INLINE void dot_int4_integers(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  const uint8_t *scales = row + w.scales;
  const int64_t row_bytes = w.row_bytes, blocks = ceil_div(w.columns, BLOCK), blocks_of_scale = w.group / BLOCK;
  const int64_t whole = RUNS == 1 ? blocks : w.scale_count / RUNS;  // blocks that have all their scales
  int64_t left = blocks_of_scale;
  for (int64_t block = 0; block < whole; block++, row += LINE, x += M * INT4_BLOCK_VECTORS * W) {
    prefetch_rows<R>(row, row_bytes, 2);
    dot_int4_block<RUNS, R, M>(total, row, row_bytes, scales, row_bytes, x);
    if (RUNS > 1) {
      scales += 2 * RUNS;
    } else if (--left == 0) {
      scales += 2;
      left = blocks_of_scale;
    }
  }
  if (whole == blocks) return;
  // The others are zero, as x is there; two bytes before them belong to splat_scale().
  uint8_t last[R][10] = {};
  for (int r = 0; r < R; r++)
    __builtin_memcpy(last[r] + 2, scales + r * row_bytes, size_t(2 * (w.scale_count - whole * RUNS)));
  dot_int4_block<RUNS, R, M>(total, row, row_bytes, last[0] + 2, sizeof last[0], x);
}
#endif

// RUNS: runs of each whole block, 1, 2, 4 or 8; 0 where they are not of one length.
template <int RUNS, int R, int M>
XL_INLINE void dot_int4(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  const int64_t blocks = ceil_div(w.columns, BLOCK), whole = RUNS > 0 ? w.columns / BLOCK : 0;
  const int64_t row_bytes = w.row_bytes;
  if constexpr (RUNS > 0) {
    constexpr int64_t LENGTH = PLANES / RUNS;
    const uint8_t *words = row, *scales = row + w.scales;
    const int64_t blocks_of_scale = w.group / BLOCK;  // with RUNS = 1
    int64_t left = blocks_of_scale;
    Sums<R, M> sums;
    __builtin_memcpy(sums, total, sizeof sums);
    for (int64_t block = 0; block < whole; block++, words += LINE) {
      prefetch_rows<R>(words, row_bytes, 2);
#pragma GCC unroll 4
      for (int64_t l = 0; l < 16; l += W) {
        vu word[R];
        load_rows(word, words + 4 * l, row_bytes);
#pragma GCC unroll 8
        for (int64_t run = 0; run < RUNS; run++)
          dot_planes<R, M>(sums, word, run * LENGTH, (run + 1) * LENGTH, scales + 2 * run, row_bytes, x);
      }
      if (RUNS > 1) {
        scales += 2 * RUNS;
      } else if (--left == 0) {
        scales += 2;
        left = blocks_of_scale;
      }
    }
    __builtin_memcpy(total, sums, sizeof sums);
  }
  for (int64_t block = whole; block < blocks; block++) dot_uneven_block<R, M>(total, w, row, block, x);
}

// y[m * y_row + r] = the product of row r of weights, from `row` on, with row m of x, plus bias[r].
template <Kind K, int R, int M>
void dot_tile(const Weights &w, const uint8_t *row, const float *x, const float *bias, float *y, int64_t y_row) {
  Sums<R, M> total = {};
  if constexpr (K == DOT_BF16) dot_small_floats<XL_BF16, R, M>(total, w, row, x);
  if constexpr (K == DOT_F16) dot_small_floats<XL_F16, R, M>(total, w, row, x);
  if constexpr (K == DOT_INT8) dot_int8<R, M>(total, w, row, x);
#if defined(__AVX2__)
  if constexpr (K == DOT_INT4) dot_int4_integers<1, R, M>(total, w, row, x);
  if constexpr (K == DOT_INT4_64) dot_int4_integers<2, R, M>(total, w, row, x);
  if constexpr (K == DOT_INT4_32) dot_int4_integers<4, R, M>(total, w, row, x);
#else
  if constexpr (K == DOT_INT4) dot_int4<1, R, M>(total, w, row, x);
  if constexpr (K == DOT_INT4_64) dot_int4<2, R, M>(total, w, row, x);
  if constexpr (K == DOT_INT4_32) dot_int4<4, R, M>(total, w, row, x);
#endif
  if constexpr (K == DOT_INT4_16) dot_int4<8, R, M>(total, w, row, x);
  if constexpr (K == DOT_INT4_ANY) dot_int4<0, R, M>(total, w, row, x);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) y[m * y_row + r] = hsum(total[r][m]) + (bias ? bias[r] : 0.0f);
}

}  // namespace
}  // namespace XL_NS
#endif
