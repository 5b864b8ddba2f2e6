// Causal depthwise convolution over time with state and resets, forward and backward, up to any number of taps.
//
// Bytes per element in float32, half in bfloat16: forward 8. Backward in three passes over [B,T,D]: the gradient of the
// pre-activation goes to the workspace (12: x, dy read, dsum written in float32), dx gathers it (12), the taps' gradient
// sums it (8). A thread has one channel, or a vector of them, and walks back from a step until a reset.
#include "activation.cuh"
#include "reduce.cuh"

using namespace xl;

namespace {

constexpr int STEPS = 16;  // steps of one thread, which share what the caches hold

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
    const int64_t pieces = ceil_div(T > 0 ? T : 1, STEPS);
    d = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * V;
    b = blockIdx.x / pieces;
    begin = blockIdx.x % pieces * STEPS;
    end = begin + STEPS < T ? begin + STEPS : T;
  }
};

// With TAPS > 0 the last inputs and the taps are in registers.
template <class T, int V, int TAPS>
__global__ void __launch_bounds__(128) forward_kernel(T *y, const Conv<T> conv) {
  const Place at(conv.T_, V);
  if (at.d >= conv.D) return;
  if constexpr (TAPS > 0) {
    Lanes<V> window[TAPS], taps[TAPS];
    const Lanes<V> bias = conv.bias ? load<V>(conv.bias + at.d) : splat<V>(0);
#pragma unroll
    for (int j = 0; j < TAPS; j++) taps[j] = conv.template tap<V>(j, at.d), window[j] = splat<V>(0);
#pragma unroll
    for (int j = 1; j < TAPS; j++) {
      const int64_t s = at.begin - TAPS + j;
      if (conv.resets(at.b, s))
#pragma unroll
        for (int i = 0; i < TAPS; i++) window[i] = splat<V>(0);
      window[j] = conv.template input<V>(at.b, s, at.d);
    }
#pragma unroll 4
    for (int64_t t = at.begin; t < at.end; t++) {
#pragma unroll
      for (int j = 0; j < TAPS - 1; j++) window[j] = window[j + 1];
      if (conv.resets(at.b, t))
#pragma unroll
        for (int j = 0; j < TAPS - 1; j++) window[j] = splat<V>(0);
      window[TAPS - 1] = load<V>(conv.x + (at.b * conv.T_ + t) * conv.D + at.d);
      Lanes<V> total = bias;
#pragma unroll
      for (int j = 0; j < TAPS; j++) total = total + taps[j] * window[j];
      store(y + (at.b * conv.T_ + t) * conv.D + at.d, activate(total, conv.activation));
    }
  } else {
    for (int64_t t = at.begin; t < at.end; t++)
      store(y + (at.b * conv.T_ + t) * conv.D + at.d,
            activate(conv.template sum<V>(at.b, t, at.d), conv.activation));
  }
}

// state_out[j] = input(T - (K-1) + j), 0 where a reset lies after it.
template <class T>
__global__ void __launch_bounds__(128) state_kernel(float *state_out, const Conv<T> conv) {
  const int64_t d = int64_t(blockIdx.y) * 128 + threadIdx.x, b = blockIdx.x;
  if (d >= conv.D) return;
  bool hidden = false;
  for (int64_t j = conv.K - 2; j >= 0; j--) {
    const int64_t s = conv.T_ - (conv.K - 1) + j;
    state_out[(b * (conv.K - 1) + j) * conv.D + d] = hidden ? 0.0f : conv.template input<1>(b, s, d)[0];
    hidden = hidden || conv.resets(b, s);
  }
}

// dsum = dy * activation'(sum)
template <class T, int V>
__global__ void __launch_bounds__(128) dsum_kernel(float *dsum, const T *dy, const Conv<T> conv) {
  const Place at(conv.T_, V);
  if (at.d >= conv.D) return;
  for (int64_t t = at.begin; t < at.end; t++) {
    const int64_t e = (at.b * conv.T_ + t) * conv.D + at.d;
    store(dsum + e, load<V>(dy + e) * activate_derivative(conv.template sum<V>(at.b, t, at.d), conv.activation));
  }
}

