// The elementwise functions of the contract and their derivatives in float32: right at both ends (an input of -infinity
// gives the limit, not NaN). It holds no loops over arrays.
#ifndef XL_CUDA_ACTIVATION_CUH
#define XL_CUDA_ACTIVATION_CUH
#include "lanes.cuh"

namespace xl {

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
// log(sigmoid(x)) = min(x, 0) - log(1 + e^-|x|)
__device__ inline float log_sigmoid(float x) { return fminf(x, 0.0f) - log1pf(expf(-fabsf(x))); }
// Below -200 it is smaller than any float; a NaN stays one.
__device__ inline float silu(float x) { return (x < -200.0f ? -0.0f : x) * sigmoid(x); }

// The same good to about 1e-6, which is enough for bfloat16, with the fast exponential and reciprocal.
__device__ inline float rough_sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
__device__ inline float rough_silu(float x) { return (x < -80.0f ? -0.0f : x) * rough_sigmoid(x); }
__device__ inline float rough_silu_derivative(float x) {
  const float s = rough_sigmoid(fminf(fmaxf(x, -80.0f), 80.0f));
  return s * (1.0f + fminf(fmaxf(x, -80.0f), 80.0f) * (1.0f - s));
}

// d/dx of x sigmoid(x) = s (1 + x (1 - s)), with s and 1 - s each accurate.
__device__ inline float silu_derivative(float x) {
  const float e = expf(-fabsf(x)), larger = 1.0f / (1.0f + e), smaller = e * larger;
  const float s = x > 0 ? larger : smaller, complement = x > 0 ? smaller : larger;
  return s * (1.0f + fminf(fmaxf(x, -200.0f), 200.0f) * complement);
}

__device__ inline float gelu(float x) { return (x < -20.0f ? -0.0f : x) * normcdff(x); }
// Good to 1e-7 absolutely, which is enough for bfloat16, in a third of the time.
__device__ inline float rough_normal_cdf(float x) { return 0.5f + 0.5f * erff(0.707106781f * x); }
__device__ inline float rough_gelu(float x) { return (x < -6.0f ? -0.0f : x) * rough_normal_cdf(x); }
__device__ inline float rough_gelu_derivative(float x) {
  const float y = fminf(fmaxf(x, -20.0f), 20.0f);
  return rough_normal_cdf(x) + y * (0.398942280f * expf(-0.5f * y * y));
}
__device__ inline float gelu_derivative(float x) {
  const float y = fminf(fmaxf(x, -20.0f), 20.0f);
  return normcdff(x) + y * (0.398942280f * expf(-0.5f * y * y));
}

// y = activation(x) of all lanes; `activation` is the same in all threads. ROUGH: the result is rounded to bfloat16.
template <bool ROUGH = false, int V>
__device__ Lanes<V> activate(const Lanes<V> &x, int activation) {
  switch (activation) {
    case XL_ACT_SILU: return ROUGH ? map(x, rough_silu) : map(x, silu);
    case XL_ACT_GELU: return ROUGH ? map(x, rough_gelu) : map(x, gelu);
    case XL_ACT_SIGMOID: return map(x, sigmoid);
    case XL_ACT_TANH: return map(x, [](float a) { return tanhf(a); });
    case XL_ACT_RELU: return map(x, [](float a) { return a > 0 || a != a ? a : 0.0f; });
    case XL_ACT_EXP: return map(x, [](float a) { return expf(a); });
    case XL_ACT_SOFTPLUS: return map(x, [](float a) { return -log_sigmoid(-a); });
    case XL_ACT_LOGSIGMOID: return map(x, log_sigmoid);
    case XL_ACT_ELUPLUS1: return map(x, [](float a) { return a > 0 ? a + 1.0f : expf(a); });
    case XL_ACT_RELU2: return map(x, [](float a) { return a > 0 || a != a ? a * a : 0.0f; });
    case XL_ACT_SINE: return map(x, [](float a) { return sinf(a); });
    default: return x;
  }
}

// dy/dx; 0 for relu at 0.
template <bool ROUGH = false, int V>
__device__ Lanes<V> activate_derivative(const Lanes<V> &x, int activation) {
  switch (activation) {
    case XL_ACT_SILU: return ROUGH ? map(x, rough_silu_derivative) : map(x, silu_derivative);
    case XL_ACT_GELU: return ROUGH ? map(x, rough_gelu_derivative) : map(x, gelu_derivative);
    case XL_ACT_SIGMOID: return map(x, [](float a) {
      const float e = expf(-fabsf(a)), s = 1.0f / (1.0f + e);
      return e * s * s;
    });
    case XL_ACT_TANH: return map(x, [](float a) {
      const float e = expf(-2.0f * fabsf(a)), s = 1.0f / (1.0f + e);
      return 4.0f * e * s * s;
    });
    case XL_ACT_RELU: return map(x, [](float a) { return a > 0 ? 1.0f : 0.0f; });
    case XL_ACT_EXP: return map(x, [](float a) { return expf(a); });
    case XL_ACT_SOFTPLUS: return map(x, sigmoid);
    case XL_ACT_LOGSIGMOID: return map(x, [](float a) { return sigmoid(-a); });
    case XL_ACT_ELUPLUS1: return map(x, [](float a) { return a > 0 ? 1.0f : expf(a); });
    case XL_ACT_RELU2: return map(x, [](float a) { return a > 0 ? 2.0f * a : 0.0f; });
    case XL_ACT_SINE: return map(x, [](float a) { return cosf(a); });
    default: return splat<V>(1.0f);
  }
}

inline int check_activation(const char *name, int activation) {
  if (activation >= XL_ACT_NONE && activation <= XL_ACT_SINE) return XL_OK;
  return fail(XL_INVALID, "%s: activation %d is not one of 0..%d", name, activation, int(XL_ACT_SINE));
}

}  // namespace xl
#endif
