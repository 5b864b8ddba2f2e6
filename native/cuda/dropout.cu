// Dropout by the Philox4x32-10 stream (Salmon et al. 2011): element n is kept iff word n of the stream of (key0, key1)
// is at least rate * 2^32. One block of the generator gives the words of four elements: about 60 integer operations,
// beside 8 bytes per element forward and 12 backward in float32.
#include <math.h>

#include "lanes.cuh"

using namespace xl;

namespace {

struct Philox {
  uint32_t key0, key1;

  __device__ uint4 block(uint64_t counter) const {
    uint32_t c0 = uint32_t(counter), c1 = uint32_t(counter >> 32), c2 = 0, c3 = 0, k0 = key0, k1 = key1;
#pragma unroll
    for (int round = 0; round < 10; round++) {
      const uint32_t high0 = __umulhi(0xd2511f53u, c0), low0 = 0xd2511f53u * c0;
      const uint32_t high1 = __umulhi(0xcd9e8d57u, c2), low1 = 0xcd9e8d57u * c2;
      c0 = high1 ^ c1 ^ k0;
      c1 = low1;
      c2 = high0 ^ c3 ^ k1;
      c3 = low0;
      k0 += 0x9e3779b9u;
      k1 += 0xbb67ae85u;
    }
    return make_uint4(c0, c1, c2, c3);
  }
};

struct Mask {
  Philox philox;
  uint64_t threshold;
  float factor;  // of what is kept

  Mask(double rate, uint32_t key0, uint32_t key1)
      : philox{key0, key1}, threshold(uint64_t(ceil(rate * 4294967296.0))), factor(float(1 / (1 - rate))) {}

  // Elements n .. n + V - 1 of x, scaled or dropped; n is a multiple of V.
  template <int V>
  __device__ Lanes<V> apply(const Lanes<V> &x, int64_t n) const {
    Lanes<V> y;
    if constexpr (V == 1) {
      const uint4 words = philox.block(uint64_t(n) / 4);
      const int lane = int(n & 3);
      const uint32_t word = lane == 0 ? words.x : lane == 1 ? words.y : lane == 2 ? words.z : words.w;
      y[0] = word >= threshold ? x[0] * factor : 0.0f;
    } else {
#pragma unroll
      for (int l = 0; l < V; l += 4) {
        const uint4 words = philox.block(uint64_t(n + l) / 4);
        y[l] = words.x >= threshold ? x[l] * factor : 0.0f;
        y[l + 1] = words.y >= threshold ? x[l + 1] * factor : 0.0f;
        y[l + 2] = words.z >= threshold ? x[l + 2] * factor : 0.0f;
        y[l + 3] = words.w >= threshold ? x[l + 3] * factor : 0.0f;
      }
    }
    return y;
  }
};

template <class T>
struct Dropout {
  T *y;
  const T *x;
  Mask mask;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, mask.apply(load<V>(x + n), n));
  }
};

template <class T>
struct DropoutBackward {
  T *dx;
  const T *dy;
  Mask mask;
  template <int V>
  __device__ void at(int64_t n) const {
    add(dx + n, mask.apply(load<V>(dy + n), n));
  }
};

int check_rate(const char *name, double rate) {
  return rate >= 0 && rate < 1 ? XL_OK : fail(XL_INVALID, "%s: rate must be in [0, 1), got %g", name, rate);
}

template <class T>
int forward(const char *name, T *y, const T *x, int64_t N, double rate, uint32_t key0, uint32_t key1) {
  if (int status = check_rate(name, rate)) return status;
  return each<lanes_of<T>>(name, Dropout<T>{y, x, Mask(rate, key0, key1)}, N, is_aligned(y, x));
}

template <class T>
int backward(const char *name, T *dx, const T *dy, int64_t N, double rate, uint32_t key0, uint32_t key1) {
  if (int status = check_rate(name, rate)) return status;
  return each<lanes_of<T>>(name, DropoutBackward<T>{dx, dy, Mask(rate, key0, key1)}, N, is_aligned(dx, dy));
}

}  // namespace

extern "C" {

int xl_dropout_forward(float *y, const float *x, int64_t N, double rate, uint32_t key0, uint32_t key1) {
  return forward("dropout_forward", y, x, N, rate, key0, key1);
}
XL_API int xl_dropout_forward_bf16(bf16 *y, const bf16 *x, int64_t N, double rate, uint32_t key0, uint32_t key1) {
  return forward("dropout_forward_bf16", y, x, N, rate, key0, key1);
}
int xl_dropout_backward(float *dx, const float *dy, int64_t N, double rate, uint32_t key0, uint32_t key1) {
  return backward("dropout_backward", dx, dy, N, rate, key0, key1);
}
XL_API int xl_dropout_backward_bf16(bf16 *dx, const bf16 *dy, int64_t N, double rate, uint32_t key0, uint32_t key1) {
  return backward("dropout_backward_bf16", dx, dy, N, rate, key0, key1);
}

}  // extern "C"
