// What the forward and the backward pass of the diagonal-plus-low-rank state share: sizes, the decays of some steps,
// and one step of a few columns of the state. The columns, one per value, do not depend on each other.
#ifndef XL_CPU_DPLR_H
#define XL_CPU_DPLR_H
#include "panels.h"
#include "vmath.h"

namespace XL_NS {
namespace {

struct DplrShape {
  int64_t B, T, NH, DK, DV;

  int64_t padded_k() const { return round_up(DK, W); }
  int64_t padded_v() const { return round_up(DV, W); }
  int64_t row(int64_t b, int64_t t, int64_t head) const { return (b * T + t) * NH + head; }
};

struct DplrInputs {
  const float *q, *k, *v, *a, *b, *g, *state;
  const uint8_t *reset;
};

inline int check_dplr(const char *name, const DplrShape &s) {
  if (s.B >= 0 && s.T >= 0 && s.NH >= 1 && s.DK >= 1 && s.DV >= 1) return XL_OK;
  return xl::fail(XL_INVALID,
                  "%s: B and T must not be negative and NH, DK, DV must be positive, got B=%lld T=%lld NH=%lld "
                  "DK=%lld DV=%lld",
                  name, (long long)s.B, (long long)s.T, (long long)s.NH, (long long)s.DK, (long long)s.DV);
}

// decay[d] = e^g[d], in whole vectors.
inline void exponentials(float *decay, const float *g, int64_t n) {
  for (int64_t d = 0; d < n; d += W) store(decay + d, vexp(load_lanes(g + d, n - d)));
}

// The vectors over DK of one step.
struct DplrStepInputs {
  const float *q, *k, *a, *decay;
};

// One step of NV vectors of columns: to = diag(decay) from + a known^T + k value^T; rows of `from` and `to`, which may
// be the same, are `step` floats apart, and `from` NULL is zeros. Adds to^T q to `sum` unless q is NULL, and to^T
// b_next to `next`, which is what the step after this one knows, unless b_next is NULL.
template <int NV>
XL_INLINE void dplr_step(float *to, const float *from, int64_t step, DplrStepInputs in, int64_t DK,
                         const vf (&known)[NV], const vf (&value)[NV], vf (&sum)[NV], const float *b_next,
                         vf (&next)[NV]) {
  auto rows = [&](auto with_query, auto with_next) {
    for (int64_t d = 0; d < DK; d++) {
      const vf decay = splat(in.decay[d]), a = splat(in.a[d]), k = splat(in.k[d]);
      vf q = {}, b = {};
      if constexpr (with_query.value != 0) q = splat(in.q[d]);
      if constexpr (with_next.value != 0) b = splat(b_next[d]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        vf S = k * value[v] + a * known[v];
        if (from) S += decay * load(from + d * step + v * W);
        store(to + d * step + v * W, S);
        if constexpr (with_query.value != 0) sum[v] += q * S;
        if constexpr (with_next.value != 0) next[v] += b * S;
      }
    }
  };
  if (in.q && b_next) return rows(Count<1>(), Count<1>());
  if (in.q) return rows(Count<1>(), Count<0>());
  if (b_next) return rows(Count<0>(), Count<1>());
  rows(Count<0>(), Count<0>());
}

// known = S^T b for NV vectors of columns; zeros where S is NULL.
template <int NV>
XL_INLINE void dplr_known(vf (&known)[NV], const float *S, int64_t step, const float *b, int64_t DK) {
  for (int v = 0; v < NV; v++) known[v] = vf{};
  if (!S) return;
  for (int64_t d = 0; d < DK; d++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) known[v] += load(S + d * step + v * W) * b[d];
}

template <int NV>
XL_INLINE void load_vectors(vf (&x)[NV], const float *from, int64_t cols) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) {
    const int64_t lanes = cols - v * W;
    x[v] = lanes > 0 ? load_lanes(from + v * W, lanes) : vf{};
  }
}

}  // namespace
}  // namespace XL_NS
#endif
