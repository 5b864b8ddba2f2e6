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
  // That p[AHEAD] is soon loaded, or stored to.
  XL_INLINE void will_load(const float *) const {}
  XL_INLINE void will_store(float *) const {}
};

// The same of arrays that may lie in memory: asks for what comes next, sooner than the machine does by itself, and to write
// where it is written to. Twice or half as far ahead makes no difference.
struct AheadLanes : AllLanes {
  static constexpr int64_t AHEAD = 512;  // floats
  XL_INLINE void will_load(const float *p) const { __builtin_prefetch(p + AHEAD); }
  XL_INLINE void will_store(float *p) const { __builtin_prefetch(p + AHEAD, 1); }
};

// The same where whatever is loaded or stored is an array that is passed through once.
struct StreamLanes : AheadLanes {
  XL_INLINE vf load(const float *p) const {
    will_load(p);
    return XL_NS::load(p);
  }
  XL_INLINE void store(float *p, vf v) const {
    will_store(p);
    XL_NS::store(p, v);
  }
};

struct SomeLanes {
  int64_t n;
  XL_INLINE vf load(const float *p) const { return load_part(p, n); }
  XL_INLINE void store(float *p, vf v) const { store_part(p, v, n); }
  XL_INLINE vf inside(vf v) const { return select(first_lanes(n), v, vf{}); }
  XL_INLINE void will_load(const float *) const {}
  XL_INLINE void will_store(float *) const {}
};

// body(i, lanes) for i = begin, begin + W, ... below end.
template <class Body>
XL_INLINE void for_lanes(int64_t begin, int64_t end, const Body &body) {
  int64_t i = begin;
  for (; i + W <= end; i += W) body(i, AllLanes{});
  if (i < end) body(i, SomeLanes{end - i});
}

// The same, with lanes that look ahead once for each cache line.
template <class Lanes = AheadLanes, class Body>
XL_INLINE void for_lanes_ahead(int64_t begin, int64_t end, const Body &body) {
  int64_t i = begin;
  for (; i + LINE_FLOATS <= end; i += LINE_FLOATS) {
    body(i, Lanes{});
#pragma GCC unroll 4
    for (int64_t j = W; j < LINE_FLOATS; j += W) body(i + j, AllLanes{});
  }
  for_lanes(i, end, body);
}

// A piece of an array that is worth the hand-over to another thread (about 50 ns): 16 KB when the loop waits for
// memory, less when it computes.
constexpr int64_t memory_grain = 4096;
constexpr int64_t compute_grain = 2048;

constexpr int64_t least_stream = 1 << 14;  // fewer elements lie in a cache

// for_lanes over 0..N-1 on all threads; all that the body loads and stores are arrays of N elements.
template <class Body>
inline void parallel_lanes(int64_t N, int64_t grain, const Body &body) {
  if (N < least_stream)
    return parallel_range(N, grain, [&](int64_t begin, int64_t end, int) { for_lanes(begin, end, body); });
  const auto lanes = [&](int64_t begin, int64_t end, int) { for_lanes_ahead<StreamLanes>(begin, end, body); };
  parallel_stream(N, grain, lanes, [](int64_t) { return xl::Stretch{}; });
}

}  // namespace
}  // namespace XL_NS
#endif
