// What the forward and the backward pass of the chunkwise mLSTM share: sizes, the gates of a chunk in log space, and
// the decayed scores of its queries and keys.
//
// Within a chunk that starts with the state (C, n, m), with b_t = sum of log f up to t and u_s = log i_s - b_s:
//   exponential gate: M_t = max(m, max_{s<=t} u_s), m_t = b_t + M_t, ref_t = -M_t, start = m;
//   sigmoid gate:     m_t = 0,                                       ref_t =  b_t, start = 0;
//   weight of input s at step t:     exp(ref_t + u_s)
//   weight of the state at step t:   exp(ref_t + start)
// and the state that leaves the chunk has the weights of its last step. No exponent is above zero.
#ifndef XL_CPU_MLSTM_CHUNK_H
#define XL_CPU_MLSTM_CHUNK_H
#include <math.h>

#include "chunks.h"
#include "panels.h"
#include "vmath.h"

namespace XL_NS {
namespace {

struct MlstmShape {
  int64_t B, T, NH, DK, DV;
  int64_t L;  // steps of a chunk, at most
  float eps;
  bool exponential, normalize;

  int64_t padded_k() const { return round_up(DK, W); }
  int64_t padded_v() const { return round_up(DV, W); }
  int64_t padded_l() const { return round_up(L, W); }
  // Floats between rows of a copy; the extra vector spreads the rows over the cache sets.
  int64_t row_k() const { return padded_k() + W; }
  int64_t row_v() const { return padded_v() + W; }
  float query_scale() const { return float(1 / sqrt(double(DK))); }
  double fresh_m() const { return exponential ? -HUGE_VAL : 0; }
  int64_t row(int64_t b, int64_t t, int64_t head) const { return (b * T + t) * NH + head; }
};

inline int check_mlstm(const char *name, const MlstmShape &s, int32_t input_gate) {
  if (const int status = check_chunked(name, s.B, s.T, s.NH, s.DK, s.DV, s.L)) return status;
  if (input_gate != XL_GATE_EXPONENTIAL && input_gate != XL_GATE_SIGMOID)
    return xl::fail(XL_INVALID, "%s: input gate must be %d (exponential) or %d (sigmoid), got %d", name,
                    XL_GATE_EXPONENTIAL, XL_GATE_SIGMOID, input_gate);
  return XL_OK;
}

// The gates of one chunk. ref and u are sums of a float and a small correction, because u_s and ref_t may be large
// (many closed forget gates) where their sum, which counts, is not: the large parts cancel exactly.
struct MlstmGates {
  float *ref_high, *ref_low;  // per step t
  float *u_high, *u_low;      // per step s
  float *state_weight;        // exp(ref_t + start)
  float *last_weight;         // exp(ref_last + u_s): of input s in the state that leaves the chunk
  float *m;                   // m_t
  float *floor;               // exp(-m_t)
  float *log_i, *log_f;       // scratch on the way, then the values for backward below
  float *chosen;              // 1 where m_t is i~_t, 0 where it came through the forget gate
  float carry;                // exp(ref_last + start): of the state in the state that leaves the chunk
  double m_last;

