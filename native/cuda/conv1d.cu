// Causal depthwise convolution over time with state and resets, any number of taps. Bytes per element: 8 in float32, 4 in
// bfloat16. A thread has a vector of channels and some steps; with four taps, the usual number, the last inputs stay in
// registers, else it walks back from each step until a reset.
#include "conv1d.cuh"

using namespace xl;

namespace {

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
    constexpr int AHEAD = 4;  // steps whose loads are in flight together
    for (int64_t first = at.begin; first < at.end; first += AHEAD) {
      Lanes<V> next[AHEAD];
#pragma unroll
      for (int k = 0; k < AHEAD; k++) {
        const int64_t t = first + k < at.end ? first + k : at.end - 1;
        next[k] = load<V>(conv.x + (at.b * conv.T_ + t) * conv.D + at.d);
      }
#pragma unroll
      for (int k = 0; k < AHEAD; k++) {
        const int64_t t = first + k;
        if (t >= at.end) break;
        const bool is_reset = conv.resets(at.b, t);
#pragma unroll
        for (int j = 0; j < TAPS - 1; j++) window[j] = window[j + 1];
        if (is_reset)
#pragma unroll
          for (int j = 0; j < TAPS - 1; j++) window[j] = splat<V>(0);
        window[TAPS - 1] = next[k];
        Lanes<V> total = bias;
#pragma unroll
        for (int j = 0; j < TAPS; j++) total = total + taps[j] * window[j];
        store(y + (at.b * conv.T_ + t) * conv.D + at.d, conv.activate(total));
      }
    }
  } else {
    for (int64_t t = at.begin; t < at.end; t++)
      store(y + (at.b * conv.T_ + t) * conv.D + at.d,
            conv.activate(conv.template sum<V>(at.b, t, at.d)));
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

template <class T>
int forward(const char *name, T *y, float *state_out, const Conv<T> &conv) {
  if (int status = check_conv(name, conv)) return status;
  const auto [x, weight, bias, state_in, reset, B, steps, D, K, activation] = conv;
  if (B <= 0) return XL_OK;
  constexpr int V = lanes_of<T>;
  const bool aligned = is_aligned(y, x, bias, state_in) && D % V == 0;
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
}  // extern "C"
