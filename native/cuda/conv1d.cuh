// The causal depthwise convolution as its kernels see it: inputs, taps, resets, and which thread has what.
#ifndef XL_CUDA_CONV1D_CUH
#define XL_CUDA_CONV1D_CUH
#include "activation.cuh"

namespace xl {

constexpr int CONV_STEPS = 32;  // of one thread; its neighbours in time read the last inputs again

template <class T>
struct Conv {
  const T *x;
  const float *weight, *bias, *state_in;
  const uint8_t *reset;
  int64_t B, T_, D, K;
  int activation;

  // Input at time s of sequence b, -(K-1) <= s.
  template <int V>
  __device__ Lanes<V> input(int64_t b, int64_t s, int64_t d) const {
    if (s >= 0) return load<V>(x + (b * T_ + s) * D + d);
    return state_in ? load<V>(state_in + (b * (K - 1) + s + K - 1) * D + d) : splat<V>(0);
  }
  // Tap j of V channels.
  template <int V>
  __device__ Lanes<V> tap(int64_t j, int64_t d) const {
    Lanes<V> w;
#pragma unroll
    for (int l = 0; l < V; l++) w[l] = weight[(d + l) * K + j];
    return w;
  }
  __device__ bool resets(int64_t b, int64_t s) const { return s >= 0 && reset && reset[b * T_ + s]; }

  template <int V>
  __device__ Lanes<V> activate(const Lanes<V> &sum) const {
    if (activation != XL_ACT_SILU) return sum;
    return sizeof(T) == 2 ? map(sum, rough_silu) : map(sum, silu);
  }
  template <int V>
  __device__ Lanes<V> derivative(const Lanes<V> &sum) const {
    if (activation != XL_ACT_SILU) return splat<V>(1);
    return sizeof(T) == 2 ? map(sum, rough_silu_derivative) : map(sum, silu_derivative);
  }

  // bias + sum_j weight[j] input(t - (K-1) + j), back to the last reset.
  template <int V>
  __device__ Lanes<V> sum(int64_t b, int64_t t, int64_t d) const {
    Lanes<V> total = bias ? load<V>(bias + d) : splat<V>(0);
    for (int64_t back = 0; back < K; back++) {
      total = total + tap<V>(K - 1 - back, d) * input<V>(b, t - back, d);
      if (resets(b, t - back)) break;
    }
    return total;
  }
};

// Channel d and sequence b of a thread; blockIdx.x holds the sequence and the piece of time.
struct Place {
  int64_t d, b, begin, end;
  __device__ Place(int64_t T, int V) {
    const int64_t pieces = ceil_div(T > 0 ? T : 1, CONV_STEPS);
    d = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * V;
    b = blockIdx.x / pieces;
    begin = blockIdx.x % pieces * CONV_STEPS;
    end = begin + CONV_STEPS < T ? begin + CONV_STEPS : T;
  }
};

template <class T>
int check_conv(const char *name, const Conv<T> &conv) {
  if (conv.activation != XL_ACT_NONE && conv.activation != XL_ACT_SILU)
    return fail(XL_INVALID, "%s: activation must be none or silu, got %d", name, conv.activation);
  if (conv.K >= 1 && conv.D >= 1) return XL_OK;
  return fail(XL_INVALID, "%s: K and D must be positive, got K=%lld D=%lld", name, (long long)conv.K,
              (long long)conv.D);
}

// Blocks of threads for all channels and all pieces of time.
inline dim3 grid_of(int64_t B, int64_t T, int64_t D, int V) {
  return {unsigned(B * ceil_div(T, CONV_STEPS)), unsigned(ceil_div(D, 128 * V)), 1};
}

}  // namespace xl
#endif
