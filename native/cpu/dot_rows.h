// What products of stored rows share, whatever the format: the sums of a tile, scales, and reading ahead.
#ifndef XL_CPU_DOT_ROWS_H
#define XL_CPU_DOT_ROWS_H
#include "streams.h"
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

// The same with vectors of 16 and with VNNI (measured on Xeons), where a tile takes the next row of each of some streams:
// its row_bytes are those from stream to stream, and where the streams end the next ones begin.
template <int R>
XL_INLINE void prefetch_tile(const Weights &tile, const uint8_t *row, int64_t at) {
  prefetch_streams<R>(row, at, tile.stream_left, tile.row_bytes);
}

// y[m * y_row + r * apart] = the sum of the lanes, plus bias[r * apart].
template <int R, int M>
XL_INLINE void store_sums(float *y, int64_t y_row, int64_t apart, const Sums<R, M> &total, const float *bias) {
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) y[m * y_row + r * apart] = hsum(total[r][m]) + (bias ? bias[r * apart] : 0.0f);
}

}  // namespace
}  // namespace XL_NS
#endif
