// Backward of one chunk of the delta rule. With X = delta before the substitution and everything per panel of values,
// the forward lines of delta_chunk.h are
//   X_t = v_t - e^b_t S^T k_t,   delta_t = X_t - sum_{s<t} N[s,t] u_s,   u_t = beta_t delta_t,
//   o_t = e^b_t S^T q_t + sum_{s<=t} M[s,t] u_s,   S' = carry S + sum_s last_weight_s k_s u_s^T.
// Backwards, with y_t the cotangent of X_t times -1:
//   du_s = sum_{t>=s} M[s,t] do_t + last_weight_s dS'^T k_s + sum_{t>s} N[s,t] y_t,   y_s = -beta_s du_s
// (the transposed system, by back substitution), dbeta_s = du_s . delta_s, dv = -y, and with
//   E[s,t] = e^(b_t - b_s) u_s . do_t (s <= t),   F[s,t] = e^(b_t - b_s) u_s . y_t (s < t):
//   dq_t = e^b_t S do_t + sum_s E[s,t] k_s
//   dk_t = e^b_t S y_t + last_weight_t dS' u_t + sum_{s<t} F[s,t] k_s + sum_{r>=t} E[t,r] q_r + F[t,r] k_r
//   dS   = carry dS' + sum_t e^b_t (q_t do_t^T + k_t y_t^T)
// so that y stands to k as do stands to q. The gradient of g_t is the sum over all pairs s < t <= t' of what s gave to
// t', s = -1 being the state before the chunk and t' = end the state after it. It is summed as it stands: a difference
// of running sums would subtract large numbers where the decay is strong.
#ifndef XL_CPU_DELTA_GRADIENT_H
#define XL_CPU_DELTA_GRADIENT_H
#include "delta_chunk.h"

namespace XL_NS {
namespace {

struct DeltaCotangents {
  const float *o, *state;
};

struct DeltaGradients {
  float *q, *k, *v, *beta, *g, *state;
};

// Rows of values in the three layouts that products read.
struct ValueRows {
  float *rows, *panels, *columns;

  void take(Arena &arena, const DeltaShape &s) {
    const int64_t L = s.padded_l();
    rows = arena.take(L * s.row_v());
    panels = arena.take(panel_floats(L, s.DV));
    columns = arena.take(panel_floats(s.padded_v(), L));
  }
  // The other two from the panels, of L rows.
  void spread(const DeltaShape &s, int64_t L) const {
    copy_from_panels(rows, s.row_v(), panels, L, L, s.padded_v(), false);
    transpose_to_panels(columns, rows, s.row_v(), L, s.padded_v());
  }
};

// The memory of one head at work.
struct DeltaGradientHead {
  DeltaRows rows;
  float *queries, *query_columns, *query_panels;  // scaled
  float *key_panels;
  float *query_products;   // M, then what s gave to t through it
  float *query_cotangent;  // E; F takes the place of the decay
  ValueRows d_out, y, u;   // of u no columns are made
  float *delta;            // panels
  float *dS;               // of the state after the chunk, then before it: panels over DV
  float *dS_transposed, *S_transposed;  // panels over DK
  float *lanes[4];         // each [padded_l][W]: sums before their lanes are added
  float *dbeta, *from_state, *to_state, *spanning;
  bool flowing;  // dS is not zero

