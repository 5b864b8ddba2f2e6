// A gradient that a kernel adds to. Where it holds nothing but zeros that are still owed, results are stored.
//
//   const Gradient to_dx(dx, N), to_dw(dweight, D);
//   xl::settle_zeros();
//   ... to_dx.add(n, lanes, value) for each n, once ...
#ifndef XL_CPU_GRADIENT_H
#define XL_CPU_GRADIENT_H
#include "lanes.h"
#include "zeros.h"

namespace XL_NS {
namespace {

struct Gradient {
  float *p;
  bool is_zero;

  Gradient(float *p, int64_t N) : p(p), is_zero(p && xl::claim_zeros(p, N)) {}

  template <class Lanes>
  XL_INLINE void add(int64_t i, const Lanes &lanes, vf value) const {
    lanes.store(p + i, is_zero ? value : lanes.load(p + i) + value);
  }
  // That a later pass over the same elements adds to this one.
  template <class Lanes>
  XL_INLINE void will_add(int64_t i, const Lanes &lanes) const {
    lanes.will_store(p + i);
  }
};

}  // namespace
}  // namespace XL_NS
#endif
