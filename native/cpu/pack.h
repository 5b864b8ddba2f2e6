// Copies of matrices into the layouts that product.cpp reads. Nothing is computed here.
#ifndef XL_CPU_PACK_H
#define XL_CPU_PACK_H
#include "product.h"
#include "tile.h"
#include "transpose.h"

namespace XL_NS {
namespace {

// Floats of B[K,N] in strips: whole vectors of columns.
inline int64_t packed_floats(int64_t N, int64_t K) { return ceil_div(N, W) * W * K; }

// K by `columns` floats of op(B), one strip or less, when op(B)[k,n] = b[n * ldb + k]: transposed in blocks of W by W.
// W rows of b at a time: the hardware follows so many, not a whole strip of them.
inline void pack_strip_of_columns(float *to, const float *b, int64_t ldb, int64_t columns, int64_t K) {
  constexpr int64_t AHEAD = 64, LINE = 16;  // floats; at the end of K those at the begin of the next rows
  const int64_t step = strip_width(columns);
  for (int64_t first = 0; first < columns; first += W) {
    const int64_t count = columns - first;
    const float *rows = b + first * ldb;
    for (int64_t k = 0; k < K; k += W) {
      const int64_t lanes = min_of(W, K - k);
      if (k % LINE == 0) {
        const float *ahead = rows + (k + AHEAD < K ? k + AHEAD : W * ldb + k + AHEAD - K);
        for (int n = 0; n < W; n++) __builtin_prefetch(ahead + n * ldb, 0, 2);
      }
      vf x[W];
      if (lanes == W && count >= W) {
#pragma GCC unroll 16
        for (int n = 0; n < W; n++) x[n] = load(rows + n * ldb + k);
      } else {
        for (int n = 0; n < W; n++) x[n] = n < count ? load_part(rows + n * ldb + k, lanes) : vf{};
      }
      transpose_square(x);
      float *at = to + k * step + first;
      if (lanes == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) store(at + i * step, x[i]);
      } else {
        for (int64_t i = 0; i < lanes; i++) store(at + i * step, x[i]);
      }
    }
  }
}

// op(B)[K,N] in strips of PRODUCT_COLUMNS (see product_packed), when op(B)[k,n] = b[k * ldb + n]: row after row, which
// is how the memory likes to be read.
inline void pack_rows_of_b(float *to, const float *b, int64_t ldb, int64_t N, int64_t K) {
  constexpr int64_t AHEAD = 16;  // parts of rows are too short for the hardware to see them coming
  const int64_t whole = N / PRODUCT_COLUMNS * PRODUCT_COLUMNS;
  for (int64_t k = 0; k < K; k++) {
    const float *row = b + k * ldb;
    if (k + AHEAD < K) prefetch(row + AHEAD * ldb, N);
    float *at = to + k * PRODUCT_COLUMNS;
    for (int64_t n = 0; n < whole; n += PRODUCT_COLUMNS, at += K * PRODUCT_COLUMNS) {
#pragma GCC unroll 3
      for (int v = 0; v < PRODUCT_VECTORS; v++) store(at + v * W, load(row + n + v * W));
    }
    at = to + whole * K + k * strip_width(N - whole);
    for (int64_t n = whole; n < N; n += W, at += W) store(at, N - n >= W ? load(row + n) : load_part(row + n, N - n));
  }
}

// op(B)[K,N] in strips of PRODUCT_COLUMNS (see product_packed). transposed: op(B)[k,n] = b[n * ldb + k].
inline void pack_columns(float *to, const float *b, int64_t ldb, bool transposed, int64_t N, int64_t K) {
  if (!transposed) return pack_rows_of_b(to, b, ldb, N, K);
  for (int64_t n = 0; n < N; n += PRODUCT_COLUMNS)
    pack_strip_of_columns(to + n * K, b + n * ldb, ldb, min_of(PRODUCT_COLUMNS, N - n), K);
}

// Whole vectors along k of a panel of PRODUCT_ROWS rows where they are a power of two; asks for the next rows meanwhile.
// Returns where it stopped.
inline int64_t pack_panel_by_vectors(float *panel, const float *a, int64_t lda, int64_t K) {
  constexpr int R = (PRODUCT_ROWS & (PRODUCT_ROWS - 1)) == 0 ? PRODUCT_ROWS : 1;
  int64_t k = 0;
  if constexpr (R > 1) {
    for (; k + W <= K; k += W) {
      vf x[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) x[r] = load(a + r * lda + k);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) __builtin_prefetch(a + (R + r) * lda + k, 0, 2);
      transpose_rows(x);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) store(panel + k * R + r * W, x[r]);
    }
  }
  return k;
}

// A[M,K] in panels (see product_panels), when A[m,k] = a[m * lda + k]. Whole vectors are stored; what one has too much,
// the next overwrites or falls into the gap behind the panel. So k ascends, and within it the last rows come first.
inline void pack_panels_of_rows(float *to, const float *a, int64_t lda, int64_t M, int64_t K) {
  const TileRows tiles(M);
  for (int64_t i = 0; i < tiles.count; i++) {
    const int64_t rows = tiles.rows(i);
    const float *from = a + tiles.begin(i) * lda;
    float *panel = to + tiles.panel(i, K);
    for (int64_t k = rows == PRODUCT_ROWS ? pack_panel_by_vectors(panel, from, lda, K) : 0; k < K; k += W) {
      const int64_t lanes = min_of(W, K - k);
      for (int64_t first = (rows - 1) / W * W; first >= 0; first -= W) {
        vf x[W];
#pragma GCC unroll 16
        for (int r = 0; r < W; r++) {
          const float *p = from + (first + r) * lda + k;
          x[r] = first + r >= rows ? vf{} : lanes == W ? load(p) : load_part(p, lanes);
        }
        transpose_square(x);
        for (int64_t j = 0; j < lanes; j++) store(panel + (k + j) * rows + first, x[j]);
      }
    }
  }
}

// The same when A[m,k] = a[k * lda + m]; some rows of a at a time, which stay in L1 for all panels while the next ones
// come.
inline void pack_panels_of_columns(float *to, const float *a, int64_t lda, int64_t M, int64_t K) {
  constexpr int64_t DEPTH = 32;
  const TileRows tiles(M);
  for (int64_t k = 0; k < K; k += DEPTH) {
    const int64_t end = min_of(k + DEPTH, K);
    for (int64_t j = end; j < min_of(end + DEPTH, K); j++) prefetch(a + j * lda, M);
    for (int64_t i = 0; i < tiles.count; i++) {
      const int64_t rows = tiles.rows(i), begin = tiles.begin(i);
      float *panel = to + tiles.panel(i, K);
      for (int64_t j = k; j < end; j++) {
        const float *from = a + j * lda + begin;
        if (rows == W / 2) {  // half a vector each, side by side
          __builtin_memcpy(panel + j * rows, from, W / 2 * sizeof(float));
          continue;
        }
        for (int64_t first = 0; first < rows; first += W) {
          const int64_t lanes = M - begin - first;
          store(panel + j * rows + first, lanes >= W ? load(from + first) : load_part(from + first, lanes));
        }
      }
    }
  }
}

}  // namespace
}  // namespace XL_NS
#endif