  DeltaGradientHead(Arena &arena, const DeltaShape &s) {
    const int64_t L = s.padded_l();
    rows.take(arena, s);
    queries = arena.take(L * s.row_k());
    query_columns = arena.take(panel_floats(s.padded_k(), L));
    query_panels = arena.take(panel_floats(L, s.DK));
    key_panels = arena.take(panel_floats(L, s.DK));
    query_products = arena.take(L * s.row_l());
    query_cotangent = arena.take(L * s.row_l());
    d_out.take(arena, s);
    y.take(arena, s);
    u.take(arena, s);
    delta = arena.take(panel_floats(L, s.DV));
    dS = arena.take(s.state_floats());
    dS_transposed = arena.take(panel_floats(s.padded_v(), s.DK));
    S_transposed = arena.take(panel_floats(s.padded_v(), s.DK));
    for (float *&p : lanes) p = arena.take(L * W);
    float **const per_step[] = {&dbeta, &from_state, &to_state, &spanning};
    for (float **p : per_step) *p = arena.take(L);
  }
};

// Everything of the forward pass again, after the state S (NULL for zeros), and the cotangents of o.
inline void load_gradient_chunk(DeltaGradientHead &head, const DeltaShape &s, const DeltaInputs &in, const float *d_out,
                                const float *S, int64_t row, int64_t n) {
  const int64_t L = round_up(n, W), padded_k = s.padded_k(), row_k = s.row_k();
  const Source q{in.q + row * s.DK, s.NH * s.DK, n, s.DK}, k{in.k + row * s.DK, s.NH * s.DK, n, s.DK};
  load_delta_rows(head.rows, s, in, row, n);
  copy_rows(head.queries, row_k, L, padded_k, q, s.scale);
  transpose_to_panels(head.query_columns, head.queries, row_k, L, padded_k);
  decayed_products(head.query_products, head.rows, s, head.query_columns, false, n);
  copy_panels(head.query_panels, L, q, s.scale, nullptr);
  copy_panels(head.key_panels, L, k, 1, nullptr);
  copy_panels(head.d_out.panels, L, {d_out + row * s.DV, s.NH * s.DV, n, s.DV}, 1, nullptr);
  head.d_out.spread(s, L);
  for_panels(s.DV, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      solve_panel<decltype(count)::value>(head.u.panels + col * L, head.delta + col * L, head.rows, s,
                                          S ? S + col * padded_k : nullptr, in.v + row * s.DV + col, s.DV - col, n);
    });
  });
  copy_from_panels(head.u.rows, s.row_v(), head.u.panels, L, L, s.padded_v(), false);
  if (S) transpose_panels(head.S_transposed, S, padded_k, s.padded_v());
  if (head.flowing) transpose_panels(head.dS_transposed, head.dS, padded_k, s.padded_v());
}

// y of one panel of values by back substitution; dv and, in lanes, dbeta on the way.
template <int NV>
inline void back_substitution(DeltaGradientHead &head, const DeltaShape &s, float *dv, int64_t col, int64_t n) {
  const int64_t L = round_up(n, W), row = s.row_l(), row_k = s.row_k(), step = s.NH * s.DV;
  const float *const N = head.rows.key_products;
  float *y = head.y.panels + col * L;
  for (int64_t t = L - MR; t >= 0; t -= MR) {
    vf acc[MR][NV];
    tile_zero(acc);
    if (head.flowing) {
      tile_product(acc, head.rows.keys + t * row_k, row_k, 1, head.dS + col * s.padded_k(), s.DK);
      tile_scale_rows(acc, head.rows.last_weight + t);
    }
    tile_product(acc, head.query_products + t * row + t, row, 1, head.d_out.panels + col * L + t * P, L - t);
    tile_product(acc, N + t * row + t + MR, row, 1, y + (t + MR) * P, L - t - MR);
#pragma GCC unroll 4
    for (int r = MR - 1; r >= 0; r--) {
      vf dot = load(head.lanes[0] + (t + r) * W);
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        dot += acc[r][v] * load(head.delta + col * L + (t + r) * P + v * W);
        const vf back = acc[r][v] * -head.rows.beta[t + r];  // 0 beyond the chunk
        store(y + (t + r) * P + v * W, back);
#pragma GCC unroll 4
        for (int before = 0; before < r; before++) acc[before][v] += back * N[(t + before) * row + t + r];
      }
      store(head.lanes[0] + (t + r) * W, dot);
    }
    if (dv)
      for (int64_t r = t; r < min_of(t + MR, n); r++)
        row_lanes<NV>(dv + r * step + col, s.DV - col, [&](float *p, int64_t lanes, int v) {
          store_lanes(p, load_lanes(p, lanes) - load(y + r * P + v * W), lanes);
        });
  }
}