// What input(s) gets: from the steps that see it and from the state that it stays in.
template <class T, int V>
__device__ Lanes<V> input_gradient(const Conv<T> &conv, const float *dsum, const float *dstate_out, int64_t b,
                                   int64_t s, int64_t d) {
  Lanes<V> total = splat<V>(0);
  bool hidden = false;
  for (int64_t ahead = 0; ahead < conv.K && s + ahead < conv.T_ && !hidden; ahead++) {
    if (s + ahead < 0) continue;
    if (ahead > 0 && conv.resets(b, s + ahead)) hidden = true;
    if (!hidden)
      total = total + conv.template tap<V>(conv.K - 1 - ahead, d) * load<V>(dsum + (b * conv.T_ + s + ahead) * conv.D + d);
  }
  // state_out[j] = input(T - (K-1) + j)
  const int64_t j = s - conv.T_ + conv.K - 1;
  if (dstate_out && j >= 0 && !hidden) total = total + load<V>(dstate_out + (b * (conv.K - 1) + j) * conv.D + d);
  return total;
}

template <class T, int V>
__global__ void __launch_bounds__(128)
    dx_kernel(T *dx, const float *dsum, const float *dstate_out, const Conv<T> conv) {
  const Place at(conv.T_, V);
  if (at.d >= conv.D) return;
  for (int64_t t = at.begin; t < at.end; t++)
    add(dx + (at.b * conv.T_ + t) * conv.D + at.d,
        input_gradient<T, V>(conv, dsum, dstate_out, at.b, t, at.d));
}

template <class T>
__global__ void __launch_bounds__(128)
    dstate_kernel(float *dstate_in, const float *dsum, const float *dstate_out, const Conv<T> conv) {
  const int64_t d = int64_t(blockIdx.y) * 128 + threadIdx.x, b = blockIdx.x;
  if (d >= conv.D) return;
  for (int64_t j = 0; j < conv.K - 1; j++)
    add(dstate_in + (b * (conv.K - 1) + j) * conv.D + d,
        input_gradient<T, 1>(conv, dsum, dstate_out, b, j - (conv.K - 1), d));
}

// Partial sums of one tap's gradient over some rows (b,t), and of the bias's, which is tap K.
template <class T>
__global__ void __launch_bounds__(128)
    dweight_kernel(float *partials, const float *dsum, const Conv<T> conv, int64_t rows) {
  const int64_t d = int64_t(blockIdx.x) * 128 + threadIdx.x, j = blockIdx.z;
  if (d >= conv.D) return;
  const int64_t all = conv.B * conv.T_, begin = blockIdx.y * rows, end = begin + rows < all ? begin + rows : all;
  const int64_t back = conv.K - 1 - j;
  float total = 0;
  for (int64_t row = begin; row < end; row++) {
    const int64_t b = row / conv.T_, t = row % conv.T_;
    bool hidden = false;
    for (int64_t s = t; s > t - back; s--) hidden = hidden || conv.resets(b, s);
    if (j == conv.K)
      total += dsum[row * conv.D + d];
    else if (!hidden)
      total += dsum[row * conv.D + d] * conv.template input<1>(b, t - back, d)[0];
  }
  if (j == conv.K)
    partials[(int64_t(gridDim.y) * conv.K + blockIdx.y) * conv.D + d] = total;
  else
    partials[(blockIdx.y * conv.D + d) * conv.K + j] = total;
}

template <class T>
int check_conv(const char *name, const Conv<T> &conv) {
  if (int status = check_activation(name, conv.activation)) return status;
  if (conv.K >= 1 && conv.D >= 1) return XL_OK;
  return fail(XL_INVALID, "%s: K and D must be positive, got K=%lld D=%lld", name, (long long)conv.K,
              (long long)conv.D);
}

// Blocks of threads for all channels and all pieces of time.
dim3 grid_of(int64_t B, int64_t T, int64_t D, int V) {
  return {unsigned(B * ceil_div(T, STEPS)), unsigned(ceil_div(D, 128 * V)), 1};
}

template <class T>
int forward(const char *name, T *y, float *state_out, const Conv<T> &conv) {
  if (int status = check_conv(name, conv)) return status;
  const auto [x, weight, bias, state_in, reset, B, steps, D, K, activation] = conv;
  if (B <= 0) return XL_OK;
  constexpr int V = 4;
  const bool aligned = is_aligned(y, x, bias, state_in) && D % (16 / sizeof(T)) == 0;
  if (steps > 0) {
    if (aligned && K == 4)
      forward_kernel<T, V, 4><<<grid_of(B, steps, D, V), 128, 0, stream()>>>(y, conv);
    else if (aligned)
      forward_kernel<T, V, 0><<<grid_of(B, steps, D, V), 128, 0, stream()>>>(y, conv);
    else
      forward_kernel<T, 1, 0><<<grid_of(B, steps, D, 1), 128, 0, stream()>>>(y, conv);
  }
  if (state_out && K > 1)
    state_kernel<T><<<dim3(unsigned(B), unsigned(ceil_div(D, 128))), 128, 0, stream()>>>(state_out, conv);
  return launched(name);
}

