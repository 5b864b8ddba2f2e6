// The recurrence of S4 from its parameters, and the gradients of the parameters from those of the recurrence. The model
// is diagonal plus rank one, and so is that of a step (see the reference for the formulas):
//   h[t] = a h[t-1] - p S(q, h[t-1]) + b x[t],  y[t] = skip x[t] + S(C, h[t]),  S(u, v) = 2 Re sum_n u_n v_n
// Half the lanes of a vector of floats at a time, in double. It knows no sequences; s4_scan.cpp does.
#ifndef XL_CPU_S4_STEPS_H
#define XL_CPU_S4_STEPS_H
#include "complex_double.h"

namespace XL_NS {
namespace {

// W/2 channels: the lower (0) or the upper (1) half of the W from d on.
template <class Lanes>
struct HalfLanes {
  Lanes lanes;
  int half;

  XL_INLINE vd load(const float *p) const { return half_of(lanes.load(p), half); }
  XL_INLINE cd load(const float *p, int64_t size) const { return {load(p), load(p + size)}; }
  // The other half of the vector at p stays as it is, unless this is the lower one: then it is set to zero.
  XL_INLINE void store(float *p, vd v) const {
    lanes.store(p, half == 0 ? join(v, vd{}) : join(half_of(lanes.load(p), 0), v));
  }
  XL_INLINE void add(float *p, vd v) const {
    lanes.store(p, lanes.load(p) + (half == 0 ? join(v, vd{}) : join(vd{}, v)));
  }
  XL_INLINE void add(float *p, int64_t size, cd v) const {
    add(p, v.re);
    add(p + size, v.im);
  }
};

struct S4Model {
  const float *A, *P, *Bm, *C, *log_dt;
  int64_t N, D;
  int64_t size() const { return N * D; }
};

// A mode of the recurrence; C and q are doubled, so that S is a plain sum.
struct S4Step {
  cd a, p, q, b, C;
};

// What the modes of a channel share: w = 1 + dt/2 P* G P, projection = S(q, Bm).
struct S4Shared {
  vd dt, w, projection;
};

struct S4Mode {
  cd eigenvalue, P, Bm, g;  // g = 1 / (1 - dt Lambda / 2)
};

template <class Half>
XL_INLINE S4Mode load_mode(const S4Model &model, int64_t n, int64_t d, vd dt, Half half) {
  const int64_t at = n * model.D + d, size = model.size();
  const cd A = half.load(model.A + at, size);
  const cd eigenvalue = {-exp_double(A.re), A.im};
  const cd inverse = real_double(1) - eigenvalue * (dt * 0.5);
  return {eigenvalue, half.load(model.P + at, size), half.load(model.Bm + at, size),
          conjugate(inverse) * (1.0 / square(inverse))};
}

// The bilinear transform by Woodbury's identity (arXiv 2111.00396 eq. 3): steps [N].
template <class Half>
S4Shared discretize(S4Step *steps, const S4Model &model, int64_t d, Half half) {
  const vd dt = exp_double(half.load(model.log_dt + d));
  S4Shared shared = {dt, splat_double(1), {}};
  for (int64_t n = 0; n < model.N; n++) {
    const S4Mode m = load_mode(model, n, d, dt, half);
    steps[n].a = m.g * (real_double(1) + m.eigenvalue * (dt * 0.5));
    steps[n].q = m.g * conjugate(m.P) * 2.0;
    steps[n].p = m.g * m.P * dt;
    steps[n].b = m.g * m.Bm * dt;
    steps[n].C = half.load(model.C + n * model.D + d, model.size()) * 2.0;
    shared.w += square(m.P) * m.g.re * dt;
    shared.projection += re_of(steps[n].q * m.Bm);
  }
  const vd inverse = 1.0 / shared.w, factor = shared.projection * dt * 0.5;
  for (int64_t n = 0; n < model.N; n++) {
    steps[n].p = steps[n].p * inverse;
    steps[n].b = steps[n].b - steps[n].p * factor;
  }
  return shared;
}

// Where the gradients of the parameters go; null where one is not wanted.
struct S4Gradients {
  float *dA, *dP, *dBm, *dC, *dlog_dt;
};

// The gradients of the parameters from those of the steps, which are used up: see `pullBack` of the reference.
template <class Half>
void pull_back(const S4Gradients &g, S4Step *sums, const S4Step *steps, const S4Shared &shared, const S4Model &model,
               int64_t d, Half half) {
  const vd dt = shared.dt, w = shared.w;
  vd onto_p = {}, dratio = {}, ddt = {};
  for (int64_t n = 0; n < model.N; n++) onto_p += re_of(sums[n].b * conjugate(steps[n].p));
  // b = dt G B - dt/2 projection p;  p = dt / w G P
  const vd dprojection = -0.5 * dt * onto_p;
  for (int64_t n = 0; n < model.N; n++) {
    const S4Mode m = load_mode(model, n, d, dt, half);
    // C and q of the steps are twice those of the model.
    sums[n].C = sums[n].C * 2.0;
    sums[n].q = sums[n].q * 2.0 + conjugate(m.Bm) * (2.0 * dprojection);
    sums[n].p = sums[n].p - sums[n].b * (0.5 * dt * shared.projection);
    dratio += re_of(sums[n].p * conjugate(m.g * m.P));
    ddt += re_of(sums[n].b * conjugate(m.g * m.Bm));
  }
  const vd dw = -dratio * dt / (w * w);
  ddt += dratio / w + dw * (w - 1.0) / dt - 0.5 * shared.projection * onto_p;
  for (int64_t n = 0; n < model.N; n++) {
    const S4Mode m = load_mode(model, n, d, dt, half);
    const S4Step &sum = sums[n];
    const cd dgP = sum.p * (dt / w), q = steps[n].q * 0.5;
    const cd top = real_double(1) + m.eigenvalue * (dt * 0.5);
    const cd dBm = sum.b * conjugate(m.g) * dt + conjugate(q) * (2.0 * dprojection);
    // a = g (1 + dt/2 Lambda);  q = g P*;  w = 1 + dt sum |P|^2 Re g
    const cd dP = dgP * conjugate(m.g) + conjugate(sum.q) * m.g + m.P * (2.0 * dw * dt * m.g.re);
    cd dg = sum.a * conjugate(top) + dgP * conjugate(m.P) + sum.q * m.P + sum.b * conjugate(m.Bm) * dt;
    dg.re += dw * dt * square(m.P);
    // g = 1 / (1 - z/2), z = dt Lambda
    const cd dz = (sum.a * conjugate(m.g) + dg * conjugate(m.g * m.g)) * 0.5;
    ddt += re_of(dz * conjugate(m.eigenvalue));
    const int64_t at = n * model.D + d, size = model.size();
    if (g.dA) half.add(g.dA + at, size, {dz.re * dt * m.eigenvalue.re, dz.im * dt});
    if (g.dP) half.add(g.dP + at, size, dP);
    if (g.dBm) half.add(g.dBm + at, size, dBm);
    if (g.dC) half.add(g.dC + at, size, sum.C);
  }
  if (g.dlog_dt) half.add(g.dlog_dt + d, ddt * dt);
}

}  // namespace
}  // namespace XL_NS
#endif