// E and F of a panel of steps, and in lanes[3][s] what the pairs gave that the decay of step s + 1 parts.
template <int NV>
inline void pair_gradient(DeltaGradientHead &head, const DeltaShape &s, int64_t col, int64_t n) {
  const int64_t row = s.row_l(), row_v = s.row_v(), last = min_of(col + NV * W, round_up(n, W));
  const float *d_out = head.d_out.columns + col * s.padded_v(), *y = head.y.columns + col * s.padded_v();
  // What the steps up to s gave to each step of the panel.
  vf running[NV];
  for (int v = 0; v < NV; v++) running[v] = vf{};
  for (int64_t e = 0; e < last; e += MR) {
    // Vectors left of the diagonal hold steps before e only.
    const int64_t first = e > col ? (e - col) / W : 0;
    vf span[MR];
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++) span[r] = vf{};
    with_vectors(NV - first, [&](auto count) {
      constexpr int N = decltype(count)::value;
      const float *u = head.u.rows + e * row_v;
      vf acc[MR][N];
      tile_zero(acc);
      tile_product(acc, u, row_v, 1, d_out + first * W, s.DV);
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < N; v++) {
          const int64_t at = (e + r) * row + col + (first + v) * W;
          store(head.query_cotangent + at, acc[r][v] * load(head.rows.decay + at));
          store(head.query_products + at, acc[r][v] * load(head.query_products + at));
        }
      tile_zero(acc);
      tile_product(acc, u, row_v, 1, y + first * W, s.DV);
#pragma GCC unroll 4
      for (int v = 0; v < N; v++) {
        const int64_t step = col + (first + v) * W;
        vf sum = running[first + v];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) {
          const int64_t at = (e + r) * row + step;
          vf F = acc[r][v] * load(head.rows.decay + at);
          if (v == 0) F = select(first_lanes(e + r + 1 - step), vf{}, F);
          store(head.rows.decay + at, F);
          sum += load(head.query_products + at) + acc[r][v] * load(head.rows.key_products + at);
          // Only steps after e + r lie across its next decay.
          span[r] += v > 0 ? sum : select(first_lanes(e + r + 1 - step), vf{}, sum);
        }
        running[first + v] = sum;
      }
    });
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++) {
      float *to = head.lanes[3] + (e + r) * W;
      store(to, load(to) + span[r]);
    }
  }
}

// dq of a panel of keys; in lanes[1], q_t . (the part of it that comes from the state).
template <int NV>
inline void query_gradient(DeltaGradientHead &head, const DeltaShape &s, float *dq, bool empty, int64_t col,
                           int64_t n) {
  const int64_t L = round_up(n, W), row_v = s.row_v(), step = s.NH * s.DK;
  for (int64_t t = 0; t < n; t += MR) {
    vf acc[MR][NV];
    tile_zero(acc);
    if (!empty) {
      tile_product(acc, head.d_out.rows + t * row_v, row_v, 1, head.S_transposed + col * s.padded_v(), s.DV);
      tile_scale_rows(acc, head.rows.state_weight + t);
      dot_tile<NV>(head.lanes[1] + t * W, acc, head.query_panels + col * L + t * P);
    }
    if (!dq) continue;
    tile_product(acc, head.query_cotangent + t, 1, s.row_l(), head.key_panels + col * L, t + MR);
    add_tile<NV>(dq + t * step + col, step, n - t, s.DK - col, acc, s.scale);
  }
}

// dk of a panel of keys; in lanes[1] and lanes[2], k_t . (the part that comes from the state, that goes into it).
template <int NV>
inline void key_gradient(DeltaGradientHead &head, const DeltaShape &s, float *dk, bool empty, int64_t col, int64_t n) {
  const int64_t L = round_up(n, W), row = s.row_l(), row_v = s.row_v(), step = s.NH * s.DK;
  const float *keys = head.key_panels + col * L, *E = head.query_cotangent, *F = head.rows.decay;
  for (int64_t t = 0; t < n; t += MR) {
    vf acc[MR][NV], into[MR][NV];
    tile_zero(acc);
    if (!empty) {
      tile_product(acc, head.y.rows + t * row_v, row_v, 1, head.S_transposed + col * s.padded_v(), s.DV);
      tile_scale_rows(acc, head.rows.state_weight + t);
      dot_tile<NV>(head.lanes[1] + t * W, acc, keys + t * P);
    }
    if (head.flowing) {
      tile_zero(into);
      tile_product(into, head.u.rows + t * row_v, row_v, 1, head.dS_transposed + col * s.padded_v(), s.DV);
      tile_scale_rows(into, head.rows.last_weight + t);
      dot_tile<NV>(head.lanes[2] + t * W, into, keys + t * P);
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) acc[r][v] += into[r][v];
    }
    if (!dk) continue;
    tile_product(acc, F + t, 1, row, keys, t + MR);
    tile_product(acc, E + t * row + t, row, 1, head.query_panels + col * L + t * P, L - t);
    tile_product(acc, F + t * row + t, row, 1, keys + t * P, L - t);
    add_tile<NV>(dk + t * step + col, step, n - t, s.DK - col, acc, 1);
  }
}

inline void scale_rows(float *rows, int64_t step, const float *factor, int64_t n, int64_t cols) {
  for (int64_t t = 0; t < n; t++)
    for (int64_t d = 0; d < cols; d += W) store(rows + t * step + d, load(rows + t * step + d) * factor[t]);
}

