// How kernels cut a sequence: into stretches that end where a document begins, into the chunks of the chunkwise forms,
// and into segments whose states are kept at once in a backward pass.
#ifndef XL_CPU_CHUNKS_H
#define XL_CPU_CHUNKS_H
#include <math.h>

#include "kernel.h"

namespace XL_NS {
namespace {

// The end of the stretch of sequence b that begins at step t: `limit`, at most T, or the first document that begins
// before it.
inline int64_t stretch_end(const uint8_t *reset, int64_t b, int64_t T, int64_t t, int64_t limit) {
  if (!reset) return limit;
  for (int64_t end = t + 1; end < limit; end++)
    if (reset[b * T + end]) return end;
  return limit;
}

// A chunk: its first row (b, t, head), the step t there, its steps.
struct Chunk {
  int64_t row, begin, n;
};

// Where the chunk that begins at t ends: after L steps, before a reset, or with the sequence. A shape has T and L.
template <class Shape>
inline int64_t chunk_end(const Shape &s, const uint8_t *reset, int64_t b, int64_t t) {
  return stretch_end(reset, b, s.T, t, min_of(t + s.L, s.T));
}

template <class Shape>
inline int64_t count_chunks(const Shape &s, const uint8_t *reset, int64_t b) {
  int64_t count = 0;
  for (int64_t t = 0; t < s.T; t = chunk_end(s, reset, b, t)) count++;
  return count;
}

// States kept at once in a backward pass, in floats (64 MB).
constexpr int64_t kept_floats = int64_t(16) << 20;

// Chunks of a segment, of states of so many floats: all that there are, where their states can be kept at once. A longer
// sequence keeps every sqrt(NC)-th of its NC border states instead and recomputes the others segment by segment.
inline int64_t segment_chunks(int64_t chunks, int64_t state) {
  return max_of(1, (chunks + 1) * state <= kept_floats ? chunks : int64_t(ceil(sqrt(double(chunks)))));
}

inline int check_chunked(const char *name, int64_t B, int64_t T, int64_t NH, int64_t DK, int64_t DV, int64_t L) {
  if (B < 0 || T < 0 || NH < 1 || DK < 1 || DV < 1 || L < 1)
    return xl::fail(XL_INVALID,
                    "%s: B and T must not be negative and NH, DK, DV, L must be positive, got B=%lld T=%lld NH=%lld "
                    "DK=%lld DV=%lld L=%lld",
                    name, (long long)B, (long long)T, (long long)NH, (long long)DK, (long long)DV, (long long)L);
  return XL_OK;
}

}  // namespace
}  // namespace XL_NS
#endif
