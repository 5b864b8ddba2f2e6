// One step of the mLSTM for inference. It reads and writes each element of C once: the memory is the limit.
#include <math.h>

#include "state_step.h"
#include "vmath.h"

using namespace XL_NS;

namespace {

// What the gates of one head come to: C = f C + i k v^T, h = scale q C.
struct Step {
  float f, i, scale;
};

constexpr int step_floats = 3;

struct Sizes {
  int64_t DK, DV;
  float eps;
  bool exponential, normalize;
};

// Gates, m and n of one head. The gates are relative to m rounded to a float, so that the memory e^m C is carried on
// without the rounding error of m.
Step head_step(float *n_out, float *m_out, const float *q, const float *k, float i, float f, const float *n_in,
               float m_in, const Sizes &s) {
  Step step;
  double m = 0, m_float = 0;
  if (s.exponential) {
    const double forget = double(vlogsigmoid(splat(f))[0]) + m_in;
    m = forget > i ? forget : double(i);
    m_float = double(float(m));
    step = {float(exp(forget - m_float)), float(exp(i - m_float)), 1};
  } else {
    step = {vsigmoid(splat(f))[0], vsigmoid(splat(i))[0], 1};
  }
  vf dot = {};
  for (int64_t d = 0; d < s.DK; d += W) {
    const vf n = step.f * load_lanes(n_in + d, s.DK - d) + step.i * load_lanes(k + d, s.DK - d);
    store_lanes(n_out + d, n, s.DK - d);
    dot += load_lanes(q + d, s.DK - d) * n;
  }
  *m_out = float(m_float);
  const double query_scale = 1 / sqrt(double(s.DK));
  const double a = fabs(hsum(dot) * query_scale), floor = exp(-m_float);
  const double denominator = s.normalize ? (a > floor || isnan(a) ? a : floor) + s.eps : exp(m - m_float);
  step.scale = float(query_scale / denominator);
  return step;
}

// Columns begin .. end-1 of C and h, four rows of C at a time. Where one row is left, another begins, and no hardware
// guesses where: what comes next but one is asked for.
void update_columns(float *h, float *C_out, const float *q, const float *k, const float *v, const float *C_in,
                    Step step, int64_t DK, int64_t DV, int64_t begin, int64_t end) {
  for (int64_t e = begin; e < end; e += W) store_lanes(h + e, vf{}, end - e);
  auto rows = [&](int64_t d, auto count) {
    constexpr int N = decltype(count)::value;
    for (int64_t e = begin; e < end; e += W) {
      const int64_t lanes = end - e;
      const vf value = load_lanes(v + e, lanes) * step.i;
      vf sum = load_lanes(h + e, lanes);
      if (e % LINE_FLOATS == 0)
#pragma GCC unroll 4
        for (int r = 0; r < N; r++) __builtin_prefetch(C_in + (d + r + 8) * DV + e, 0, 2);
#pragma GCC unroll 4
      for (int r = 0; r < N; r++) {
        const int64_t at = (d + r) * DV + e;
        const vf c = step.f * load_lanes(C_in + at, lanes) + k[d + r] * value;
        store_lanes(C_out + at, c, lanes);
        sum += q[d + r] * c;
      }
      store_lanes(h + e, sum, lanes);
    }
  };
  int64_t d = 0;
  for (; d + 4 <= DK; d += 4) rows(d, Count<4>());
  for (; d < DK; d++) rows(d, Count<1>());
  for (int64_t e = begin; e < end; e += W) store_lanes(h + e, load_lanes(h + e, end - e) * step.scale, end - e);
}

}  // namespace

extern "C" int XL_KERNEL(xl_mlstm_step)(float *h, float *Cout, float *nout, float *mout, const float *q, const float *k,
                                        const float *v, const float *i, const float *f, const float *Cin,
                                        const float *nin, const float *min, int64_t B, int64_t NH, int64_t DK,
                                        int64_t DV, float eps, int32_t input_gate, int32_t normalize) {
  if (B < 0 || NH < 1 || DK < 1 || DV < 1)
    return xl::fail(XL_INVALID,
                    "mlstm step: B must not be negative and NH, DK, DV must be positive, got B=%lld NH=%lld DK=%lld "
                    "DV=%lld",
                    (long long)B, (long long)NH, (long long)DK, (long long)DV);
  if (input_gate != XL_GATE_EXPONENTIAL && input_gate != XL_GATE_SIGMOID)
    return xl::fail(XL_INVALID, "mlstm step: input gate must be %d (exponential) or %d (sigmoid), got %d",
                    XL_GATE_EXPONENTIAL, XL_GATE_SIGMOID, input_gate);
  const Sizes s{DK, DV, eps, input_gate == XL_GATE_EXPONENTIAL, normalize != 0};
  Step *steps = reinterpret_cast<Step *>(xl::shared_scratch(B * NH * step_floats));
  if (!steps)
    return xl::fail(XL_OUT_OF_MEMORY, "mlstm step: no memory for the gates of %lld heads", (long long)(B * NH));
  // n and the gates first, for a head of several tasks reads them in all of these; about 2000 floats of work per task.
  const int64_t heads = B * NH;
  parallel_range(heads, max_of(1, 2048 / DK), [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; at++)
      steps[at] =
          head_step(nout + at * DK, mout + at, q + at * DK, k + at * DK, i[at], f[at], nin + at * DK, min[at], s);
  });
  // Columns of C are independent of each other.
  parallel_columns(Cin, heads, DK, DV, [&](int64_t at, int64_t begin, int64_t end) {
    update_columns(h + at * DV, Cout + at * DK * DV, q + at * DK, k + at * DK, v + at * DV, Cin + at * DK * DV, steps[at],
                   DK, DV, begin, end);
  });
  return XL_OK;
}
