// Neighbouring elements as one value: 16-byte loads and stores, arithmetic on all of them, and the launch of a kernel
// that runs over whole arrays. Written like the vectors of the CPU kernels; with V = 1 it is the scalar version, for
// addresses that are no multiple of 16 bytes.
#ifndef XL_CUDA_LANES_CUH
#define XL_CUDA_LANES_CUH
#include "kernel.cuh"

namespace xl {

template <int V>
struct alignas(V >= 4 ? 16 : 4) Lanes {
  float v[V];
  __device__ float &operator[](int l) { return v[l]; }
  __device__ float operator[](int l) const { return v[l]; }
};

template <int V>
__device__ inline Lanes<V> splat(float x) {
  Lanes<V> y;
#pragma unroll
  for (int l = 0; l < V; l++) y[l] = x;
  return y;
}

#define XL_LANES_OPERATOR(op)                                                  \
  template <int V>                                                             \
  __device__ inline Lanes<V> operator op(const Lanes<V> &a, const Lanes<V> &b) { \
    Lanes<V> y;                                                                \
    _Pragma("unroll") for (int l = 0; l < V; l++) y[l] = a[l] op b[l];         \
    return y;                                                                  \
  }                                                                            \
  template <int V>                                                             \
  __device__ inline Lanes<V> operator op(float a, const Lanes<V> &b) {         \
    return splat<V>(a) op b;                                                   \
  }                                                                            \
  template <int V>                                                             \
  __device__ inline Lanes<V> operator op(const Lanes<V> &a, float b) {         \
    return a op splat<V>(b);                                                   \
  }
XL_LANES_OPERATOR(+)
XL_LANES_OPERATOR(-)
XL_LANES_OPERATOR(*)
#undef XL_LANES_OPERATOR

// f of every lane.
template <int V, class F>
__device__ inline Lanes<V> map(const Lanes<V> &x, F f) {
  Lanes<V> y;
#pragma unroll
  for (int l = 0; l < V; l++) y[l] = f(x[l]);
  return y;
}

template <int V>
__device__ inline Lanes<V> load(const float *p) {
  Lanes<V> y;
  if constexpr (V == 1) {
    y[0] = *p;
  } else {
#pragma unroll
    for (int l = 0; l < V; l += 4) *reinterpret_cast<float4 *>(y.v + l) = *reinterpret_cast<const float4 *>(p + l);
  }
  return y;
}

template <int V>
__device__ inline Lanes<V> load(const bf16 *p) {
  Lanes<V> y;
  if constexpr (V == 1) {
    y[0] = __bfloat162float(*p);
  } else {
    static_assert(V % 8 == 0 || V == 4, "16 or 8 bytes");
    alignas(16) uint32_t words[V / 2];
    if constexpr (V == 4) {
      *reinterpret_cast<uint2 *>(words) = *reinterpret_cast<const uint2 *>(p);
    } else {
#pragma unroll
      for (int w = 0; w < V / 2; w += 4)
        *reinterpret_cast<uint4 *>(words + w) = *reinterpret_cast<const uint4 *>(p + 2 * w);
    }
#pragma unroll
    for (int w = 0; w < V / 2; w++) {
      y[2 * w] = __uint_as_float(words[w] << 16);
      y[2 * w + 1] = __uint_as_float(words[w] & 0xffff0000u);
    }
  }
  return y;
}

template <int V>
__device__ inline void store(float *p, const Lanes<V> &x) {
  if constexpr (V == 1) {
    *p = x[0];
  } else {
#pragma unroll
    for (int l = 0; l < V; l += 4) *reinterpret_cast<float4 *>(p + l) = *reinterpret_cast<const float4 *>(x.v + l);
  }
}

template <int V>
__device__ inline void store(bf16 *p, const Lanes<V> &x) {
  if constexpr (V == 1) {
    *p = __float2bfloat16_rn(x[0]);
  } else {
    alignas(16) __nv_bfloat162 pairs[V / 2];
#pragma unroll
    for (int w = 0; w < V / 2; w++) pairs[w] = __floats2bfloat162_rn(x[2 * w], x[2 * w + 1]);
    if constexpr (V == 4) {
      *reinterpret_cast<uint2 *>(p) = *reinterpret_cast<const uint2 *>(pairs);
    } else {
#pragma unroll
      for (int w = 0; w < V / 2; w += 4)
        *reinterpret_cast<uint4 *>(p + 2 * w) = *reinterpret_cast<const uint4 *>(pairs + w);
    }
  }
}

// V elements as they are stored: 16 bytes of bfloat16 take four registers, not eight.
template <int V, class T>
struct Stored {
  Lanes<V> value;
  __device__ void read(const T *p) { value = load<V>(p); }
  __device__ Lanes<V> lanes() const { return value; }
};
template <>
struct Stored<8, bf16> {
  uint4 bits;
  __device__ void read(const bf16 *p) { bits = *reinterpret_cast<const uint4 *>(p); }
  __device__ Lanes<8> lanes() const {
    const uint32_t words[] = {bits.x, bits.y, bits.z, bits.w};
    Lanes<8> y;
#pragma unroll
    for (int w = 0; w < 4; w++) {
      y[2 * w] = __uint_as_float(words[w] << 16);
      y[2 * w + 1] = __uint_as_float(words[w] & 0xffff0000u);
    }
    return y;
  }
};

// to += x
template <int V, class T>
__device__ inline void add(T *to, const Lanes<V> &x) {
  store(to, load<V>(to) + x);
}

// The same, or to = x where it is known to be zero.
template <int V, class T>
__device__ inline void add(T *to, const Lanes<V> &x, bool is_zero) {
  store(to, is_zero ? x : load<V>(to) + x);
}

// Elements of T in 16 bytes.
template <class T>
constexpr int lanes_of = 16 / sizeof(T);

// Whether vectors of 16 bytes may be read at all of these addresses (null ones do not matter).
inline bool is_aligned() { return true; }
template <class... Rest>
bool is_aligned(const void *first, Rest... rest) {
  return reinterpret_cast<uintptr_t>(first) % 16 == 0 && is_aligned(rest...);
}

// Runs op.at<V>(n) for n = 0, V, 2 V, ... and op.at<1>(n) for what is left of N elements.
template <int V, class Op>
__global__ void __launch_bounds__(256) each_kernel(const Op op, int64_t N) {
  const int64_t vectors = N / V, index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index < vectors) op.template at<V>(index * V);
  if constexpr (V > 1) {
    const int64_t tail = vectors * V + (index - vectors);
    if (index >= vectors && tail < N) op.template at<1>(tail);
  }
}

// The elementwise kernel of `op` over N elements, by vectors of V where `aligned`.
template <int V, class Op>
int each(const char *name, const Op &op, int64_t N, bool aligned) {
  if (N <= 0) return XL_OK;
  if (aligned) {
    const int64_t threads = N / V + N % V;
    each_kernel<V><<<unsigned(ceil_div(threads, 256)), 256, 0, stream()>>>(op, N);
  } else {
    each_kernel<1><<<unsigned(ceil_div(N, 256)), 256, 0, stream()>>>(op, N);
  }
  return launched(name);
}

}  // namespace xl
#endif
