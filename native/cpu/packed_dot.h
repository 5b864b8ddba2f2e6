// Products of rows of stored weights with a few rows of x, in registers: each weight is made a float once and multiplied
// with all rows of x. This is what decoding is made of; it wants as few instructions per weight as possible, since it
// has to keep up with memory. Threads and larger products are in linear_packed.cpp.
//
// Order of summation, whatever the number of rows: lane l of W sums the columns that fall to it from left to right;
// without scales in two sums, since one would wait for itself: of even and of odd columns with bf16, of even and of odd
// vectors with f16. With scales, each run of columns (a group; of int8 at most 256 columns of it, of int4 at most 128) has
// sums of its own, which are multiplied by the scale and added to the lane. At the end the lanes are added as a tree that
// halves. With VNNI int8 and most groups of int4 are summed as integers: vnni.h.
//
// bf16: a word holds two weights, each the upper half of a float, so that a shift or a mask makes W floats.
//
// int4: a nibble at bit 4j of a word, masked and taken as an integer, is code * 16^j; x is prepared with its columns
// 16 j + l of a block divided by 16^j, which is exact. So a code costs a mask and a conversion. That codes stand 8 above
// their value is taken off at the begin of a run, whose sums start at -8 times the sum of x. Groups of 32, 64 and of
// multiples of 128 have a faster way with AVX2 (int4_dot.h).
#ifndef XL_CPU_PACKED_DOT_H
#define XL_CPU_PACKED_DOT_H
#include "dot_rows.h"
#include "int4_dot.h"
#include "transpose.h"
#include "vnni_int4.h"
#include "vnni_int8.h"

