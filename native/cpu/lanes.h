// Loops over arrays in steps of a vector: whole vectors, then what is left. The body is written once and gets an
// object that loads and stores either W lanes or fewer, so that no element beyond the end is touched.
#ifndef XL_CPU_LANES_H
#define XL_CPU_LANES_H
#include "kernel.h"

namespace XL_NS {
namespace {

struct AllLanes {
  XL_INLINE vf load(const float *p) const { return XL_NS::load(p); }
  XL_INLINE void store(float *p, vf v) const { XL_NS::store(p, v); }
  // v with the lanes beyond the end set to zero.
  XL_INLINE vf inside(vf v) const { return v; }
};

struct SomeLanes {
  int64_t n;
  XL_INLINE vf load(const float *p) const { return load_part(p, n); }
  XL_INLINE void store(float *p, vf v) const { store_part(p, v, n); }
  XL_INLINE vf inside(vf v) const { return select(first_lanes(n), v, vf{}); }
};

// body(i, lanes) for i = begin, begin + W, ... below end.
template <class Body>
XL_INLINE void for_lanes(int64_t begin, int64_t end, const Body &body) {
  int64_t i = begin;
  for (; i + W <= end; i += W) body(i, AllLanes{});
  if (i < end) body(i, SomeLanes{end - i});
}

// A piece of an array that is worth the hand-over to another thread (about 50 ns): 16 KB when the loop waits for
// memory, less when it computes.
constexpr int64_t memory_grain = 4096;
constexpr int64_t compute_grain = 2048;

// for_lanes over 0..N-1 on all threads.
template <class Body>
inline void parallel_lanes(int64_t N, int64_t grain, const Body &body) {
  parallel_range(N, grain, [&](int64_t begin, int64_t end, int) { for_lanes(begin, end, body); });
}

}  // namespace
}  // namespace XL_NS
#endif
