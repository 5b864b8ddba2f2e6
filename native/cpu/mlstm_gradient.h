// Backward of one chunk of the mLSTM. With S[s,t] = weight of input s at step t times k_s . q_t, and C, n, a = q . n as
// in mlstm_chunk.h, the forward lines are
//   h_t = N_t / den_t,   N_t = sum_s S[s,t] v_s + state_weight_t q_t C,   den_t = max(|a_t|, exp(-m_t)) + eps,
//   a_t = sum_s S[s,t] + state_weight_t q_t . n,
//   C' = carry C + sum_s last_weight_s k_s v_s^T,   n' likewise with v = 1.
// So n is a column of C whose value is 1 and whose cotangent of N is da.
//
// Gates: let G[s,t] = S[s,t] dS[s,t] be what input s gave to step t, s = -1 the state before the chunk, t = end the
// state after it. Then d log i_s is the sum of G over the steps t >= s, and d log f_t the sum over all pairs s < t <=
// t'. The latter is summed as it stands: the shorter form sum (q . dq - k . dk) subtracts large numbers where gates are
// shut.
#ifndef XL_CPU_MLSTM_GRADIENT_H
#define XL_CPU_MLSTM_GRADIENT_H
#include "mlstm_chunk.h"

namespace XL_NS {
namespace {

struct MlstmBackwardInputs {
  const float *q, *k, *v, *i, *f, *C, *n, *m;
  const uint8_t *reset;
  const float *h, *denominator, *dh, *dC, *dn, *dm;
};

struct MlstmBackwardOutputs {
  float *dq, *dk, *dv, *di, *df, *dC, *dn, *dm;
};

// A state at a chunk border, C transposed: panels of [padded_v, DK]. Several lie one after another.
struct ChunkState {
  float *C, *n;
  double *m;

  static int64_t C_floats(const MlstmShape &s) { return panel_floats(s.padded_v(), s.DK); }
  static int64_t floats(const MlstmShape &s) { return C_floats(s) + s.padded_k() + 2; }

  void take(Arena &arena, const MlstmShape &s, int64_t count) {
    C = arena.take(count * C_floats(s));
    n = arena.take(count * s.padded_k());
    m = reinterpret_cast<double *>(arena.take(2 * count));
  }
  ChunkState at(const MlstmShape &s, int64_t index) const {
    return {C + index * C_floats(s), n + index * s.padded_k(), m + index};
  }
  void set_fresh(const MlstmShape &s) const {
    fill_zero(C, C_floats(s));
    fill_zero(n, s.padded_k());
    *m = s.fresh_m();
  }
  void copy(const MlstmShape &s, ChunkState from) const {
    __builtin_memcpy(C, from.C, size_t(C_floats(s)) * sizeof(float));
    __builtin_memcpy(n, from.n, size_t(s.padded_k()) * sizeof(float));
    *m = *from.m;
  }
};

// The memory of one head at work. Matrices that belong to a chunk have padded_l rows.
struct GradientHead {
  float *queries, *query_panels, *query_columns;  // rows (times the state's weight), panels, panels of the transpose
  float *keys, *key_panels;
  float *values;
  float *dN, *dN_panels, *dN_columns;  // dh / denominator
  float *scores, *decay;               // [s][t], `row` floats apart; decay becomes the cotangent of k_s . q_t
  float *normaliser, *da, *dhh;        // per step: q . n, its cotangent, dh . h
  float *dC, *dC_transposed, *dn;      // of the state after the chunk, then before it: panels over DV, over DK
  float *lanes;                        // two of [padded_l][W]: sums before their lanes are added
  float *dlog_i, *spanning, *from_state, *to_state;  // per step: parts of the gates' gradients
  MlstmGates gates;
  int64_t row;
  double dm;
  bool flowing;  // dC or dn is not zero

