// Elementary functions on vectors of any width: exp, log, sigmoid, tanh, SiLU, GELU and what their gradients need.
// It holds no loops over arrays.
//
// The polynomials are our own minimax fits, printed by native/tools/fit_vmath.py. The errors stated are the largest
// ones against float64 over all floats and instruction sets, as native/test/vmath_error.cpp measures them; 1 ulp is the
// distance of neighbouring floats at the true value. NaN gives NaN and infinities give the limit. Results below the
// smallest normal number (1.2e-38) become 0 where the machine flushes them.
#ifndef XL_CPU_VMATH_H
#define XL_CPU_VMATH_H
#include "vec.h"

namespace XL_NS {
namespace {

// ---- bits ----

XL_INLINE vi bits_of(vf x) { return (vi)x; }
XL_INLINE vf of_bits(vi x) { return (vf)x; }
// x in [low, high]; NaN stays NaN.
XL_INLINE vf vclamp(vf x, float low, float high) { return vmin(splat(high), vmax(splat(low), x)); }
// |magnitude| with the sign of `sign`.
XL_INLINE vf vcopysign(vf magnitude, vf sign) {
  return of_bits((bits_of(magnitude) & 0x7fffffff) | (bits_of(sign) & (int32_t)0x80000000));
}

// ---- exp ----

// Adding 1.5 * 2^23 rounds to an integer n and leaves n in the low bits of the sum.
constexpr float ROUND = 12582912.0f;
constexpr int32_t ROUND_BITS = 0x4b400000;
constexpr float LOG2_E = 1.44269504f;
// log 2 in two parts; the first has 9 bits, so that n times it is exact.
constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
constexpr float LN2 = 0.693147181f;

// e^r - 1 for |r| <= log(2) / 2, relatively accurate to 1e-8 plus rounding: r + r^2 P(r).
XL_INLINE vf expm1_reduced(vf r) {
  vf p = 0.00138706958f * r + 0.00836627185f;
  p = p * r + 0.0416674353f;
  p = p * r + 0.166665465f;
  p = p * r + 0.49999997f;
  return (r * r) * p + r;
}

// e^(n log 2 + r) for n = shifted - ROUND and r as above; n from -150 to 129.
XL_INLINE vf exp_join(vf shifted, vf r) {
  const vf p = expm1_reduced(r) + 1.0f;
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_scalef_ps((__mmask16)-1, (__m512)p, (__m512)(shifted - ROUND));
#else
  // 2^n in two factors, since n may lie outside the exponents of normal numbers.
  const vi n = bits_of(shifted) - ROUND_BITS, half = n >> 1;
  return (p * of_bits((half + 127) << 23)) * of_bits((n - half + 127) << 23);
#endif
}

// e^x for -104 <= x <= 89.
XL_INLINE vf exp_bounded(vf x) {
  const vf shifted = x * LOG2_E + ROUND;
  const vf n = shifted - ROUND;
  return exp_join(shifted, (x - n * LN2_HIGH) - n * LN2_LOW);
}

// e^(high + low) for a |low| far below |high|, -104 <= high <= 89.
XL_INLINE vf exp_sum(vf high, vf low) {
  const vf shifted = (high + low) * LOG2_E + ROUND;
  const vf n = shifted - ROUND;
  return exp_join(shifted, ((high - n * LN2_HIGH) + low) - n * LN2_LOW);
}

// e^x within 1.1 ulp.
XL_INLINE vf vexp(vf x) { return exp_bounded(vclamp(x, -104.0f, 89.0f)); }

// ---- logarithms ----

// log(1 + f) for sqrt(1/2) - 1 <= f <= sqrt(2) - 1: f - f^2/2 + f^3 P(f).
XL_INLINE vf log1p_reduced(vf f) {
  vf p = -0.0763639957f * f + 0.127621993f;
  p = p * f - 0.131596133f;
  p = p * f + 0.142015815f;
  p = p * f - 0.166234091f;
  p = p * f + 0.200012416f;
  p = p * f - 0.250008196f;
  p = p * f + 0.333333313f;
  p = p * f - 0.5f;
  return (f * f) * p + f;
}

// log(x) within 1 ulp; log(0) = -inf, and NaN below.
XL_INLINE vf vlog(vf x) {
  constexpr float INF = __builtin_inff();
  // The exponent that leaves a mantissa in [sqrt(1/2), sqrt(2)).
  const vi k = (bits_of(x) - 0x3f3504f3) >> 23;
  const vf n = __builtin_convertvector(k, vf);
  const vf f = of_bits(bits_of(x) - (k << 23)) - 1.0f;
  vf y = n * LN2_HIGH + (n * LN2_LOW + log1p_reduced(f));
  y = select(x < 1.17549435e-38f, splat(-INF), y);
  y = select(x < 0.0f, splat(__builtin_nanf("")), y);
  return select((x == INF) | (x != x), x, y);
}

// log(1 + e) for 0 <= e <= 1, relatively accurate.
XL_INLINE vf log1p_unit(vf e) {
  const vi large = e > 0.41421356f;
  return log1p_reduced(select(large, (e - 1.0f) * 0.5f, e)) + select(large, splat(LN2), splat(0.0f));
}

// log(sigmoid(x)) = min(x, 0) - log(1 + e^-|x|) within 2 ulp.
XL_INLINE vf vlogsigmoid(vf x) {
  const vf e = exp_bounded(vclamp(-vabs(x), -104.0f, 0.0f));
  return select(x > 0.0f, splat(0.0f), x) - log1p_unit(e);
}

// ---- sigmoid, tanh, SiLU ----

// 1 / (1 + e^-x) within 2.5 ulp.
XL_INLINE vf vsigmoid(vf x) { return 1.0f / (1.0f + vexp(-x)); }

// tanh(x) = E / (E + 2), E = e^2|x| - 1, within 2.6 ulp.
XL_INLINE vf vtanh(vf x) {
  const vf y = 2.0f * vclamp(vabs(x), 0.0f, 10.0f);  // tanh(10) rounds to 1
  const vf shifted = y * LOG2_E + ROUND;
  const vf n = shifted - ROUND;
  const vf q = expm1_reduced((y - n * LN2_HIGH) - n * LN2_LOW);
  // 2^n (1 + q) - 1 without cancellation: 2^n - 1 is exact or far larger than what it loses.
  const vf power = of_bits((bits_of(shifted) - ROUND_BITS + 127) << 23);
  const vf e = power * q + (power - 1.0f);
  return vcopysign(e / (e + 2.0f), x);
}

// x sigmoid(x) within 2.6 ulp; 0 below -88, where it is smaller than 1e-36.
XL_INLINE vf vsilu(vf x) { return select(x < -200.0f, splat(-0.0f), x) / (1.0f + vexp(-x)); }

// d/dx of x sigmoid(x) = s (1 + x (1 - s)). It has a root at -1.278; within 3e-7 absolutely.
XL_INLINE vf vsilu_derivative(vf x) {
  const vi positive = x > 0.0f;
  const vf e = exp_bounded(vclamp(-vabs(x), -104.0f, 0.0f));
  const vf larger = 1.0f / (1.0f + e), smaller = e * larger;
  const vf s = select(positive, larger, smaller), complement = select(positive, smaller, larger);
  return s * (1.0f + vclamp(x, -200.0f, 200.0f) * complement);
}

// ---- GELU ----

struct NormalTail {
  vf exponential;  // e^(-x^2/2)
  vf ratio;        // Phi(-|x|) / exponential
};

// Phi(-y) = e^(-y^2/2) P(t) / (y + 3.75) with t = (y - 3.75) / (y + 3.75), for y = |x| up to 13.5, where it underflows.
XL_INLINE NormalTail normal_tail(vf x) {
  const vf y = vclamp(vabs(x), 0.0f, 14.0f);
  // y^2 = top^2 + (y - top)(y + top), the first exact since top has 12 bits.
  const vf top = of_bits(bits_of(y) & (int32_t)0xfffff000);
  const vf inverse = 1.0f / (y + 3.75f);
  const vf t = (y - 3.75f) * inverse;
  vf p = 0.000451040571f * t + 0.000518576126f;
  p = p * t - 0.00417517545f;
  p = p * t + 0.00119233679f;
  p = p * t + 0.0374944769f;
  p = p * t - 0.151518837f;
  p = p * t + 0.352939278f;
  p = p * t - 0.58818841f;
  p = p * t + 0.750294089f;
  return {exp_sum(-0.5f * (top * top), -0.5f * ((y - top) * (y + top))), p * inverse};
}

// GELU: x Phi(x), Phi the distribution function of the standard normal, within 7 ulp (4e-7), for x < -1 within 5.
XL_INLINE vf vgelu(vf x) {
  const NormalTail tail = normal_tail(x);
  const vf positive = x * (1.0f - tail.exponential * tail.ratio);
  return select(x > 0.0f, positive, (vclamp(x, -14.0f, 0.0f) * tail.ratio) * tail.exponential);
}

// d/dx of x Phi(x) = Phi(x) + x phi(x). It has a root at -0.752; within 3e-7 absolutely.
XL_INLINE vf vgelu_derivative(vf x) {
  const NormalTail tail = normal_tail(x);
  const vf smaller = tail.exponential * tail.ratio;
  const vf density = 0.398942280f * tail.exponential;
  return select(x > 0.0f, 1.0f - smaller, smaller) + vclamp(x, -14.0f, 14.0f) * density;
}

}  // namespace
}  // namespace XL_NS
#endif
