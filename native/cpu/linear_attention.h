// What the forward and the backward pass of gated linear attention share: sizes, a block of at most 16 steps with its
// decays, its scores, and the step of the state over it.
//
// Within a block that starts with the state S, with b_t = sum of log decays up to step t of the block:
//   weight of the state at step t:     exp(b_t)           (with a bonus u: exp(b_{t-1}))
//   weight of input s < t at step t:   exp(b_t - b_s)     (with a bonus u: exp(b_{t-1} - b_s)); of s = t: 1 (u)
//   weight of input s in the state that leaves the block: exp(b_n - b_s), of the state itself: exp(b_n)
// per head or per key channel. The differences are never taken: each is the sum of the logs between s and t, so that
// nothing cancels and -infinity is as good as any other log. The state costs the same arithmetic per step whatever the
// length of a block, and pairs within a block cost more the longer it is: hence short blocks.
//
// The normaliser is one more column: values end in a 1, and the state in z.
#ifndef XL_CPU_LINEAR_ATTENTION_H
#define XL_CPU_LINEAR_ATTENTION_H
#include <math.h>

#include "chunks.h"
#include "panels.h"
#include "reduce.h"
#include "vmath.h"

namespace XL_NS {
namespace {

// Steps of a block, at most. A multiple of every W.
constexpr int64_t BLOCK = 16;

struct LinearShape {
  int64_t B, T, NH, NG, DK, DV, L;
  float scale, eps;
  bool decays, vector, constant;  // whether there is a decay, per channel, the same at all steps
  bool normalize, bonus;

  int64_t block() const { return min_of(BLOCK, L); }
  int64_t width() const { return DV + normalize; }
  int64_t padded_k() const { return round_up(DK, W); }
  int64_t padded_w() const { return round_up(width(), W); }
  // Floats between rows of a copy; the extra vector spreads the rows over the cache sets.
  int64_t row_k() const { return padded_k() + W; }
  int64_t row_w() const { return padded_w() + W; }
  int64_t state_floats() const { return panel_floats(padded_k(), width()); }
  int64_t transposed_floats() const { return panel_floats(padded_w(), padded_k()); }
  int64_t row(int64_t b, int64_t t, int64_t head) const { return (b * T + t) * NH + head; }
  int64_t group_row(int64_t b, int64_t t, int64_t head) const { return (b * T + t) * NG + head / (NH / NG); }
  // First log decay of a step, and how many there are.
  int64_t decay_width() const { return vector ? DK : 1; }
  int64_t decay_at(int64_t b, int64_t t, int64_t head) const {
    return (constant ? head : row(b, t, head)) * decay_width();
  }
};

inline LinearShape linear_shape(int64_t B, int64_t T, int64_t NH, int64_t NG, int64_t DK, int64_t DV, int64_t L,
                                float scale, float eps, const float *log_decay, const float *u, int32_t decay,
                                int32_t normalize) {
  const bool vector = decay == XL_DECAY_VECTOR || decay == XL_DECAY_CONSTANT_VECTOR;
  const bool constant = decay == XL_DECAY_CONSTANT_SCALAR || decay == XL_DECAY_CONSTANT_VECTOR;
  return {B, T, NH, NG, DK, DV, L, scale, eps, log_decay != nullptr, vector && log_decay, constant, normalize != 0,
          u != nullptr};
}

inline int check_linear(const char *kernel, const LinearShape &s, int32_t decay, bool causal, bool causal_only) {
  if (s.B < 0 || s.T < 0 || s.NH < 1 || s.NG < 1 || s.NH % s.NG != 0 || s.DK < 1 || s.DV < 1 || s.L < 1)
    return xl::fail(XL_INVALID,
                    "%s: B and T must not be negative, NH, DK, DV and L must be positive and NG must divide NH, got "
                    "B=%lld T=%lld NH=%lld NG=%lld DK=%lld DV=%lld L=%lld",
                    kernel, (long long)s.B, (long long)s.T, (long long)s.NH, (long long)s.NG, (long long)s.DK,
                    (long long)s.DV, (long long)s.L);
  if (decay < XL_DECAY_SCALAR || decay > XL_DECAY_CONSTANT_VECTOR)
    return xl::fail(XL_INVALID, "%s: decay must be 0 (scalar) to 3 (constant vector), got %d", kernel, (int)decay);
  if (!causal && causal_only)
    return xl::fail(XL_INVALID, "%s: without causal there must be no decay, no bonus and no state", kernel);
  return XL_OK;
}

struct LinearInputs {
  const float *q, *k, *v, *log_decay, *u;
  const uint8_t *reset;
};

// Steps t .. t + n - 1 of a head of a sequence.
struct LinearBlock {
  int64_t b, head, t, n;
};

// The block that begins at t: it ends before the next document, at `end` or after the longest block.
inline LinearBlock block_at(const LinearShape &s, const uint8_t *reset, int64_t b, int64_t head, int64_t t,
                            int64_t end) {
  return {b, head, t, stretch_end(reset, b, s.T, t, min_of(end, t + s.block())) - t};
}

// The memory of one head at work: a block and the state.
struct LinearHead {
  float *queries;          // [BLOCK][row_k], scaled
  float *keys;             // [BLOCK][row_k]
  float *decayed_queries;  // times the weight of the state
  float *decayed_keys;     // times the weight in the state that leaves
  float *key_panels;       // the transpose of the keys in panels over the steps
  float *values;           // panels [BLOCK, width]
  float *logs;             // vector decay: [BLOCK][row_k]
  float *factors;          // vector decay: their exponentials
  float *state_weight;     // [BLOCK][row_k], or [BLOCK] for a scalar decay
  float *last_weight;      // the same
  float *pair_weight;      // scalar decay: [BLOCK][BLOCK], of s at t, zero for s > t, and for s = t with a bonus
  float *carry;            // [padded_k]
  float *scores;           // [BLOCK][BLOCK], of s at t, zero for s > t
  float *lanes;            // [BLOCK][BLOCK][W], sums on the way to scores
  float *u;                // [padded_k]
  float *S;                // panels [padded_k, width]
  bool empty;              // S = 0

