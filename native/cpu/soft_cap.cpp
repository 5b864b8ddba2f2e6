// The soft cap of gate pre-activations and logits, forward and backward.
#include "soft_cap.h"

#include "lanes.h"

using namespace XL_NS;

namespace {

int check_cap(const char *kernel, float cap) {
  if (cap > 0 && cap < __builtin_inff()) return XL_OK;
  return xl::fail(XL_INVALID, "%s: cap must be above 0 and finite, got %g", kernel, (double)cap);
}

}  // namespace

extern "C" int XL_KERNEL(xl_soft_cap_forward)(float *y, const float *x, int64_t N, float cap) {
  if (int status = check_cap("soft_cap_forward", cap)) return status;
  parallel_lanes(N, compute_grain, [=](int64_t n, auto lanes) { lanes.store(y + n, soft_cap(lanes.load(x + n), cap)); });
  return XL_OK;
}

// y = cap * tanh(x / cap)
extern "C" int XL_KERNEL(xl_soft_cap_backward)(float *dx, const float *dy, const float *y, int64_t N, float cap) {
  if (int status = check_cap("soft_cap_backward", cap)) return status;
  parallel_lanes(N, compute_grain, [=](int64_t n, auto lanes) {
    const vf slope = soft_cap_derivative(lanes.load(y + n), cap);
    lanes.store(dx + n, lanes.load(dx + n) + lanes.load(dy + n) * slope);
  });
  return XL_OK;
}
