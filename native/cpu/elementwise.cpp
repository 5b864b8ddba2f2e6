// Fill, copy, accumulate, add, multiply: one pass over memory each.
#include "gradient.h"

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_fill)(float *y, float value, int64_t N) {
  parallel_lanes(N, memory_grain, [=](int64_t n, auto lanes) { lanes.store(y + n, splat(value)); });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_copy)(float *y, const float *x, int64_t N) {
  parallel_lanes(N, memory_grain, [=](int64_t n, auto lanes) { lanes.store(y + n, lanes.load(x + n)); });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_accumulate)(float *y, const float *x, float alpha, int64_t N) {
  parallel_lanes(N, memory_grain,
                 [=](int64_t n, auto lanes) { lanes.store(y + n, lanes.load(y + n) + alpha * lanes.load(x + n)); });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_add)(float *y, const float *a, const float *b, int64_t N) {
  parallel_lanes(N, memory_grain,
                 [=](int64_t n, auto lanes) { lanes.store(y + n, lanes.load(a + n) + lanes.load(b + n)); });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_mul_forward)(float *y, const float *a, const float *b, int64_t N) {
  parallel_lanes(N, memory_grain,
                 [=](int64_t n, auto lanes) { lanes.store(y + n, lanes.load(a + n) * lanes.load(b + n)); });
  return XL_OK;
}

// y = a * b
extern "C" int XL_KERNEL(xl_mul_backward)(float *da, float *db, const float *dy, const float *a, const float *b,
                                          int64_t N) {
  const Gradient to_da(da, N), to_db(db, N);
  xl::settle_zeros();
  parallel_lanes(N, memory_grain, [=](int64_t n, auto lanes) {
    const vf g = lanes.load(dy + n);
    if (da) to_da.add(n, lanes, g * lanes.load(b + n));
    if (db) to_db.add(n, lanes, g * lanes.load(a + n));
  });
  return XL_OK;
}