  LinearHead(Arena &arena, const LinearShape &s) {
    float **const rows[] = {&queries, &keys, &decayed_queries, &decayed_keys, &logs, &factors, &state_weight,
                            &last_weight};
    for (float **p : rows) *p = arena.take(BLOCK * s.row_k());
    key_panels = arena.take(panel_floats(s.padded_k(), BLOCK));
    values = arena.take(panel_floats(BLOCK, s.width()));
    pair_weight = arena.take(BLOCK * BLOCK);
    carry = arena.take(s.padded_k());
    scores = arena.take(BLOCK * BLOCK);
    lanes = arena.take(BLOCK * BLOCK * W);
    u = arena.take(s.padded_k());
    S = arena.take(s.state_floats());
    empty = true;
  }
};

// Element (row, column) of panels with `rows` rows.
XL_INLINE float *in_panels(float *panels, int64_t rows, int64_t row, int64_t column) {
  return panels + column / P * P * rows + row * P + column % P;
}

// The last column of panels, behind `column` columns that were copied: value(r) in the first rows, else 0.
template <class Value>
inline void set_last_column(float *panels, int64_t padded_rows, int64_t rows, int64_t column, const Value &value) {
  for (int64_t r = 0; r < padded_rows; r++) {
    float *p = in_panels(panels, padded_rows, r, column);
    if (column % W == 0) store(p, vf{});  // no copied column shares its vector
    *p = r < rows ? value(r) : 0;
  }
}

// The state of a head out of the caller's: S [DK,DV] and z [DK], each may be NULL.
inline void load_linear_state(float *to, const LinearShape &s, const float *S, const float *z) {
  if (S) {
    copy_panels(to, s.padded_k(), {S, s.DV, s.DK, s.DV}, 1, nullptr);
  } else {
    fill_zero(to, s.state_floats());
  }
  if (s.normalize) set_last_column(to, s.padded_k(), s.DK, s.DV, [=](int64_t d) { return z ? z[d] : 0; });
}

// ---- weights ----

// A head's bonus, once per head.
inline void load_bonus(LinearHead &head, const LinearShape &s, const float *u, int64_t h) {
  if (s.bonus) copy_rows(head.u, s.padded_k(), 1, s.padded_k(), {u + h * s.DK, s.DK, 1, s.DK}, 1);
}

inline void scalar_weights(LinearHead &head, const LinearShape &s, const float *logs, int64_t step, int64_t n) {
  double log[BLOCK];
  for (int64_t t = 0; t < n; t++) log[t] = logs ? double(logs[t * step]) : 0;
  for (int64_t e = 0; e < BLOCK * BLOCK; e++) head.pair_weight[e] = -HUGE_VALF;
  for (int64_t from = 0; from < n; from++) {
    // Row by row of the transpose: input `from` at the steps behind it.
    double sum = 0;
    float *weight = head.pair_weight + from;
    if (!s.bonus) weight[from * BLOCK] = 0;
    for (int64_t t = from + 1; t < n; t++) {
      if (!s.bonus) sum += log[t];
      weight[t * BLOCK] = float(sum);
      if (s.bonus) sum += log[t];
    }
    head.last_weight[from] = float(sum);
  }
  double sum = 0;
  for (int64_t t = 0; t < n; t++) {
    if (!s.bonus) sum += log[t];
    head.state_weight[t] = float(sum);
    if (s.bonus) sum += log[t];
  }
  for (int64_t e = 0; e < BLOCK * BLOCK; e += W) store(head.pair_weight + e, vexp(load(head.pair_weight + e)));
  // Of what was -infinity exp leaves a trace.
  for (int64_t t = 0; t < BLOCK; t++)
    for (int64_t from = s.bonus ? t : t + 1; from < BLOCK; from++) head.pair_weight[t * BLOCK + from] = 0;
  for (int64_t t = 0; t < BLOCK; t += W) {
    store(head.state_weight + t, vexp(load(head.state_weight + t)));
    store(head.last_weight + t, vexp(load(head.last_weight + t)));
  }
  const vf carry = vexp(splat(float(sum)));
  for (int64_t d = 0; d < s.padded_k(); d += W) store(head.carry + d, carry);
}

inline void vector_weights(LinearHead &head, const LinearShape &s, const float *logs, int64_t step, int64_t n) {
  const int64_t row_k = s.row_k();
  copy_rows(head.logs, row_k, BLOCK, s.padded_k(), {logs, step, n, s.DK}, 1);
  for (int64_t d = 0; d < s.padded_k(); d += W) {
    vf sum = {};
    for (int64_t t = 0; t < n; t++) {
      const vf log = load(head.logs + t * row_k + d);
      store(head.factors + t * row_k + d, vexp(log));
      if (!s.bonus) sum += log;
      store(head.state_weight + t * row_k + d, vexp(sum));
      if (s.bonus) sum += log;
    }
    store(head.carry + d, vexp(sum));
    sum = vf{};
    for (int64_t t = n - 1; t >= 0; t--) {
      store(head.last_weight + t * row_k + d, vexp(sum));
      sum += load(head.logs + t * row_k + d);
    }
  }
}

// Weight of step t at channel d, out of state_weight or last_weight.
XL_INLINE vf weight_at(const float *weights, const LinearShape &s, int64_t t, int64_t d) {
  return s.vector ? load(weights + t * s.row_k() + d) : splat(weights[t]);
}

// Copies the keys of a block and finds its weights.
inline void load_keys(LinearHead &head, const LinearShape &s, const LinearInputs &in, LinearBlock at) {
  const int64_t n = at.n, row_k = s.row_k(), padded_k = s.padded_k();
  copy_rows(head.keys, row_k, BLOCK, padded_k,
            {in.k + s.group_row(at.b, at.t, at.head) * s.DK, s.NG * s.DK, n, s.DK}, 1);
  const float *logs = s.decays ? in.log_decay + s.decay_at(at.b, at.t, at.head) : nullptr;
  const int64_t step = s.constant ? 0 : s.NH * s.decay_width();
  s.vector ? vector_weights(head, s, logs, step, n) : scalar_weights(head, s, logs, step, n);
  for (int64_t t = 0; t < n; t++)
    for (int64_t d = 0; d < padded_k; d += W)
      store(head.decayed_keys + t * row_k + d,
            load(head.keys + t * row_k + d) * weight_at(head.last_weight, s, t, d));
}

inline Source value_rows(const LinearShape &s, const LinearInputs &in, LinearBlock at) {
  return {in.v + s.row(at.b, at.t, at.head) * s.DV, s.NH * s.DV, at.n, s.DV};
}

inline void load_values(LinearHead &head, const LinearShape &s, const LinearInputs &in, LinearBlock at) {
  copy_panels(head.values, BLOCK, value_rows(s, in, at), 1, nullptr);
  if (s.normalize) set_last_column(head.values, BLOCK, at.n, s.DV, [](int64_t) { return 1.0f; });
}

// Copies the queries of a block whose weights are known.
inline void load_queries(LinearHead &head, const LinearShape &s, const LinearInputs &in, LinearBlock at) {
  const int64_t row_k = s.row_k(), padded_k = s.padded_k();
  copy_rows(head.queries, row_k, BLOCK, padded_k,
            {in.q + s.group_row(at.b, at.t, at.head) * s.DK, s.NG * s.DK, at.n, s.DK}, s.scale);
  for (int64_t t = 0; t < BLOCK; t++)
    for (int64_t d = 0; d < padded_k; d += W)
      store(head.decayed_queries + t * row_k + d,
            t < at.n ? load(head.queries + t * row_k + d) * weight_at(head.state_weight, s, t, d) : vf{});
}

// ---- scores ----

inline void scalar_scores(LinearHead &head, const LinearShape &s, int64_t n) {
  const int64_t row_k = s.row_k();
  transpose_to_panels(head.key_panels, head.keys, row_k, BLOCK, s.padded_k());
  for_panels(BLOCK, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = 0; t < n; t += MR) {
        vf acc[MR][NV];
        tile_zero(acc);
        tile_product(acc, head.queries + t * row_k, row_k, 1, head.key_panels + col * s.padded_k(), s.DK);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) {
            const int64_t e = (t + r) * BLOCK + col + v * W;
            store(head.scores + e, acc[r][v] * load(head.pair_weight + e));
          }
      }
    });
  });
  if (!s.bonus) return;
  for (int64_t t = 0; t < n; t++) {
    vf sum = {};
    for (int64_t d = 0; d < s.padded_k(); d += W)
      sum += load(head.queries + t * row_k + d) * (load(head.u + d) * load(head.keys + t * row_k + d));
    head.scores[t * BLOCK + t] = hsum(sum);
  }
}

