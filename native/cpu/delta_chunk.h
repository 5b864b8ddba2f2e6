// What the forward and the backward pass of the chunkwise delta rule share: sizes, the decay within a chunk, the
// decayed products of its rows, and the forward substitution that finds what each step writes.
//
// With b_t the sum of g up to step t of the chunk and S the state before it, the step form
//   delta_t = v_t - e^g_t S_{t-1}^T k_t,   u_t = beta_t delta_t,   S_t = e^g_t S_{t-1} + k_t u_t^T,   o_t = q_t^T S_t
// unrolls to
//   delta_t = v_t - e^b_t S^T k_t - sum_{s<t} N[s,t] u_s,   N[s,t] = e^(b_t - b_s) k_s . k_t
//   o_t = e^b_t S^T q_t + sum_{s<=t} M[s,t] u_s,            M[s,t] = e^(b_t - b_s) k_s . q_t
// with q scaled: a unit lower triangular system for u (the WY form of arXiv 2406.06484, 2412.06464). It is solved
// column by column of the values, which are independent of each other. No exponent is above zero.
#ifndef XL_CPU_DELTA_CHUNK_H
#define XL_CPU_DELTA_CHUNK_H
#include <math.h>

#include "chunks.h"
#include "panels.h"
#include "vmath.h"

namespace XL_NS {
namespace {

struct DeltaShape {
  int64_t B, T, NH, DK, DV;
  int64_t L;  // steps of a chunk, at most
  float scale;

  int64_t padded_k() const { return round_up(DK, W); }
  int64_t padded_v() const { return round_up(DV, W); }
  int64_t padded_l() const { return round_up(L, W); }
  // Floats between rows of a copy; the extra vector spreads the rows over the cache sets.
  int64_t row_k() const { return padded_k() + W; }
  int64_t row_v() const { return padded_v() + W; }
  int64_t row_l() const { return round_up(L, P) + W; }
  int64_t state_floats() const { return panel_floats(padded_k(), DV); }
  int64_t row(int64_t b, int64_t t, int64_t head) const { return (b * T + t) * NH + head; }
};

// Neither results nor gradients depend on L, and work and memory grow with it: longer chunks are cut.
constexpr int64_t longest_delta_chunk = 128;

inline int make_delta_shape(DeltaShape *shape, const char *name, int64_t B, int64_t T, int64_t NH, int64_t DK,
                            int64_t DV, int64_t L, float scale) {
  if (const int status = check_chunked(name, B, T, NH, DK, DV, L)) return status;
  *shape = {B, T, NH, DK, DV, min_of(min_of(L, max_of(T, 1)), longest_delta_chunk), scale};
  return XL_OK;
}

struct DeltaInputs {
  const float *q, *k, *v, *beta, *g, *state;
  const uint8_t *reset;
};

// The memory of one head for the rows of a chunk. Matrices of pairs [s][t] are row_l floats apart.
struct DeltaRows {
  float *keys;         // rows
  float *key_columns;  // their transpose in panels over the steps
  float *beta;
  float *b_high, *b_low;  // b_t as a sum, since it may be large where the difference of two, which counts, is not
  float *state_weight;    // e^b_t: of the state at step t
  float *last_weight;     // e^(b_last - b_s): of what step s wrote in the state that leaves the chunk
  float *decay;           // e^(b_t - b_s) for s <= t, else 0
  float *key_products;    // N
  float carry;            // e^b_last: of the state in the state that leaves the chunk

