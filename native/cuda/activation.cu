// Activations, gated activations and the soft cap. Bound by memory; bytes per element in float32, half in bfloat16:
// activation 8 forward, 16 backward; gated activation 12 and 28, 20 where the gradients were zero; soft cap 8 and 16.
#include "activation.cuh"

#include "deferred.h"

using namespace xl;

namespace {

template <class T>
struct Activate {
  T *y;
  const T *x;
  int activation;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, activate<sizeof(T) == 2>(load<V>(x + n), activation));
  }
};

template <class T>
int activation_forward(const char *name, T *y, const T *x, int64_t N, int activation) {
  if (int status = check_activation(name, activation)) return status;
  return each<lanes_of<T>>(name, Activate<T>{y, x, activation}, N, is_aligned(y, x));
}

// y = activation(x)
template <class T>
struct ActivateBackward {
  T *dx;
  const T *dy, *x;
  int activation;
  template <int V>
  __device__ void at(int64_t n) const {
    add(dx + n, load<V>(dy + n) * activate_derivative<sizeof(T) == 2>(load<V>(x + n), activation));
  }
};

template <class T>
int activation_backward(const char *name, T *dx, const T *dy, const T *x, int64_t N, int activation) {
  if (int status = check_activation(name, activation)) return status;
  return each<lanes_of<T>>(name, ActivateBackward<T>{dx, dy, x, activation}, N, is_aligned(dx, dy, x));
}

template <class T>
struct GatedActivate {
  T *y;
  const T *gate, *up;
  int activation;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, activate<sizeof(T) == 2>(load<V>(gate + n), activation) * load<V>(up + n));
  }
};

template <class T>
int gated_forward(const char *name, T *y, const T *gate, const T *up, int64_t N, int activation) {
  if (int status = check_activation(name, activation)) return status;
  return each<lanes_of<T>>(name, GatedActivate<T>{y, gate, up, activation}, N, is_aligned(y, gate, up));
}

// y = activation(gate) * up
template <class T>
struct GatedActivateBackward {
  T *dgate, *dup;
  const T *dy, *gate, *up;
  int activation;
  bool gate_is_zero, up_is_zero;
  template <int V>
  __device__ void at(int64_t n) const {
    const Lanes<V> g = load<V>(dy + n), x = load<V>(gate + n);
    add(dgate + n, g * load<V>(up + n) * activate_derivative<sizeof(T) == 2>(x, activation), gate_is_zero);
    add(dup + n, g * activate<sizeof(T) == 2>(x, activation), up_is_zero);
  }
};

template <class T>
int gated_backward(const char *name, T *dgate, T *dup, const T *dy, const T *gate, const T *up, int64_t N,
                   int activation) {
  if (int status = check_activation(name, activation)) return status;
  const int64_t bytes = int64_t(sizeof(T)) * N;
  const bool gate_is_zero = claim_zeros(dgate, bytes), up_is_zero = claim_zeros(dup, bytes);
  return each<lanes_of<T>>(
      name, GatedActivateBackward<T>{dgate, dup, dy, gate, up, activation, gate_is_zero, up_is_zero}, N,
      is_aligned(dgate, dup, dy, gate, up));
}

template <class T>
struct SoftCap {
  T *y;
  const T *x;
  float cap;
  template <int V>
  __device__ void at(int64_t n) const {
    store(y + n, map(load<V>(x + n), [this](float a) { return cap * tanhf(a / cap); }));
  }
};

// y = cap * tanh(x / cap), so dy/dx = 1 - (y / cap)^2 without its cancellation.
template <class T>
struct SoftCapBackward {
  T *dx;
  const T *dy, *y;
  float cap;
  template <int V>
  __device__ void at(int64_t n) const {
    add(dx + n, load<V>(dy + n) * map(load<V>(y + n), [this](float a) { return ((cap - a) / cap) * ((cap + a) / cap); }));
  }
};

int check_cap(const char *name, float cap) {
  return cap > 0 ? XL_OK : fail(XL_INVALID, "%s: cap must be positive, got %g", name, double(cap));
}

template <class T>
int soft_cap_forward(const char *name, T *y, const T *x, int64_t N, float cap) {
  if (int status = check_cap(name, cap)) return status;
  return each<lanes_of<T>>(name, SoftCap<T>{y, x, cap}, N, is_aligned(y, x));
}

template <class T>
int soft_cap_backward(const char *name, T *dx, const T *dy, const T *y, int64_t N, float cap) {
  if (int status = check_cap(name, cap)) return status;
  return each<lanes_of<T>>(name, SoftCapBackward<T>{dx, dy, y, cap}, N, is_aligned(dx, dy, y));
}

}  // namespace

extern "C" {

int xl_activation_forward(float *y, const float *x, int64_t N, int32_t activation) {
  return activation_forward("activation_forward", y, x, N, activation);
}
XL_API int xl_activation_forward_bf16(bf16 *y, const bf16 *x, int64_t N, int32_t activation) {
  return activation_forward("activation_forward_bf16", y, x, N, activation);
}
int xl_activation_backward(float *dx, const float *dy, const float *x, int64_t N, int32_t activation) {
  return activation_backward("activation_backward", dx, dy, x, N, activation);
}
XL_API int xl_activation_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, int64_t N, int32_t activation) {
  return activation_backward("activation_backward_bf16", dx, dy, x, N, activation);
}

int xl_gated_activation_forward(float *y, const float *gate, const float *up, int64_t N, int32_t activation) {
  if (check_activation("gated_activation_forward", activation) == XL_OK &&
      defer_gated_activation(y, gate, up, N, activation))
    return XL_OK;
  return gated_forward("gated_activation_forward", y, gate, up, N, activation);
}
XL_API int xl_gated_activation_forward_bf16(bf16 *y, const bf16 *gate, const bf16 *up, int64_t N, int32_t activation) {
  return gated_forward("gated_activation_forward_bf16", y, gate, up, N, activation);
}
int xl_gated_activation_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                                 int64_t N, int32_t activation) {
  return gated_backward("gated_activation_backward", dgate, dup, dy, gate, up, N, activation);
}
XL_API int xl_gated_activation_backward_bf16(bf16 *dgate, bf16 *dup, const bf16 *dy, const bf16 *gate, const bf16 *up,
                                             int64_t N, int32_t activation) {
  return gated_backward("gated_activation_backward_bf16", dgate, dup, dy, gate, up, N, activation);
}

int xl_soft_cap_forward(float *y, const float *x, int64_t N, float cap) {
  return defer_soft_cap(y, x, N, cap) ? XL_OK : soft_cap_forward("soft_cap_forward", y, x, N, cap);
}
XL_API int xl_soft_cap_forward_bf16(bf16 *y, const bf16 *x, int64_t N, float cap) {
  return soft_cap_forward("soft_cap_forward_bf16", y, x, N, cap);
}
int xl_soft_cap_backward(float *dx, const float *dy, const float *y, int64_t N, float cap) {
  return soft_cap_backward("soft_cap_backward", dx, dy, y, N, cap);
}
XL_API int xl_soft_cap_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *y, int64_t N, float cap) {
  return soft_cap_backward("soft_cap_backward_bf16", dx, dy, y, N, cap);
}

}  // extern "C"