  GradientHead(Arena &arena, const MlstmShape &s) {
    const int64_t L = s.padded_l(), steps = round_up(L, P), DK = s.padded_k(), DV = s.padded_v();
    row = steps + W;
    queries = arena.take(L * s.row_k());
    query_panels = arena.take(panel_floats(L, s.DK));
    query_columns = arena.take(panel_floats(DK, L));
    keys = arena.take(L * s.row_k());
    key_panels = arena.take(panel_floats(L, s.DK));
    values = arena.take(L * s.row_v());
    dN = arena.take(L * s.row_v());
    dN_panels = arena.take(panel_floats(L, s.DV));
    dN_columns = arena.take(panel_floats(DV, L));
    scores = arena.take(L * row);
    decay = arena.take(L * row);
    float **const per_step[] = {&normaliser, &da, &dhh, &dlog_i, &spanning, &from_state, &to_state};
    for (float **p : per_step) *p = arena.take(steps);
    dC = arena.take(panel_floats(DK, s.DV));
    dC_transposed = arena.take(panel_floats(DV, s.DK));
    dn = arena.take(DK);
    lanes = arena.take(2 * L * W);
    gates.take(arena, steps);
  }
  void cut(const MlstmShape &s) {
    fill_zero(dC, panel_floats(s.padded_k(), s.DV));
    fill_zero(dn, s.padded_k());
    dm = 0;
    flowing = false;
  }
};

// Keys and values of the next chunk, MR steps of them, `t` after its begin.
inline void prefetch_forward(const MlstmShape &s, const MlstmBackwardInputs &in, Chunk chunk, int64_t t) {
  int64_t row = chunk.row + (chunk.n + t) * s.NH;
  for (int64_t end = min_of(t + MR, s.T - chunk.begin - chunk.n); t < end; t++, row += s.NH) {
    prefetch(in.k + row * s.DK, s.DK);
    prefetch(in.v + row * s.DV, s.DV);
  }
}

// What the walk back needs of the chunk before, if it is as long as this one: MR steps, `t` after its begin.
inline void prefetch_backward(const MlstmShape &s, const MlstmBackwardInputs &in, const MlstmBackwardOutputs &out,
                              Chunk chunk, int64_t t) {
  for (int64_t end = min_of(t + MR, chunk.n); t < end; t++) {
    if (chunk.begin - chunk.n + t < 0) continue;
    const int64_t row = chunk.row + (t - chunk.n) * s.NH;
    const float *const of_keys[] = {in.q, in.k, out.dq, out.dk}, *const of_values[] = {in.v, in.h, in.dh, out.dv};
    for (const float *p : of_keys) prefetch(p + row * s.DK, s.DK);
    for (const float *p : of_values) prefetch(p + row * s.DV, s.DV);
  }
}

// to = carry * from + sum over the chunk of last_weight k v^T (transposed), and n likewise; the maximum moves on.
inline void advance_state(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in, ChunkState from,
                          ChunkState to, Chunk chunk) {
  const int64_t row = chunk.row, n = chunk.n;
  const int64_t L = round_up(n, W), padded_v = s.padded_v();
  mlstm_gates(head.gates, s, in.i + row, in.f + row, s.NH, n, *from.m);
  copy_panels(head.key_panels, L, {in.k + row * s.DK, s.NH * s.DK, n, s.DK}, 1, head.gates.last_weight);
  copy_rows(head.values, s.row_v(), n, padded_v, {in.v + row * s.DV, s.NH * s.DV, n, s.DV}, 1);
  const float carry = head.gates.carry;
  for_panels(s.DK, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      const float *keys = head.key_panels + col * L;
      for (int64_t e = 0; e < padded_v; e += MR) {
        if (col == 0) prefetch_forward(s, in, chunk, e);
        const int64_t at = col * padded_v + e * P;
        vf acc[MR][NV];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) acc[r][v] = load(from.C + at + r * P + v * W) * carry;
        tile_product(acc, head.values + e, 1, s.row_v(), keys, n);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(to.C + at + r * P + v * W, acc[r][v]);
      }
      for (int v = 0; v < NV; v++) {
        vf sum = load(from.n + col + v * W) * carry;
        for (int64_t t = 0; t < n; t++) sum += load(keys + t * P + v * W);
        store(to.n + col + v * W, sum);
      }
    });
  });
  *to.m = head.gates.m_last;
}

// <C, dC> + n . dn, with dC_transposed up to date.
inline double state_product(const GradientHead &head, const MlstmShape &s, ChunkState state) {
  vf sum = {}, sum_n = {};
  double total = 0;
  for_panels(s.DK, [&](int64_t col, int64_t vectors) {
    const int64_t rows = s.padded_v();
    for (int64_t e = 0; e < rows; e++)
      for (int64_t v = 0; v < vectors; v++) {
        const int64_t at = col * rows + e * P + v * W;
        sum += load(state.C + at) * load(head.dC_transposed + at);
      }
    total += hsum(sum);
    sum = vf{};
  });
  for (int64_t d = 0; d < s.padded_k(); d += W) sum_n += load(state.n + d) * load(head.dn + d);
  return total + hsum(sum_n);
}

