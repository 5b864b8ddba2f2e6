// Asking for what comes of streams that are read once, side by side.
#ifndef XL_CPU_STREAMS_H
#define XL_CPU_STREAMS_H
#include "kernel.h"

namespace XL_NS {
namespace {

// So long is a stream where rows are shorter: the hardware follows each, and waits anew where one begins.
constexpr int64_t STREAM_BYTES = 1 << 14;

// R streams, `step` elements apart, are read at first + at. They end `left` elements from `first` on, where the second of
// them began; after the last one come R more.
// Each line is asked for twice: early into the second cache, and once it is there into the first one, whose few requests
// otherwise wait for memory, and with them all that comes after.
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
