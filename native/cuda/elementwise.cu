// Fill, copy, casts and sums of arrays. Bound by memory: bytes per element are those of the arguments, once each, twice
// for what is added to (add: 12 in float32, 6 in bfloat16; accumulate: 12 and 6).
#include "deferred.h"
#include "lanes.cuh"
#include "xl_cuda.h"

using namespace xl;

namespace {

template <class T>
struct Fill {
  T *y;
  float value;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, splat<V>(value));
  }
};

template <class T>
int fill(const char *name, T *y, float value, int64_t N) {
  if (N > 0 && value == 0 && !signbit(value)) {
    defer_zeros(y, int64_t(sizeof(T)) * N);
    return XL_OK;
  }
  return each<lanes_of<T>>(name, Fill<T>{y, value}, N, is_aligned(y));
}

template <class To, class From>
struct Cast {
  To *y;
  const From *x;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, load<V>(x + n));
  }
};

template <class To, class From>
int cast(const char *name, To *y, const From *x, int64_t N) {
  return each<8>(name, Cast<To, From>{y, x}, N, is_aligned(y, x));
}

// A copy is one of bits, so that NaN keeps its payload.
int copy_bytes(const char *name, void *y, const void *x, int64_t bytes) {
  if (bytes <= 0) return XL_OK;
  cudaMemcpyAsync(y, x, size_t(bytes), cudaMemcpyDeviceToDevice, stream());
  return launched(name);
}

template <class T>
struct Accumulate {
  T *y;
  const T *x;
  float alpha;
  template <int V>
  __device__ void at(int64_t n) const {
    add(y + n, alpha * load<V>(x + n));
  }
};

template <class T>
int accumulate(const char *name, T *y, const T *x, float alpha, int64_t N) {
  return each<lanes_of<T>>(name, Accumulate<T>{y, x, alpha}, N, is_aligned(y, x));
}

template <class T>
struct Add {
  T *y;
  const T *a, *b;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, load<V>(a + n) + load<V>(b + n));
  }
};

template <class T>
int add_arrays(const char *name, T *y, const T *a, const T *b, int64_t N) {
  return each<lanes_of<T>>(name, Add<T>{y, a, b}, N, is_aligned(y, a, b));
}

template <class T>
struct Multiply {
  T *y;
  const T *a, *b;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, load<V>(a + n) * load<V>(b + n));
  }
};

template <class T>
int multiply(const char *name, T *y, const T *a, const T *b, int64_t N) {
  return each<lanes_of<T>>(name, Multiply<T>{y, a, b}, N, is_aligned(y, a, b));
}

// y = a * b
template <class T>
struct MultiplyBackward {
  T *da, *db;
  const T *dy, *a, *b;
  template <int V>
  __device__ void at(int64_t n) const {
    const Lanes<V> g = load<V>(dy + n);
    if (da) add(da + n, g * load<V>(b + n));
    if (db) add(db + n, g * load<V>(a + n));
  }
};

template <class T>
int multiply_backward(const char *name, T *da, T *db, const T *dy, const T *a, const T *b, int64_t N) {
  return each<lanes_of<T>>(name, MultiplyBackward<T>{da, db, dy, a, b}, N, is_aligned(da, db, dy, a, b));
}

}  // namespace

extern "C" {

int xl_fill(float *y, float value, int64_t N) { return fill("fill", y, value, N); }
XL_API int xl_fill_bf16(bf16 *y, float value, int64_t N) { return fill("fill_bf16", y, value, N); }

int xl_copy(float *y, const float *x, int64_t N) { return copy_bytes("copy", y, x, 4 * N); }
XL_API int xl_copy_bf16(bf16 *y, const bf16 *x, int64_t N) { return copy_bytes("copy_bf16", y, x, 2 * N); }

int xl_cast_to_bf16(uint8_t *y, const float *x, int64_t N) {
  return cast("cast_to_bf16", reinterpret_cast<bf16 *>(y), x, N);
}
int xl_cast_from_bf16(float *y, const uint8_t *x, int64_t N) {
  return cast("cast_from_bf16", y, reinterpret_cast<const bf16 *>(x), N);
}

int xl_accumulate(float *y, const float *x, float alpha, int64_t N) { return accumulate("accumulate", y, x, alpha, N); }
XL_API int xl_accumulate_bf16(bf16 *y, const bf16 *x, float alpha, int64_t N) {
  return accumulate("accumulate_bf16", y, x, alpha, N);
}

int xl_add(float *y, const float *a, const float *b, int64_t N) {
  return defer_add(y, a, b, N) ? XL_OK : add_arrays("add", y, a, b, N);
}
XL_API int xl_add_bf16(bf16 *y, const bf16 *a, const bf16 *b, int64_t N) { return add_arrays("add_bf16", y, a, b, N); }

int xl_mul_forward(float *y, const float *a, const float *b, int64_t N) { return multiply("mul_forward", y, a, b, N); }
XL_API int xl_mul_forward_bf16(bf16 *y, const bf16 *a, const bf16 *b, int64_t N) {
  return multiply("mul_forward_bf16", y, a, b, N);
}

int xl_mul_backward(float *da, float *db, const float *dy, const float *a, const float *b, int64_t N) {
  return multiply_backward("mul_backward", da, db, dy, a, b, N);
}
XL_API int xl_mul_backward_bf16(bf16 *da, bf16 *db, const bf16 *dy, const bf16 *a, const bf16 *b, int64_t N) {
  return multiply_backward("mul_backward_bf16", da, db, dy, a, b, N);
}

}  // extern "C"