// dN = dh / denominator in all its layouts, and dh . h.
inline void load_cotangent(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in, int64_t row,
                           int64_t n) {
  const int64_t L = round_up(n, W), row_v = s.row_v();
  fill_zero(head.lanes, L * W);
  for (int64_t t = 0; t < n; t++) {
    const int64_t at = row + t * s.NH;
    const float *dh = in.dh + at * s.DV, *h = in.h + at * s.DV;
    const float inverse = 1 / in.denominator[at];
    vf dot = {};
    for (int64_t e = 0; e < s.DV; e += W) {
      const vf x = load_lanes(dh + e, s.DV - e);
      dot += x * load_lanes(h + e, s.DV - e);
      store(head.dN + t * row_v + e, x * inverse);
    }
    store(head.lanes + t * W, dot);
  }
  for (int64_t t = n; t < L; t++) fill_zero(head.dN + t * row_v, s.padded_v());
  sum_lanes(head.dhh, head.lanes, L);
  copy_panels(head.dN_panels, L, {head.dN, row_v, L, s.padded_v()}, 1, nullptr);
  transpose_to_panels(head.dN_columns, head.dN, row_v, L, s.padded_v());
}

inline void load_gradient_chunk(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in, double m,
                                int64_t row, int64_t n) {
  const int64_t L = round_up(n, W), padded_k = s.padded_k(), row_k = s.row_k();
  const Source q{in.q + row * s.DK, s.NH * s.DK, n, s.DK}, k{in.k + row * s.DK, s.NH * s.DK, n, s.DK};
  mlstm_gates(head.gates, s, in.i + row, in.f + row, s.NH, n, m);
  copy_rows(head.queries, row_k, L, padded_k, q, s.query_scale());
  transpose_to_panels(head.query_columns, head.queries, row_k, L, padded_k);
  copy_panels(head.query_panels, L, q, s.query_scale(), nullptr);
  for (int64_t t = 0; t < n; t++)
    for (int64_t d = 0; d < padded_k; d += W) {
      float *p = head.queries + t * row_k + d;
      store(p, load(p) * head.gates.state_weight[t]);
    }
  copy_rows(head.keys, row_k, L, padded_k, k, 1);
  copy_panels(head.key_panels, L, k, 1, nullptr);
  copy_rows(head.values, s.row_v(), L, s.padded_v(), {in.v + row * s.DV, s.NH * s.DV, n, s.DV}, 1);
  load_cotangent(head, s, in, row, n);
}

// da = -sign(a) (dh . h) / den where |a| is the larger side of the denominator.
inline void normaliser_gradient(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in, int64_t row,
                                int64_t col, int64_t end) {
  for (int64_t t = col; t < end; t++) {
    const float a = head.normaliser[t];
    const bool active = s.normalize && fabsf(a) >= head.gates.floor[t];
    head.da[t] = active ? -copysignf(head.dhh[t], a * head.dhh[t]) / in.denominator[row + t * s.NH] : 0;
  }
  for (int64_t t = end; t < round_up(end, W); t++) head.da[t] = 0;
}

// For a panel of steps: decay becomes the cotangent of k_s . q_t, and the sums of G are taken that the gates need:
// input_lanes[s] of the steps that input s reaches, span_lanes[s] of the pairs that the forget gate of step s + 1
// parts.
template <int NV>
inline void panel_score_gradient(GradientHead &head, const MlstmShape &s, int64_t col, int64_t n, float *input_lanes,
                                 float *span_lanes) {
  const float *dN = head.dN_columns + col * s.padded_v();
  const int64_t rows = min_of(col + NV * W, round_up(n, MR));
  // What the inputs up to s gave to each step of the panel.
  vf running[NV];
  for (int v = 0; v < NV; v++) running[v] = vf{};
  for (int64_t r0 = 0; r0 < rows; r0 += MR) {
    const int64_t first = r0 > col ? (r0 - col) / W : 0;
    vf span[MR];
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++) span[r] = vf{};
    with_vectors(NV - first, [&](auto count) {
      constexpr int N = decltype(count)::value;
      vf acc[MR][N];
      tile_zero(acc);
      tile_product(acc, head.values + r0 * s.row_v(), s.row_v(), 1, dN + first * W, s.DV);
      vf input[MR];
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++) input[r] = vf{};
#pragma GCC unroll 4
      for (int v = 0; v < N; v++) {
        const int64_t at = col + (first + v) * W;
        const vf da = load(head.da + at);
        vf sum = running[first + v];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) {
          const int64_t entry = (r0 + r) * head.row + at;
          const vf dS = acc[r][v] + da;
          const vf given = dS * load(head.scores + entry);
          store(head.decay + entry, dS * load(head.decay + entry));
          input[r] += given;
          sum += given;
          // Only steps after r0 + r lie across its next forget gate.
          span[r] += v > 0 ? sum : select(first_lanes(r0 + r + 1 - at), vf{}, sum);
        }
        running[first + v] = sum;
      }
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++) {
        float *to = input_lanes + (r0 + r) * W;
        store(to, load(to) + input[r]);
      }
    });
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++) {
      float *to = span_lanes + (r0 + r) * W;
      store(to, load(to) + span[r]);
    }
  }
}

}  // namespace
}  // namespace XL_NS
#endif