// Every channel has its own decay, so that pairs are walked one by one: from input s on, the key loses the factor of each
// step that it passes.
inline void vector_scores(LinearHead &head, const LinearShape &s, int64_t n) {
  const int64_t row_k = s.row_k();
  fill_zero(head.lanes, BLOCK * BLOCK * W);
  for (int64_t d = 0; d < s.padded_k(); d += W) {
    for (int64_t from = 0; from < n; from++) {
      vf key = load(head.keys + from * row_k + d);
      float *sums = head.lanes + from * W;
      const vf own = s.bonus ? key * load(head.u + d) : key;
      store(sums + from * BLOCK * W, load(sums + from * BLOCK * W) + load(head.queries + from * row_k + d) * own);
      for (int64_t t = from + 1; t < n; t++) {
        const vf factor = load(head.factors + t * row_k + d), query = load(head.queries + t * row_k + d);
        const vf before = key;
        key *= factor;
        store(sums + t * BLOCK * W, load(sums + t * BLOCK * W) + query * (s.bonus ? before : key));
      }
    }
  }
  sum_lanes(head.scores, head.lanes, BLOCK * BLOCK);
}

inline void block_scores(LinearHead &head, const LinearShape &s, int64_t n) {
  s.vector ? vector_scores(head, s, n) : scalar_scores(head, s, n);
}

