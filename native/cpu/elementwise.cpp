// Fill, copy, accumulate, add, multiply: one pass over memory each.
#include "kernel.h"

using namespace XL_NS;

namespace {

// 64 KB of floats: large enough that claiming a piece costs nothing, small enough that threads finish together.
constexpr int64_t grain = 16384;

}  // namespace

extern "C" int XL_KERNEL(xl_fill)(float *y, float value, int64_t N) {
  parallel_range(N, grain, [&](int64_t begin, int64_t end, int) {
    const vf v = splat(value);
    int64_t n = begin;
    for (; n + W <= end; n += W) store(y + n, v);
    store_part(y + n, v, end - n);
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_copy)(float *y, const float *x, int64_t N) {
  parallel_range(N, grain, [&](int64_t begin, int64_t end, int) {
    __builtin_memcpy(y + begin, x + begin, size_t(end - begin) * 4);
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_accumulate)(float *y, const float *x, float alpha, int64_t N) {
  parallel_range(N, grain, [&](int64_t begin, int64_t end, int) {
    int64_t n = begin;
    for (; n + W <= end; n += W) store(y + n, load(y + n) + alpha * load(x + n));
    store_part(y + n, load_part(y + n, end - n) + alpha * load_part(x + n, end - n), end - n);
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_add)(float *y, const float *a, const float *b, int64_t N) {
  parallel_range(N, grain, [&](int64_t begin, int64_t end, int) {
    int64_t n = begin;
    for (; n + W <= end; n += W) store(y + n, load(a + n) + load(b + n));
    store_part(y + n, load_part(a + n, end - n) + load_part(b + n, end - n), end - n);
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_mul_forward)(float *y, const float *a, const float *b, int64_t N) {
  parallel_range(N, grain, [&](int64_t begin, int64_t end, int) {
    int64_t n = begin;
    for (; n + W <= end; n += W) store(y + n, load(a + n) * load(b + n));
    store_part(y + n, load_part(a + n, end - n) * load_part(b + n, end - n), end - n);
  });
  return XL_OK;
}
