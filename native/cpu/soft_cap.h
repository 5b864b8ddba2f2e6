// The soft cap as vector functions: y = cap tanh(x / cap). The loops are in soft_cap.cpp and linear_cross_entropy.cpp.
#ifndef XL_CPU_SOFT_CAP_H
#define XL_CPU_SOFT_CAP_H
#include "kernel.h"
#include "vmath.h"

namespace XL_NS {
namespace {

XL_INLINE vf soft_cap(vf x, float cap) { return cap * vtanh(x / cap); }

// dy/dx from y: 1 - (y / cap)^2. As a product, since the square cancels near the cap where cap - y is exact.
XL_INLINE vf soft_cap_derivative(vf y, float cap) { return ((cap - y) / cap) * ((cap + y) / cap); }

// The same from x, which knows it also where y has rounded to the cap: 1 - tanh^2(t) = 4 e / (1 + e)^2, e = e^-2|t|.
XL_INLINE vf soft_cap_slope(vf x, float cap) {
  const vf e = exp_bounded(vclamp(-2.0f * vabs(x / cap), -104.0f, 0.0f));
  return (4.0f * e) / ((1.0f + e) * (1.0f + e));
}

}  // namespace
}  // namespace XL_NS
#endif