  void take(Arena &arena, int64_t padded_l) {
    float **const all[] = {&ref_high, &ref_low, &u_high, &u_low, &state_weight, &last_weight,
                           &m,        &floor,   &log_i,  &log_f, &chosen};
    for (float **p : all) *p = arena.take(padded_l);
  }
};

inline void split(double x, float *high, float *low) {
  *high = float(x);
  *low = float(x - *high);
}

// Loads the pre-activations of n steps, `step` floats apart, and fills up with zeros.
inline void load_gate(float *to, const float *from, int64_t step, int64_t n, int64_t padded) {
  for (int64_t t = 0; t < n; t++) to[t] = from[t * step];
  for (int64_t t = n; t < padded; t++) to[t] = 0;
}

// Fills `g` for n steps with pre-activations at i and f, `step` floats apart, after a state with maximum m_start.
inline void mlstm_gates(MlstmGates &g, const MlstmShape &s, const float *i, const float *f, int64_t step, int64_t n,
                        double m_start) {
  const int64_t padded = round_up(n, W);
  load_gate(g.log_i, i, step, n, padded);
  load_gate(g.log_f, f, step, n, padded);
  for (int64_t t = 0; t < padded; t += W) {
    store(g.log_f + t, vlogsigmoid(load(g.log_f + t)));
    if (!s.exponential) store(g.log_i + t, vlogsigmoid(load(g.log_i + t)));
  }
  const double start = s.exponential ? m_start : 0;
  double b = 0, largest = start, ref = 0;
  for (int64_t t = 0; t < n; t++) {
    b += g.log_f[t];
    const double u = g.log_i[t] - b;
    g.chosen[t] = u >= largest;
    largest = u >= largest ? u : largest;
    ref = s.exponential ? -largest : b;
    split(ref, g.ref_high + t, g.ref_low + t);
    split(u, g.u_high + t, g.u_low + t);
    g.state_weight[t] = float(ref + start);
    g.m[t] = s.exponential ? float(b + largest) : 0;
  }
  g.m_last = s.exponential ? b + largest : 0;
  for (int64_t t = 0; t < n; t++) g.last_weight[t] = float(ref + (double(g.u_high[t]) + g.u_low[t]));
  for (int64_t t = n; t < padded; t++) {
    g.ref_high[t] = g.u_high[t] = g.state_weight[t] = g.last_weight[t] = -HUGE_VALF;
    g.ref_low[t] = g.u_low[t] = g.m[t] = 0;
  }
  g.carry = vexp(splat(float(ref + start)))[0];
  for (int64_t t = 0; t < padded; t += W) {
    store(g.state_weight + t, vexp(load(g.state_weight + t)));
    store(g.last_weight + t, vexp(load(g.last_weight + t)));
    store(g.floor + t, vexp(-load(g.m + t)));
  }
}

// A chunk as its scores need it: keys [padded_l][row_k] and queries, scaled, as panels of [padded_k, padded_l].
struct ScoreInputs {
  const float *keys, *queries;
  const float *n;  // [padded_k], the normaliser that enters the chunk, or NULL when it is zero
};

// scores[s][t] = weight of s at t * (k_s . q_t) for s <= t, else 0, of the n steps t from `col` on in one panel; rows
// are `step` floats apart. With `decay` the weights are kept likewise. normaliser[t] = q_t . n_t of the step form.
template <int NV>
inline void panel_scores(float *scores, float *decay, int64_t step, float *normaliser, const MlstmShape &shape,
                         const MlstmGates &g, ScoreInputs in, int64_t col, int64_t n) {
  const int64_t DK = shape.DK, row_k = shape.row_k();
  const float *queries = in.queries + col * shape.padded_k();
  const int64_t rows = min_of(col + NV * W, round_up(n, MR));
  vf sum[1][NV];
  tile_zero(sum);
  if (in.n) {
    tile_product(sum, in.n, 0, 1, queries, DK);
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) sum[0][v] *= load(g.state_weight + col + v * W);
  }
  for (int v = 0; v < NV; v++) store(normaliser + v * W, sum[0][v]);
  for (int64_t s = 0; s < rows; s += MR) {
    // Vectors left of the diagonal hold steps before s only.
    const int64_t first = s > col ? (s - col) / W : 0;
    const bool diagonal = s >= col;
    with_vectors(NV - first, [&](auto count) {
      constexpr int N = decltype(count)::value;
      vf acc[MR][N];
      tile_zero(acc);
      tile_product(acc, in.keys + s * row_k, row_k, 1, queries + first * W, DK);
#pragma GCC unroll 4
      for (int v = 0; v < N; v++) {
        const int64_t at = (first + v) * W;  // in the panel
        const vf ref_high = load(g.ref_high + col + at), ref_low = load(g.ref_low + col + at);
        vf total = load(normaliser + at);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) {
          vf weight = vexp((ref_high + g.u_high[s + r]) + (ref_low + g.u_low[s + r]));
          if (v == 0 && diagonal) weight = select(first_lanes(s + r - col - at), vf{}, weight);
          const vf score = acc[r][v] * weight;
          if (decay) store(decay + (s + r) * step + at, weight);
          store(scores + (s + r) * step + at, score);
          total += score;
        }
        store(normaliser + at, total);
      }
    });
  }
}

}  // namespace
}  // namespace XL_NS
#endif
