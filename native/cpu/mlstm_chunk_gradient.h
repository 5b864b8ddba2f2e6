// Backward of one chunk of the mLSTM, second part: from the cotangents of scores and numerators (mlstm_gradient.h) to
// those of queries, keys, values, gates and of the state before the chunk.
#ifndef XL_CPU_MLSTM_CHUNK_GRADIENT_H
#define XL_CPU_MLSTM_CHUNK_GRADIENT_H
#include "mlstm_gradient.h"

namespace XL_NS {
namespace {

// dq_t = state_weight_t (C dN_t + n da_t) + sum_s decay[s,t] k_s; from_state_t = q_t . (the first part).
inline void query_gradient(GradientHead &head, const MlstmShape &s, const MlstmBackwardOutputs &out, ChunkState from,
                           bool empty, int64_t row, int64_t n) {
  const int64_t L = round_up(n, W), step = s.NH * s.DK;
  const float scale = s.query_scale();
  fill_zero(head.lanes, L * W);
  for_panels(s.DK, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = 0; t < n; t += MR) {
        vf acc[MR][NV];
        tile_zero(acc);
        if (!empty) {
          tile_product(acc, head.dN + t * s.row_v(), s.row_v(), 1, from.C + col * s.padded_v(), s.DV);
          tile_product(acc, head.da + t, 1, 0, from.n + col, 1);
          tile_scale_rows(acc, head.gates.state_weight + t);
          dot_tile<NV>(head.lanes + t * W, acc, head.query_panels + col * L + t * P);
        }
        tile_product(acc, head.decay + t, 1, head.row, head.key_panels + col * L, min_of(t + MR, L));
        add_tile<NV>(out.dq + row * s.DK + t * step + col, step, n - t, s.DK - col, acc, scale);
      }
    });
  });
  sum_lanes(head.from_state, head.lanes, L);
}

// dk_s = last_weight_s (dC v_s + dn) + sum_t decay[s,t] q_t; to_state_s = k_s . (the first part).
inline void key_gradient(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in,
                         const MlstmBackwardOutputs &out, Chunk chunk) {
  const int64_t row = chunk.row, n = chunk.n, L = round_up(n, W), step = s.NH * s.DK;
  fill_zero(head.lanes, L * W);
  for_panels(s.DK, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = 0; t < n; t += MR) {
        vf acc[MR][NV];
        tile_zero(acc);
        if (col == 0) prefetch_backward(s, in, out, chunk, t);
        if (head.flowing) {
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) {
            const vf dn = load(head.dn + col + v * W);
#pragma GCC unroll 4
            for (int r = 0; r < MR; r++) acc[r][v] = dn;
          }
          tile_product(acc, head.values + t * s.row_v(), s.row_v(), 1, head.dC_transposed + col * s.padded_v(), s.DV);
          tile_scale_rows(acc, head.gates.last_weight + t);
          dot_tile<NV>(head.lanes + t * W, acc, head.key_panels + col * L + t * P);
        }
        tile_product(acc, head.decay + t * head.row + t, head.row, 1, head.query_panels + col * L + t * P, n - t);
        add_tile<NV>(out.dk + row * s.DK + t * step + col, step, n - t, s.DK - col, acc, 1);
      }
    });
  });
  sum_lanes(head.to_state, head.lanes, L);
}

// dv_s = last_weight_s k_s dC + sum_t scores[s,t] dN_t.
inline void value_gradient(GradientHead &head, const MlstmShape &s, const MlstmBackwardOutputs &out, int64_t row,
                           int64_t n) {
  const int64_t L = round_up(n, W), step = s.NH * s.DV;
  for_panels(s.DV, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = 0; t < n; t += MR) {
        vf acc[MR][NV];
        tile_zero(acc);
        if (head.flowing) {
          tile_product(acc, head.keys + t * s.row_k(), s.row_k(), 1, head.dC + col * s.padded_k(), s.DK);
          tile_scale_rows(acc, head.gates.last_weight + t);
        }
        tile_product(acc, head.scores + t * head.row + t, head.row, 1, head.dN_panels + col * L + t * P, n - t);
        add_tile<NV>(out.dv + row * s.DV + t * step + col, step, n - t, s.DV - col, acc, 1);
      }
    });
  });
}

