// Copies of matrices into the layouts that product.cpp reads. Nothing is computed here.
#ifndef XL_CPU_PACK_H
#define XL_CPU_PACK_H
#include "product.h"
#include "transpose.h"

namespace XL_NS {
namespace {

// Floats of B[K,N] in strips: whole vectors of columns.
inline int64_t packed_floats(int64_t N, int64_t K) { return ceil_div(N, W) * W * K; }

// One vector of columns, op(B)[0..K-1, 0..columns-1] -> to[k * step], when op(B)[k,n] = b[k * ldb + n].
inline void pack_vector_of_rows(float *to, int64_t step, const float *b, int64_t ldb, int64_t columns, int64_t K) {
  if (columns >= W) {
    for (int64_t k = 0; k < K; k++) store(to + k * step, load(b + k * ldb));
  } else {
    for (int64_t k = 0; k < K; k++) store(to + k * step, load_part(b + k * ldb, columns));
  }
}

// The same when op(B)[k,n] = b[n * ldb + k]: transposed in blocks of W by W.
inline void pack_vector_of_columns(float *to, int64_t step, const float *b, int64_t ldb, int64_t columns, int64_t K) {
  vf x[W];
  for (int64_t k = 0; k < K; k += W) {
    const int64_t lanes = min_of(W, K - k);
    if (lanes == W && columns >= W) {
#pragma GCC unroll 16
      for (int n = 0; n < W; n++) x[n] = load(b + n * ldb + k);
    } else {
      for (int n = 0; n < W; n++) x[n] = n < columns ? load_part(b + n * ldb + k, lanes) : vf{};
    }
    transpose_square(x);
    if (lanes == W) {
#pragma GCC unroll 16
      for (int i = 0; i < W; i++) store(to + (k + i) * step, x[i]);
    } else {
      for (int64_t i = 0; i < lanes; i++) store(to + (k + i) * step, x[i]);
    }
  }
}

// op(B)[K,N] in strips of PRODUCT_COLUMNS (see product_packed). transposed: op(B)[k,n] = b[n * ldb + k].
inline void pack_columns(float *to, const float *b, int64_t ldb, bool transposed, int64_t N, int64_t K) {
  for (int64_t n = 0; n < N; n += W) {
    const int64_t strip = n / PRODUCT_COLUMNS * PRODUCT_COLUMNS;
    const int64_t width = N - strip > W ? PRODUCT_COLUMNS : W;
    float *start = to + strip * K + (n - strip);
    if (transposed) {
      pack_vector_of_columns(start, width, b + n * ldb, ldb, min_of(W, N - n), K);
    } else {
      pack_vector_of_rows(start, width, b + n, ldb, min_of(W, N - n), K);
    }
  }
}

// A copy of `rows` rows of `columns` floats.
inline void copy_block(float *to, int64_t to_row, const float *from, int64_t from_row, int64_t rows, int64_t columns) {
  const int64_t whole = columns / W * W, rest = columns - whole;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t i = 0; i < whole; i += W) {
      store(to + r * to_row + i, load(from + r * from_row + i));
    }
    if (rest > 0) store_part(to + r * to_row + whole, load_part(from + r * from_row + whole, rest), rest);
  }
}

}  // namespace
}  // namespace XL_NS
#endif
