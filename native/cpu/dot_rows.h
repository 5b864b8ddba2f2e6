// What products of stored rows share, whatever the format: the sums of a tile, scales, and reading ahead.
#ifndef XL_CPU_DOT_ROWS_H
#define XL_CPU_DOT_ROWS_H
#include "weights.h"

namespace XL_NS {
namespace {

// R rows of weights by M rows of x.
template <int R, int M>
using Sums = vf[R][M];

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

template <int R>
XL_INLINE void load_rows(vu (&words)[R], const uint8_t *row, int64_t row_bytes) {
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) words[r] = words_at(row + r * row_bytes);
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

// The same with vectors of 16 and with VNNI (measured on a Xeon): rows of a page or more are streams that the hardware
// follows, of which only what comes soon is wanted; of shorter ones the next tile.
constexpr int64_t LONG_ROW = 4096, SOON = 1024;
template <int R>
XL_INLINE void prefetch_tile(const uint8_t *row, int64_t at, int64_t row_bytes) {
  int64_t to = at + R * row_bytes;
  if (row_bytes >= LONG_ROW) to = at + SOON < row_bytes ? at + SOON : at + SOON + (R - 1) * row_bytes;
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) __builtin_prefetch(row + to + r * row_bytes, 0, 3);
}

// The same where most of the time goes into arithmetic, so that few cache lines wait for it at once: asks for all bytes
// from front to back, AHEAD_OF_TILE or a tile in advance. With 6 to 16 KB it is as fast.
constexpr int64_t AHEAD_OF_TILE = 8192;
struct ReadAhead {
  const uint8_t *at;

  // For a tile of `bytes` from `row` on, which will ask for `steps` times `lines` cache lines; asks for those left over.
  ReadAhead(const uint8_t *row, int64_t bytes, int64_t steps, int64_t lines) : at(row + max_of(bytes, AHEAD_OF_TILE)) {
    for (int64_t left = bytes / LINE - steps * lines; left > 0; left--) ask<1>();
  }

  template <int LINES>
  XL_INLINE void ask() {
#pragma GCC unroll 8
    for (int i = 0; i < LINES; i++) __builtin_prefetch(at + i * LINE, 0, 2);
    at += LINES * LINE;
  }
};

// y[m * y_row + r] = the sum of the lanes, plus bias[r].
template <int R, int M>
XL_INLINE void store_sums(float *y, int64_t y_row, const Sums<R, M> &total, const float *bias) {
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) y[m * y_row + r] = hsum(total[r][m]) + (bias ? bias[r] : 0.0f);
}

}  // namespace
}  // namespace XL_NS
#endif
