// Zero-order hold of diagonal state-space models, and the softmax form of DSS: per mode a few complex functions, in
// double, since their results are raised to high powers. The formulas are those of the reference.
#include "complex_double.h"

using namespace XL_NS;

namespace {

enum { REAL_NEGATIVE_EXP = 0, REAL_FREE = 1, REAL_CLAMPED = 2 };
constexpr double clamp = -1e-4, softmax_eps = 1e-7;

struct Model {
  const float *A, *C, *log_dt;
  int64_t N, D;
  int32_t real_part;
  double L, scale;
  int64_t size() const { return N * D; }
};

XL_INLINE cd quotient(cd a, cd b) { return a * conjugate(b) * (1.0 / square(b)); }

struct Phi {
  cd value, derivative;
};

// phi(z) = (e^z - 1) / z and phi'(z) = (e^z - phi) / z; by their series where |z| < 1/4, where the differences cancel.
XL_INLINE Phi phi(cd z) {
  constexpr double factorials[] = {1,     1,      2,       6,        24,        120,       720,
                                   5040,  40320,  362880,  3628800,  39916800,  479001600, 6227020800.0};
  constexpr int terms = 12;
  const cd one = real_double(1), e = exp_complex(z);
  const vl small = square(z) < 0.0625;
  const cd safe = choose(small, one, z);
  const cd value = quotient(e - one, safe), derivative = quotient(e - value, safe);
  cd sum = {}, slope = {};
  for (int k = terms - 1; k >= 1; k--) {
    sum = sum * z + real_double(1 / factorials[k + 1]);
    slope = slope * z + real_double(k / factorials[k + 1]);
  }
  return {choose(small, sum * z + one, value), choose(small, slope, derivative)};
}

// The part of c that depends on z, c = scale C dt factor(z), and what the softmax form keeps for its gradient.
struct Factor {
  cd value;
  Phi inner;
  vd sign;
  cd inverse, denominator, growth;
  vd m;
};

XL_INLINE Factor factor_of(cd z, double L) {
  Factor f = {};
  if (L == 0) {
    f.inner = phi(z);
    f.value = f.inner.value;
    return f;
  }
  // (e^u - 1) / z / (e^(L u) - 1) with u = z or -z, whichever decays.
  f.sign = z.re > 0.0 ? splat_double(-1) : splat_double(1);
  const cd u = z * f.sign, Lu = u * L;
  f.inner = phi(u);
  f.growth = exp_complex(Lu);
  f.denominator = Lu * phi(Lu).value;
  f.m = 1.0 / (square(f.denominator) + softmax_eps);
  f.inverse = conjugate(f.denominator) * f.m;
  f.value = f.inner.value * f.inverse * f.sign;
  return f;
}

// The gradient of z that a gradient g of the factor gives.
XL_INLINE cd pull(const Factor &f, cd g, double L) {
  if (L == 0) return g * conjugate(f.inner.derivative);
  const cd dphi = g * conjugate(f.inverse) * f.sign, dinverse = g * conjugate(f.inner.value) * f.sign;
  const cd x = f.denominator;
  const cd ddenominator = (conjugate(dinverse) * softmax_eps - x * x * dinverse) * (f.m * f.m);
  const cd du = dphi * conjugate(f.inner.derivative) + ddenominator * conjugate(f.growth) * L;
  return du * f.sign;
}

struct Real {
  vd value, derivative;
};

XL_INLINE Real real_part(vd a, int32_t kind) {
  if (kind == REAL_NEGATIVE_EXP) {
    const vd value = -exp_double(a);
    return {value, value};
  }
  if (kind == REAL_FREE) return {a, splat_double(1)};
  const vl over = a > clamp;
  return {over ? splat_double(clamp) : a, over ? splat_double(0) : splat_double(1)};
}

int check_model(const char *kernel, int32_t kind, int64_t L) {
  if (kind < REAL_NEGATIVE_EXP || kind > REAL_CLAMPED)
    return xl::fail(XL_INVALID, "%s: the real part must be 0 (-exp), 1 (free) or 2 (clamped), got %d", kernel, kind);
  if (L < 0) return xl::fail(XL_INVALID, "%s: L must not be negative, got %lld", kernel, (long long)L);
  return XL_OK;
}

struct Gradients {
  float *dA, *dC, *dlog_dt;
  const float *dc, *dz;
};

// The gradients of one mode and its share of that of dt.
template <class Lanes>
XL_INLINE void mode_gradient(const Model &model, const Gradients &g, int64_t at, const vd (&dt)[2], vd (&ddt)[2],
                             Lanes lanes) {
  const int64_t size = model.size();
  const cd_pair A = load_complex(model.A + at, size, lanes), C = load_complex(model.C + at, size, lanes);
  const cd_pair dc = load_complex(g.dc + at, size, lanes), dz = load_complex(g.dz + at, size, lanes);
  cd_pair dA, dC;
  for (int half = 0; half < 2; half++) {
    const Real re = real_part(A.half[half].re, model.real_part);
    const cd a = {re.value, A.half[half].im}, gc = dc.half[half] * model.scale;
    const Factor f = factor_of(a * dt[half], model.L);
    // c = scale C dt factor(z);  z = dt A
    dC.half[half] = gc * conjugate(f.value) * dt[half];
    const cd gz = dz.half[half] + pull(f, gc * conjugate(C.half[half]), model.L) * dt[half];
    dA.half[half] = {gz.re * dt[half] * re.derivative, gz.im * dt[half]};
    ddt[half] += re_of(gc * conjugate(C.half[half] * f.value)) + re_of(gz * conjugate(a));
  }
  if (g.dA) add_complex(g.dA + at, size, dA, lanes);
  if (g.dC) add_complex(g.dC + at, size, dC, lanes);
}

}  // namespace