  void take(Arena &arena, const DeltaShape &s) {
    const int64_t L = s.padded_l(), steps = round_up(L, P);
    keys = arena.take(L * s.row_k());
    key_columns = arena.take(panel_floats(s.padded_k(), L));
    float **const per_step[] = {&beta, &b_high, &b_low, &state_weight, &last_weight};
    for (float **p : per_step) *p = arena.take(steps);
    decay = arena.take(L * s.row_l());
    key_products = arena.take(L * s.row_l());
  }
};

// The weights of n steps with log decays at g, `step` floats apart; none where g is NULL.
inline void delta_decay(DeltaRows &rows, const DeltaShape &s, const float *g, int64_t step, int64_t n) {
  const int64_t padded = round_up(n, W), row = s.row_l();
  double b = 0;
  for (int64_t t = 0; t < padded; t++) {
    if (t < n && g) b += g[t * step];
    rows.b_high[t] = float(b);
    rows.b_low[t] = float(b - rows.b_high[t]);
  }
  rows.carry = vexp(splat(float(b)))[0];
  const vf last_high = splat(float(b)), last_low = splat(float(b - float(b)));
  for (int64_t t = 0; t < padded; t += W) {
    const vf high = load(rows.b_high + t), low = load(rows.b_low + t);
    store(rows.state_weight + t, vexp(high) * (1.0f + low));
    store(rows.last_weight + t, vexp((last_high - high) + (last_low - low)));
  }
  for (int64_t e = 0; e < padded; e++) {
    const int64_t first = e / W * W;
    for (int64_t t = first; t < padded; t += W) {
      vf weight = vexp((load(rows.b_high + t) - rows.b_high[e]) + (load(rows.b_low + t) - rows.b_low[e]));
      if (t == first) weight = select(first_lanes(e - t), vf{}, weight);
      store(rows.decay + e * row + t, weight);
    }
  }
}

// to[s][t] = decay[s,t] k_s . x_t for s <= t (s < t when `strict`, with 0 at s = t) in blocks on and above the
// diagonal.
inline void decayed_products(float *to, const DeltaRows &rows, const DeltaShape &s, const float *x_columns, bool strict,
                             int64_t n) {
  const int64_t row = s.row_l(), row_k = s.row_k(), L = round_up(n, W);
  for_panels(n, [&](int64_t col, int64_t vectors) {
    const int64_t last = min_of(col + vectors * W, L);
    for (int64_t e = 0; e < last; e += MR) {
      // Vectors left of the diagonal hold steps before e only.
      const int64_t first = e > col ? (e - col) / W : 0;
      with_vectors(vectors - first, [&](auto count) {
        constexpr int NV = decltype(count)::value;
        vf acc[MR][NV];
        tile_zero(acc);
        tile_product(acc, rows.keys + e * row_k, row_k, 1, x_columns + col * s.padded_k() + first * W, s.DK);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) {
            const int64_t at = (e + r) * row + col + (first + v) * W;
            store(to + at, acc[r][v] * load(rows.decay + at));
          }
      });
    }
  });
  if (strict)
    for (int64_t t = 0; t < L; t++) to[t * row + t] = 0;
}

// Copies what the system of a chunk needs, and computes its coefficients N.
inline void load_delta_rows(DeltaRows &rows, const DeltaShape &s, const DeltaInputs &in, int64_t row, int64_t n) {
  const int64_t L = round_up(n, W), padded_k = s.padded_k(), row_k = s.row_k();
  copy_rows(rows.keys, row_k, L, padded_k, {in.k + row * s.DK, s.NH * s.DK, n, s.DK}, 1);
  transpose_to_panels(rows.key_columns, rows.keys, row_k, L, padded_k);
  for (int64_t t = 0; t < L; t++) rows.beta[t] = t < n ? in.beta[row + t * s.NH] : 0;
  delta_decay(rows, s, in.g ? in.g + row : nullptr, s.NH, n);
  decayed_products(rows.key_products, rows, s, rows.key_columns, true, n);
}

// Solves for one panel of values: `values` is its first row at the caller, `cols` columns of it exist, `state` its
// panel of the state or NULL for zeros. u [round_up(n, W)][P], with zeros from row n on; delta likewise unless NULL.
template <int NV>
inline void solve_panel(float *u, float *delta, const DeltaRows &rows, const DeltaShape &s, const float *state,
                        const float *values, int64_t cols, int64_t n) {
  const int64_t row = s.row_l(), row_k = s.row_k(), step = s.NH * s.DV, padded = round_up(n, W);
  for (int64_t t = 0; t < padded; t += MR) {
    vf acc[MR][NV];
    tile_zero(acc);
    if (state) {
      tile_product(acc, rows.keys + t * row_k, row_k, 1, state, s.DK);
      tile_scale_rows(acc, rows.state_weight + t);
    }
    tile_product(acc, rows.key_products + t, 1, row, u, t);
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++) {
      const float beta = rows.beta[t + r];  // 0 beyond the chunk
      const float *among = rows.key_products + (t + r) * row + t;
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        const int64_t lanes = t + r < n ? cols - v * W : 0;
        const vf d = lanes > 0 ? load_lanes(values + (t + r) * step + v * W, lanes) - acc[r][v] : vf{};
        const vf written = d * beta;
        store(u + (t + r) * P + v * W, written);
        if (delta) store(delta + (t + r) * P + v * W, d);
#pragma GCC unroll 4
        for (int later = r + 1; later < MR; later++) acc[later][v] += written * among[later];
      }
    }
  }
}

// to = carry * from + sum_s k_s (last_weight_s u_s)^T for one panel; u is scaled in place. `from` NULL is zeros.
template <int NV>
inline void advance_panel(float *to, const float *from, float *u, const DeltaRows &rows, const DeltaShape &s,
                          int64_t n) {
  for (int64_t t = 0; t < n; t++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) store(u + t * P + v * W, load(u + t * P + v * W) * rows.last_weight[t]);
  for (int64_t d = 0; d < s.padded_k(); d += MR) {
    vf acc[MR][NV];
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) acc[r][v] = from ? load(from + (d + r) * P + v * W) * rows.carry : vf{};
    tile_product(acc, rows.keys + d, 1, s.row_k(), u, n);
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) store(to + (d + r) * P + v * W, acc[r][v]);
  }
}

}  // namespace
}  // namespace XL_NS
#endif