// ---- products of a block with a matrix in panels ----

// body(r, col, vectors..., acc) for tiles of to[rows, cols] = a b, b in panels of `rows_b` rows, of which K count:
// a[r][k] at a + r * row_step + k * k_step.
template <class Body>
XL_INLINE void for_tiles(int64_t rows, int64_t cols, const float *a, int64_t row_step, int64_t k_step, const float *b,
                         int64_t rows_b, int64_t K, const Body &body) {
  for_panels(cols, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t r = 0; r < rows; r += MR) {
        vf acc[MR][NV];
        tile_zero(acc);
        tile_product(acc, a + r * row_step, row_step, k_step, b + col * rows_b, K);
        body(r, col, acc);
      }
    });
  });
}

// S = carry S + a^T b: the state (or, backward, its cotangent) over n steps, a [n][row_k] and b panels [BLOCK, width].
inline void advance_panels(float *S, const LinearShape &s, const float *carry, const float *a, const float *b,
                           int64_t n, bool empty) {
  const int64_t row_k = s.row_k(), padded_k = s.padded_k();
  for_panels(s.width(), [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t d = 0; d < padded_k; d += MR) {
        float *tile = S + col * padded_k + d * P;
        vf acc[MR][NV];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) acc[r][v] = empty ? vf{} : load(tile + r * P + v * W) * carry[d + r];
        tile_product(acc, a + d, 1, row_k, b + col * BLOCK, n);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(tile + r * P + v * W, acc[r][v]);
      }
    });
  });
}

// The state over a block whose keys are loaded.
inline void advance_state(LinearHead &head, const LinearShape &s, int64_t n) {
  advance_panels(head.S, s, head.carry, head.decayed_keys, head.values, n, head.empty);
  head.empty = false;
}

}  // namespace
}  // namespace XL_NS
#endif