namespace XL_NS {
namespace {

constexpr int MOST_X = 4;  // rows of x at once
constexpr int64_t INT8_RUN = 256;

// How a tile reads its weights: the format, and the runs of int4.
enum Kind {
  DOT_BF16, DOT_F16, DOT_INT8, DOT_INT4, DOT_INT4_64, DOT_INT4_32, DOT_INT4_16, DOT_INT4_ANY,
  VNNI_INT8, VNNI_INT8_64, VNNI_INT8_32, VNNI_INT4, VNNI_INT4_64, VNNI_INT4_32
};

inline Kind kind_of(const Weights &w) {
  const bool vnni = HAS_VNNI && xl::uses_vnni();
  if (w.format == XL_INT8) {
    if (vnni && (w.group % BLOCK == 0 || w.scale_count == 1)) return VNNI_INT8;
    if (vnni && w.group == 64) return VNNI_INT8_64;
    return vnni && w.group == 32 ? VNNI_INT8_32 : DOT_INT8;
  }
  if (w.format != XL_INT4) return Kind(w.format);
  if (w.group % BLOCK == 0) return vnni ? VNNI_INT4 : DOT_INT4;
  if (w.group == 64) return vnni ? VNNI_INT4_64 : DOT_INT4_64;
  if (w.group == 32) return vnni ? VNNI_INT4_32 : DOT_INT4_32;
  return w.group == 16 ? DOT_INT4_16 : DOT_INT4_ANY;
}

constexpr bool is_vnni(Kind kind) { return kind >= VNNI_INT8; }

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
  return w.format >= XL_INT8 ? 2 * blocks * BLOCK : blocks * BLOCK;
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

// x in pairs of vectors: even columns, then odd ones.
inline void prepare_pairs(const Weights &w, float *to, const float *const *x, int rows) {
  for (int64_t c = 0; c < w.columns; c += 2 * W, to += 2 * rows * W)
    for (int row = 0; row < rows; row++) {
      const vf low = load_lanes(x[row] + c, w.columns - c);
      const vf high = load_lanes(x[row] + c + W, max_of(w.columns - c - W, 0));
      store(to + row * W, even_lanes(low, high));
      store(to + (rows + row) * W, odd_lanes(low, high));
    }
}

#if defined(__AVX2__)
// One block of a row of x, and the vectors that it makes.
struct PrepareBlock {
  void (*prepare)(float *to, const float *x, int64_t columns);
  int64_t vectors;
};

inline PrepareBlock prepare_block_of(Kind kind) {
  if (kind == VNNI_INT8) return {prepare_vnni_int8, INT8_BLOCK / W};
  if (kind == DOT_INT4) return {prepare_block<1>, INT4_BLOCK_VECTORS};
  return {kind == DOT_INT4_64 ? prepare_block<2> : prepare_block<4>, INT4_BLOCK_VECTORS};
}
#endif

// `rows` rows of x, at most MOST_X.
inline void prepare(const Weights &w, float *to, const float *const *x, int rows) {
  if (w.format == XL_BF16) return prepare_pairs(w, to, x, rows);
#if defined(__AVX2__)
  const Kind kind = kind_of(w);
  if (kind == VNNI_INT8_64 || kind == VNNI_INT8_32) return prepare_vnni_int8_groups(w, to, x, rows);
  if (kind == VNNI_INT4) return prepare_vnni_int4<1>(w, to, x, rows);
  if (kind == VNNI_INT4_64) return prepare_vnni_int4<2>(w, to, x, rows);
  if (kind == VNNI_INT4_32) return prepare_vnni_int4<4>(w, to, x, rows);
  if (is_int4_dot(kind) || kind == VNNI_INT8) {
    const PrepareBlock block = prepare_block_of(kind);
    for (int64_t c = 0; c < w.columns; c += BLOCK)
      for (int row = 0; row < rows; row++, to += block.vectors * W) block.prepare(to, x[row] + c, w.columns - c);
    return;
  }
#endif
  if (w.format == XL_INT4) return prepare_int4(w, to, x, rows);
  for (int64_t c = 0; c < ceil_div(w.columns, 2 * W) * 2 * W; c += W)
    for (int row = 0; row < rows; row++, to += W) store(to, load_lanes(x[row] + c, max_of(w.columns - c, 0)));
}

// ---- tiles: R rows of weights by M rows of x ----

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

// 2 W weights as two vectors, in the order of prepared x.
template <int32_t F>
XL_INLINE void small_floats_pair(vf (&pair)[2], const uint8_t *p) {
  if constexpr (F == XL_BF16) {
    const vu words = words_at(p);
    pair[0] = (vf)(words << 16);
    pair[1] = (vf)(words & 0xffff0000u);
  } else {
    pair[0] = halves_at(p);
    pair[1] = halves_at(p + 2 * W);
  }
}

template <int32_t F, int R, int M>
XL_INLINE void dot_small_floats(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  Sums<R, M> odd = {};
  const auto add = [&](const uint8_t *at, int64_t step) {
    vf right[2][M], pair[R][2];
    next(right[0], x);
    next(right[1], x);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      small_floats_pair<F>(pair[r], at + r * step);
      multiply<R, M>(total, r, pair[r][0], right[0]);
      multiply<R, M>(odd, r, pair[r][1], right[1]);
    }
  };
  const int64_t pairs = w.columns / (2 * W) * 2 * W;
  for (int64_t c = 0; c < pairs; c += 2 * W) {
    if constexpr (W == 16) {
      prefetch_tile<R>(w, row, 2 * c);
    } else if (c % 32 == 0) {
      prefetch_rows<R>(row + 2 * c, w.row_bytes, 1);
    }
    add(row + 2 * c, w.row_bytes);
  }
  if (pairs < w.columns) {
    // The last row may end where memory does.
    uint8_t last[R][4 * W] = {};
    for (int r = 0; r < R; r++)
      __builtin_memcpy(last[r], row + r * w.row_bytes + 2 * pairs, size_t(2 * (w.columns - pairs)));
    add(last[0], sizeof last[0]);
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
// The scales of a block that has not all of its COUNT: those that are missing are zero, as x is there. The two bytes before
// them belong to splat_scale().
template <int R, int COUNT>
struct LastScales {
  uint8_t bytes[R][2 + 2 * COUNT] = {};
  static constexpr int64_t STEP = 2 + 2 * COUNT;  // bytes between those of two rows

  LastScales(const uint8_t *scales, int64_t row_bytes, int64_t left) {
    for (int r = 0; r < R; r++) __builtin_memcpy(bytes[r] + 2, scales + r * row_bytes, size_t(2 * left));
  }
  const uint8_t *begin() const { return bytes[0] + 2; }
};

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
  const LastScales<R, RUNS> last(scales, row_bytes, w.scale_count - whole * RUNS);
  dot_int4_block<RUNS, R, M>(total, row, row_bytes, last.begin(), last.STEP, x);
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

// y[m * y_row + r * apart] = the product of row r of weights, w.row_bytes from the one before, with row m of x, plus
// bias[r * apart].
template <Kind K, int R, int M>
void dot_tile(const Weights &w, const uint8_t *row, const float *x, const float *bias, float *y, int64_t y_row,
              int64_t apart) {
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
  store_sums<R, M>(y, y_row, apart, total, bias);
}

#if defined(__AVX2__)
template <Kind K, int R, int M>
XL_VNNI void vnni_tile(const Weights &w, const uint8_t *row, const float *x, const float *bias, float *y,
                       int64_t y_row, int64_t apart) {
  Sums<R, M> total = {};
  if constexpr (K == VNNI_INT8) dot_vnni_int8<R, M>(total, w, row, x);
  if constexpr (K == VNNI_INT8_64) dot_vnni_int8_groups<64, R, M>(total, w, row, x);
  if constexpr (K == VNNI_INT8_32) dot_vnni_int8_groups<32, R, M>(total, w, row, x);
  if constexpr (K == VNNI_INT4) dot_vnni_int4<R, M>(total, w, row, x);
  if constexpr (K == VNNI_INT4_64) dot_vnni_int4_groups<2, R, M>(total, w, row, x);
  if constexpr (K == VNNI_INT4_32) dot_vnni_int4_groups<4, R, M>(total, w, row, x);
  // Loops over codes do not come by the lines of scales alone.
  for (int64_t at = ceil_div(w.scales, LINE) * LINE; at < w.scales + 2 * w.scale_count; at += LINE)
    prefetch_tile<R>(w, row, at);
  store_sums<R, M>(y, y_row, apart, total, bias);
}
#endif

}  // namespace
}  // namespace XL_NS
#endif