// dS of a panel of values, before the chunk instead of after it; queries and keys have been scaled by state_weight.
template <int NV>
inline void state_gradient(DeltaGradientHead &head, const DeltaShape &s, int64_t col, int64_t n) {
  const int64_t L = round_up(n, W), padded_k = s.padded_k(), row_k = s.row_k();
  for (int64_t d = 0; d < padded_k; d += MR) {
    float *dS = head.dS + col * padded_k + d * P;
    vf acc[MR][NV];
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) acc[r][v] = head.flowing ? load(dS + r * P + v * W) * head.rows.carry : vf{};
    tile_product(acc, head.queries + d, 1, row_k, head.d_out.panels + col * L, n);
    tile_product(acc, head.rows.keys + d, 1, row_k, head.y.panels + col * L, n);
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) store(dS + r * P + v * W, acc[r][v]);
  }
}

// <S, dS>, both transposed.
inline double state_product(const DeltaGradientHead &head, const DeltaShape &s) {
  double total = 0;
  for_panels(s.DK, [&](int64_t col, int64_t vectors) {
    const int64_t rows = s.padded_v();
    vf sum = {};
    for (int64_t e = 0; e < rows; e++)
      for (int64_t v = 0; v < vectors; v++) {
        const int64_t at = col * rows + e * P + v * W;
        sum += load(head.S_transposed + at) * load(head.dS_transposed + at);
      }
    total += hsum(sum);
  });
  return total;
}

// dbeta, and dg: `across` is what the state before the chunk gave to the one after it.
inline void per_step_gradients(DeltaGradientHead &head, const DeltaShape &s, const DeltaGradients &out, double across,
                               int64_t row, int64_t n) {
  const int64_t L = round_up(n, W);
  float *const sums[] = {head.dbeta, head.from_state, head.to_state, head.spanning};
  for (int i = 0; i < 4; i++) sum_lanes(sums[i], head.lanes[i], L);
  if (out.beta)
    for (int64_t t = 0; t < n; t++) out.beta[row + t * s.NH] += head.dbeta[t];
  if (!out.g) return;
  double from_state = 0, to_state = 0;
  for (int64_t t = 0; t < n; t++) to_state += head.to_state[t];
  for (int64_t t = n - 1; t >= 0; t--) {
    from_state += head.from_state[t];
    to_state -= head.to_state[t];
    out.g[row + t * s.NH] += float(across + from_state + to_state + (t > 0 ? head.spanning[t - 1] : 0));
  }
}

// body(col, Count<vectors>()) for each panel of `cols` columns.
template <class Body>
XL_INLINE void with_panels(int64_t cols, const Body &body) {
  for_panels(cols, [&](int64_t col, int64_t vectors) { with_vectors(vectors, [&](auto count) { body(col, count); }); });
}

// One chunk, after the state S (panels over DV, NULL for zeros).
inline void chunk_gradient(DeltaGradientHead &head, const DeltaShape &s, const DeltaInputs &in,
                           const DeltaCotangents &cotangents, const DeltaGradients &out, const float *S,
                           Chunk chunk) {
  const int64_t row = chunk.row, n = chunk.n, L = round_up(n, W);
  const bool empty = !S;
  load_gradient_chunk(head, s, in, cotangents.o, S, row, n);
  for (float *lanes : head.lanes) fill_zero(lanes, L * W);
  const double across = head.flowing && !empty ? head.rows.carry * state_product(head, s) : 0;
  float *const dv = out.v ? out.v + row * s.DV : nullptr;
  float *const dq = out.q ? out.q + row * s.DK : nullptr, *const dk = out.k ? out.k + row * s.DK : nullptr;
  with_panels(s.DV, [&](int64_t col, auto count) { back_substitution<decltype(count)::value>(head, s, dv, col, n); });
  head.y.spread(s, L);
  with_panels(n, [&](int64_t col, auto count) { pair_gradient<decltype(count)::value>(head, s, col, n); });
  with_panels(s.DK, [&](int64_t col, auto count) {
    query_gradient<decltype(count)::value>(head, s, dq, empty, col, n);
    key_gradient<decltype(count)::value>(head, s, dk, empty, col, n);
  });
  scale_rows(head.queries, s.row_k(), head.rows.state_weight, n, s.padded_k());
  scale_rows(head.rows.keys, s.row_k(), head.rows.state_weight, n, s.padded_k());
  with_panels(s.DV, [&](int64_t col, auto count) { state_gradient<decltype(count)::value>(head, s, col, n); });
  head.flowing = true;
  per_step_gradients(head, s, out, across, row, n);
}

}  // namespace
}  // namespace XL_NS
#endif
