// Copies into the layouts that tiles read (see tile.h): rows, panels, transposed panels; and sums over lanes.
// Strided rows of the caller are copied once per use because power-of-two strides fall into few cache sets.
#ifndef XL_CPU_PANELS_H
#define XL_CPU_PANELS_H
#include "tile.h"
#include "transpose.h"

namespace XL_NS {
namespace {

// to[j][i] = from[i][j] for a block of W by W.
inline void transpose_block(float *to, int64_t to_step, const float *from, int64_t from_step) {
  vf x[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) x[i] = load(from + i * from_step);
  transpose_square(x);
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) store(to + i * to_step, x[i]);
}

// sums[i] = sum of the lanes of rows[i][W], for a count that is a multiple of W.
inline void sum_lanes(float *sums, const float *rows, int64_t count) {
  for (int64_t i = 0; i < count; i += W) {
    vf x[W];
#pragma GCC unroll 16
    for (int r = 0; r < W; r++) x[r] = load(rows + (i + r) * W);
    store(sums + i, sums_of_lanes(x));
  }
}

// A matrix of the caller: `rows` rows of `cols` floats, `step` floats apart.
struct Source {
  const float *data;
  int64_t step, rows, cols;
};

// to[r][c] = factor * from[r][c], rows `step` apart, zeros up to [padded_rows, padded_cols] (a multiple of W).
inline void copy_rows(float *to, int64_t step, int64_t padded_rows, int64_t padded_cols, Source from, float factor) {
  const int64_t full = from.cols / W * W;
  for (int64_t r = 0; r < from.rows; r++) {
    const float *source = from.data + r * from.step;
    float *row = to + r * step;
    for (int64_t c = 0; c < full; c += W) store(row + c, load(source + c) * factor);
    if (full < padded_cols) store(row + full, load_part(source + full, from.cols - full) * factor);
  }
  for (int64_t r = from.rows; r < padded_rows; r++)
    for (int64_t c = 0; c < padded_cols; c += W) store(to + r * step + c, vf{});
}

// The same into panels of `padded_rows` rows. `row_factor` (NULL for none) multiplies each row.
inline void copy_panels(float *to, int64_t padded_rows, Source from, float factor, const float *row_factor) {
  for_panels(from.cols, [&](int64_t col, int64_t vectors) {
    float *panel = to + col * padded_rows;
    for (int64_t r = 0; r < from.rows; r++) {
      const float *source = from.data + r * from.step + col;
      const float scale = row_factor ? factor * row_factor[r] : factor;
      for (int64_t v = 0; v < vectors; v++)
        store(panel + r * P + v * W, load_lanes(source + v * W, from.cols - col - v * W) * scale);
    }
    for (int64_t r = from.rows; r < padded_rows; r++)
      for (int64_t v = 0; v < vectors; v++) store(panel + r * P + v * W, vf{});
  });
}

// Panels [rows, cols] -> the caller's rows: to[r][c] = panels[r][c] (+ to[r][c] when `add`).
inline void copy_from_panels(float *to, int64_t step, const float *panels, int64_t padded_rows, int64_t rows,
                             int64_t cols, bool add) {
  for_panels(cols, [&](int64_t col, int64_t vectors) {
    const float *panel = panels + col * padded_rows;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t v = 0; v < vectors; v++) {
        float *p = to + r * step + col + v * W;
        const int64_t lanes = cols - col - v * W;
        const vf x = load(panel + r * P + v * W);
        store_lanes(p, add ? load_lanes(p, lanes) + x : x, lanes);
      }
  });
}

// Panels of the transpose of from[rows][cols] (both multiples of W): the result is [cols, rows].
inline void transpose_to_panels(float *to, const float *from, int64_t step, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; r += W) {
    float *panel = to + r / P * P * cols + r % P;
    for (int64_t c = 0; c < cols; c += W) transpose_block(panel + c * P, P, from + r * step + c, step);
  }
}

// Panels [rows, cols] -> panels of the transpose, [cols, rows]; both sizes multiples of W.
inline void transpose_panels(float *to, const float *from, int64_t rows, int64_t cols) {
  for (int64_t c = 0; c < cols; c += W) {
    const float *panel = from + c / P * P * rows + c % P;
    for (int64_t r = 0; r < rows; r += W) transpose_block(to + r / P * P * cols + r % P + c * P, P, panel + r * P, P);
  }
}

inline void fill_zero(float *p, int64_t n) { __builtin_memset(p, 0, size_t(n) * sizeof(float)); }

}  // namespace
}  // namespace XL_NS
#endif
