// The activations of the contract as vector functions chosen at compile time, and the choice at run time.
// The functions themselves are in vmath.h.
#ifndef XL_CPU_ACTIVATION_H
#define XL_CPU_ACTIVATION_H
#include "complex_double.h"
#include "vmath.h"

namespace XL_NS {
namespace {

struct ValueAndDerivative {
  vf value, derivative;
};

// By way of double, where the argument is reduced without loss.
XL_INLINE ValueAndDerivative sine_both(vf x) {
  const cd low = cis_double(half_of(x, 0)), high = cis_double(half_of(x, 1));
  return {join(low.im, high.im), join(low.re, high.re)};
}

template <int A>
XL_INLINE vf activate(vf x) {
  if (A == XL_ACT_SILU) return vsilu(x);
  if (A == XL_ACT_GELU) return vgelu(x);
  if (A == XL_ACT_SIGMOID) return vsigmoid(x);
  if (A == XL_ACT_TANH) return vtanh(x);
  if (A == XL_ACT_RELU) return vmax(vf{}, x);
  if (A == XL_ACT_EXP) return vexp(x);
  if (A == XL_ACT_SOFTPLUS) return -vlogsigmoid(-x);
  if (A == XL_ACT_LOGSIGMOID) return vlogsigmoid(x);
  if (A == XL_ACT_ELUPLUS1) return select(x > 0.0f, x + 1.0f, vexp(x));
  if (A == XL_ACT_RELU2) return vmax(vf{}, x) * vmax(vf{}, x);
  if (A == XL_ACT_SINE) return sine_both(x).value;
  return x;
}

// Both at once: they share an exponential.
template <int A>
XL_INLINE ValueAndDerivative activate_both(vf x) {
  if (A == XL_ACT_SILU) return {vsilu(x), vsilu_derivative(x)};
  if (A == XL_ACT_GELU) return {vgelu(x), vgelu_derivative(x)};
  if (A == XL_ACT_SIGMOID) {
    const vf s = vsigmoid(x);
    return {s, s * vsigmoid(-x)};  // not 1 - s, which is 0 from 17 on
  }
  if (A == XL_ACT_TANH) {
    // 1 - tanh^2 without its cancellation: 4 sigmoid(2x) sigmoid(-2x)
    return {vtanh(x), 4.0f * (vsigmoid(2.0f * x) * vsigmoid(-2.0f * x))};
  }
  if (A == XL_ACT_RELU) return {vmax(vf{}, x), select(x > 0.0f, splat(1.0f), vf{})};
  if (A == XL_ACT_EXP) return {vexp(x), vexp(x)};
  if (A == XL_ACT_SOFTPLUS) return {-vlogsigmoid(-x), vsigmoid(x)};
  if (A == XL_ACT_LOGSIGMOID) return {vlogsigmoid(x), vsigmoid(-x)};
  if (A == XL_ACT_ELUPLUS1) {
    const vf e = vexp(x);
    return {select(x > 0.0f, x + 1.0f, e), select(x > 0.0f, splat(1.0f), e)};
  }
  if (A == XL_ACT_RELU2) {
    const vf positive = vmax(vf{}, x);
    return {positive * positive, 2.0f * positive};
  }
  if (A == XL_ACT_SINE) return sine_both(x);
  return {x, splat(1.0f)};
}

template <int A>
struct ActivationTag {
  static constexpr int value = A;
};

// Calls body(ActivationTag<A>()) for the A that is asked for. False if there is no such activation.
template <class Body>
XL_INLINE bool with_activation(int32_t activation, const Body &body) {
  switch (activation) {
    case XL_ACT_NONE:
      body(ActivationTag<XL_ACT_NONE>());
      return true;
    case XL_ACT_SILU:
      body(ActivationTag<XL_ACT_SILU>());
      return true;
    case XL_ACT_GELU:
      body(ActivationTag<XL_ACT_GELU>());
      return true;
    case XL_ACT_SIGMOID:
      body(ActivationTag<XL_ACT_SIGMOID>());
      return true;
    case XL_ACT_TANH:
      body(ActivationTag<XL_ACT_TANH>());
      return true;
    case XL_ACT_RELU:
      body(ActivationTag<XL_ACT_RELU>());
      return true;
    case XL_ACT_EXP:
      body(ActivationTag<XL_ACT_EXP>());
      return true;
    case XL_ACT_SOFTPLUS:
      body(ActivationTag<XL_ACT_SOFTPLUS>());
      return true;
    case XL_ACT_LOGSIGMOID:
      body(ActivationTag<XL_ACT_LOGSIGMOID>());
      return true;
    case XL_ACT_ELUPLUS1:
      body(ActivationTag<XL_ACT_ELUPLUS1>());
      return true;
    case XL_ACT_RELU2:
      body(ActivationTag<XL_ACT_RELU2>());
      return true;
    case XL_ACT_SINE:
      body(ActivationTag<XL_ACT_SINE>());
      return true;
    default:
      return false;
  }
}

inline int no_such_activation(const char *kernel, int32_t activation) {
  return xl::fail(XL_INVALID, "%s: activation must be 0 (none) to 11 (sine), got %d", kernel, (int)activation);
}

}  // namespace
}  // namespace XL_NS
#endif