template <class T>
int backward(const char *name, T *dx, float *dweight, float *dbias, float *dstate_in, const T *dy,
             const float *dstate_out, const Conv<T> &conv) {
  if (int status = check_conv(name, conv)) return status;
  const auto [x, weight, bias, state_in, reset, B, steps, D, K, activation] = conv;
  if (B <= 0) return XL_OK;
  const int64_t all = B * steps, across = ceil_div(D, 128);
  const int64_t rows = ceil_div(all > 0 ? all : 1, 512 / across + 1), parts = ceil_div(all, rows);
  const int64_t sums = round_up(all * D, 4);
  auto *dsum = static_cast<float *>(scratch(4 * (sums + parts * (K + 1) * D)));
  if (!dsum) return XL_OUT_OF_MEMORY;
  float *partials = dsum + sums;
  const dim3 per_sequence{unsigned(B), unsigned(across)};
  if (steps > 0) {
    if (is_aligned(dx, dy, x, bias, state_in, dstate_out) && D % (16 / sizeof(T)) == 0) {
      dsum_kernel<T, 4><<<grid_of(B, steps, D, 4), 128, 0, stream()>>>(dsum, dy, conv);
      dx_kernel<T, 4><<<grid_of(B, steps, D, 4), 128, 0, stream()>>>(dx, dsum, dstate_out, conv);
    } else {
      dsum_kernel<T, 1><<<grid_of(B, steps, D, 1), 128, 0, stream()>>>(dsum, dy, conv);
      dx_kernel<T, 1><<<grid_of(B, steps, D, 1), 128, 0, stream()>>>(dx, dsum, dstate_out, conv);
    }
  }
  if (dstate_in && K > 1) dstate_kernel<T><<<per_sequence, 128, 0, stream()>>>(dstate_in, dsum, dstate_out, conv);
  if (steps > 0) {
    const dim3 grid{unsigned(across), unsigned(parts), unsigned(K + (dbias ? 1 : 0))};
    dweight_kernel<T><<<grid, 128, 0, stream()>>>(partials, dsum, conv, rows);
    if (int status = add_partials(name, dweight, partials, parts, K * D)) return status;
    if (dbias)
      if (int status = add_partials(name, dbias, partials + parts * K * D, parts, D)) return status;
  }
  return launched(name);
}

}  // namespace

extern "C" {

int xl_conv1d_forward(float *y, float *state_out, const float *x, const float *weight, const float *bias,
                      const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t K,
                      int32_t activation) {
  return forward<float>("conv1d_forward", y, state_out,
                        {x, weight, bias, state_in, reset, B, T, D, K, activation});
}
XL_API int xl_conv1d_forward_bf16(bf16 *y, float *state_out, const bf16 *x, const float *weight, const float *bias,
                                  const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D,
                                  int64_t K, int32_t activation) {
  return forward<bf16>("conv1d_forward_bf16", y, state_out,
                       {x, weight, bias, state_in, reset, B, T, D, K, activation});
}
int xl_conv1d_backward(float *dx, float *dweight, float *dbias, float *dstate_in, const float *dy,
                       const float *dstate_out, const float *x, const float *weight, const float *bias,
                       const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t K,
                       int32_t activation) {
  return backward<float>("conv1d_backward", dx, dweight, dbias, dstate_in, dy, dstate_out,
                         {x, weight, bias, state_in, reset, B, T, D, K, activation});
}
XL_API int xl_conv1d_backward_bf16(bf16 *dx, float *dweight, float *dbias, float *dstate_in, const bf16 *dy,
                                   const float *dstate_out, const bf16 *x, const float *weight, const float *bias,
                                   const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D,
                                   int64_t K, int32_t activation) {
  return backward<bf16>("conv1d_backward_bf16", dx, dweight, dbias, dstate_in, dy, dstate_out,
                        {x, weight, bias, state_in, reset, B, T, D, K, activation});
}

}  // extern "C"
