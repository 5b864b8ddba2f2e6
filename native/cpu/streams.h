// Asking for what comes of streams that are read once, side by side.
#ifndef XL_CPU_STREAMS_H
#define XL_CPU_STREAMS_H
#include "kernel.h"

namespace XL_NS {
namespace {

// So long is a stream where rows are shorter: the hardware follows each, and waits anew where one begins.
constexpr int64_t STREAM_BYTES = 1 << 14;

// Rows of a stream.
inline int64_t stream_rows(int64_t row_bytes) { return max_of(STREAM_BYTES / row_bytes, 1); }

// Rows begin .. end - 1 as blocks of R streams of at most `rows` rows, the streams of a block one after the other.
// body(row, apart, left): a tile takes `row` and R - 1 more, `apart` rows from one to the next, with `left` rows, these
// included, to the end of each stream. Returns the first of the rows that are left, fewer than R.
template <class Body>
inline int64_t for_streams(int64_t begin, int64_t end, int64_t R, int64_t rows, const Body &body) {
  for (int64_t apart; (apart = min_of(rows, (end - begin) / R)) > 0; begin += apart * R)
    for (int64_t i = 0; i < apart; i++) body(begin + i, apart, apart - i);
  return begin;
}

// R streams, `step` elements apart, are read at first + at. They end `left` elements from `first` on, where the second
// of them began; after the last one come R more.
// Each line is asked for twice: early into the second cache, and once it is there into the first one, whose few
// requests otherwise wait for memory, and with them all that comes after.
template <int R, class T>
XL_INLINE void prefetch_streams(const T *first, int64_t at, int64_t left, int64_t step) {
  constexpr int64_t EARLY = 3072 / int64_t(sizeof(T)), SOON = 1024 / int64_t(sizeof(T));
  const auto ahead = [&](int64_t n) { return at + n < left ? at + n : at + n + (R - 1) * step; };
  const int64_t early = ahead(EARLY), soon = ahead(SOON);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) __builtin_prefetch(first + early + r * step, 0, 2);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) __builtin_prefetch(first + soon + r * step, 0, 3);
}

}  // namespace
}  // namespace XL_NS
#endif