// dC = carry dC + sum_t (state_weight_t q_t) dN_t^T, dn likewise with da: cotangents of the state before the chunk.
inline void state_gradient(GradientHead &head, const MlstmShape &s, int64_t n) {
  const int64_t L = round_up(n, W), padded_k = s.padded_k(), row_k = s.row_k();
  const float carry = head.gates.carry;
  for_panels(s.DV, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t d = 0; d < padded_k; d += MR) {
        float *dC = head.dC + col * padded_k + d * P;
        vf acc[MR][NV];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) acc[r][v] = load(dC + r * P + v * W) * carry;
        tile_product(acc, head.queries + d, 1, row_k, head.dN_panels + col * L, n);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(dC + r * P + v * W, acc[r][v]);
      }
    });
  });
  for (int64_t d = 0; d < padded_k; d += W) {
    vf sum = load(head.dn + d) * carry;
    for (int64_t t = 0; t < n; t++) sum += load(head.queries + t * row_k + d) * head.da[t];
    store(head.dn + d, sum);
  }
  head.flowing = true;
}

// sigmoid(-x), the derivative of log sigmoid, of the n pre-activations at `from`.
inline void log_sigmoid_slope(float *to, const float *from, int64_t step, int64_t n) {
  load_gate(to, from, step, n, round_up(n, W));
  for (int64_t t = 0; t < n; t += W) store(to + t, vsigmoid(-load(to + t)));
}

// Gradients of the pre-activations of i and f. `across` is what the state before the chunk gives to the one after it.
// The maximum's cotangent dm gathers what depends on m beyond the memory e^m C: h through eps (or, not normalised, as a
// whole). It goes back to whatever made the maximum.
inline void gate_gradient(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in,
                          const MlstmBackwardOutputs &out, double across, int64_t row, int64_t n) {
  log_sigmoid_slope(head.gates.log_f, in.f + row, s.NH, n);
  if (!s.exponential) log_sigmoid_slope(head.gates.log_i, in.i + row, s.NH, n);
  double from_state = 0, to_state = 0;
  for (int64_t t = 0; t < n; t++) to_state += head.to_state[t];
  for (int64_t t = n - 1; t >= 0; t--) {
    const int64_t at = row + t * s.NH;
    // Pairs (s, t') with s < t <= t': from the state before, from inputs of the chunk; to its steps, to the state
    // after.
    from_state += head.from_state[t];
    to_state -= head.to_state[t];
    double df = across + from_state + to_state + (t > 0 ? head.spanning[t - 1] : 0);
    double di = double(head.dlog_i[t]) + head.to_state[t];
    if (s.exponential) {
      head.dm -= s.normalize ? double(head.dhh[t]) * s.eps / in.denominator[at] : double(head.dhh[t]);
      (head.gates.chosen[t] != 0 ? di : df) += head.dm;
      if (head.gates.chosen[t] != 0) head.dm = 0;
    } else {
      di *= head.gates.log_i[t];
    }
    out.di[at] += float(di);
    out.df[at] += float(df * head.gates.log_f[t]);
  }
}

// One chunk, after the state `from` (`empty`: C = n = 0).
inline void chunk_gradient(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in,
                           const MlstmBackwardOutputs &out, ChunkState from, bool empty, Chunk chunk) {
  const int64_t row = chunk.row, n = chunk.n, L = round_up(n, W);
  load_gradient_chunk(head, s, in, *from.m, row, n);
  if (head.flowing) transpose_panels(head.dC_transposed, head.dC, s.padded_k(), s.padded_v());
  const double across = head.flowing && !empty ? head.gates.carry * state_product(head, s, from) : 0;
  const ScoreInputs score{head.keys, head.query_columns, empty ? nullptr : from.n};
  float *input_lanes = head.lanes, *span_lanes = head.lanes + L * W;
  fill_zero(head.lanes, 2 * L * W);
  for_panels(n, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      panel_scores<NV>(head.scores + col, head.decay + col, head.row, head.normaliser + col, s, head.gates, score, col,
                       n);
      normaliser_gradient(head, s, in, row, col, min_of(n, col + P));
      panel_score_gradient<NV>(head, s, col, n, input_lanes, span_lanes);
    });
  });
  sum_lanes(head.dlog_i, input_lanes, L);
  sum_lanes(head.spanning, span_lanes, L);
  query_gradient(head, s, out, from, empty, row, n);
  key_gradient(head, s, in, out, chunk);
  value_gradient(head, s, out, row, n);
  state_gradient(head, s, n);
  gate_gradient(head, s, in, out, across, row, n);
}

}  // namespace
}  // namespace XL_NS
#endif