extern "C" int XL_KERNEL(xl_ssm_discretize_forward)(float *c, float *z, const float *A, const float *C,
                                                    const float *log_dt, int64_t N, int64_t D, int32_t real,
                                                    int64_t L, float scale) {
  if (int status = check_model("ssm_discretize_forward", real, L)) return status;
  const Model model = {A, C, log_dt, N, D, real, double(L), double(scale)};
  parallel_lanes(D, W, [=](int64_t d, auto lanes) {
    const int64_t size = model.size();
    const vf step = lanes.load(log_dt + d);
    const vd dt[2] = {exp_double(half_of(step, 0)), exp_double(half_of(step, 1))};
    for (int64_t at = d; at < size; at += D) {
      const cd_pair a = load_complex(A + at, size, lanes), weight = load_complex(C + at, size, lanes);
      cd_pair cs, zs;
      for (int half = 0; half < 2; half++) {
        const vd re = real_part(a.half[half].re, real).value;
        zs.half[half] = cd{re, a.half[half].im} * dt[half];
        cs.half[half] = weight.half[half] * factor_of(zs.half[half], model.L).value * (dt[half] * model.scale);
      }
      lanes.store(c + at, real_of(cs));
      lanes.store(c + size + at, imaginary_of(cs));
      lanes.store(z + at, real_of(zs));
      lanes.store(z + size + at, imaginary_of(zs));
    }
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_ssm_discretize_backward)(float *dA, float *dC, float *dlog_dt, const float *dc,
                                                     const float *dz, const float *A, const float *C,
                                                     const float *log_dt, int64_t N, int64_t D, int32_t real,
                                                     int64_t L, float scale) {
  if (int status = check_model("ssm_discretize_backward", real, L)) return status;
  const Model model = {A, C, log_dt, N, D, real, double(L), double(scale)};
  const Gradients gradients = {dA, dC, dlog_dt, dc, dz};
  parallel_lanes(D, W, [=](int64_t d, auto lanes) {
    const vf step = lanes.load(log_dt + d);
    const vd dt[2] = {exp_double(half_of(step, 0)), exp_double(half_of(step, 1))};
    vd ddt[2] = {};
    for (int64_t at = d; at < model.size(); at += D) mode_gradient(model, gradients, at, dt, ddt, lanes);
    if (dlog_dt) lanes.store(dlog_dt + d, lanes.load(dlog_dt + d) + join(ddt[0] * dt[0], ddt[1] * dt[1]));
  });
  return XL_OK;
}
