// The gradient of one block of gated linear attention, and of a whole document without causality.
//
// The gradient of a log decay is the sum over all pairs (input s or the state, output t or the state) whose way it lies
// on, of weight times cotangent. It is split into
//   from the state to outputs:           sum over t at or behind the step      (only added up, backwards)
//   from the state and inputs to the state that leaves: sum over s before it   (only added up, forwards)
//   from inputs to outputs in the block: what enters minus what ends           (cancels, but within a block only)
// so that a decay that keeps nothing gets a gradient of nothing.
#ifndef XL_CPU_LINEAR_ATTENTION_GRADIENT_H
#define XL_CPU_LINEAR_ATTENTION_GRADIENT_H
#include "linear_attention.h"

namespace XL_NS {
namespace {

// What the backward pass is given of o.
struct LinearCotangents {
  const float *do_, *o, *denominator;
};

// Where gradients are added; each may be NULL.
struct LinearGradients {
  float *dq, *dk, *dv, *log_decay;
  float *du;              // [B,NH,DK], overwritten
  float *constant_decay;  // [B,NH,DK] or [B,NH], overwritten: of a decay that is the same at all steps
};

struct LinearGradient {
  float *dy;            // [BLOCK][row_w], cotangents of numerator and denominator
  float *dy_panels;     // panels [BLOCK, width]
  float *values;        // [BLOCK][row_w]
  float *value_panels;  // the transpose of the values in panels over the steps
  float *query_panels;  // scalar decay: panels [BLOCK, padded_k]
  float *key_panels;    // the same
  float *decayed_panels;  // the same, of the keys with their weight in the state that leaves
  float *dscores;       // [BLOCK][BLOCK], dy_t . v_s
  float *weighted;      // [BLOCK][BLOCK], times the weight, only s < t
  float *dS;            // panels [padded_k, width]
  float *dS_transposed;  // panels [padded_w, padded_k]
  float *query_state;   // [BLOCK][row_k], part of dq by the state
  float *query_pairs;   // by inputs before it in the block
  float *key_state;     // part of dk by the state that leaves
  float *key_pairs;     // by outputs behind it in the block
  float *ways;          // [BLOCK][row_k], gradient of log decays per channel
  float *du;            // [padded_k]
  float *decay;         // [padded_k], of constant decays

  LinearGradient(Arena &arena, const LinearShape &s) {
    dy = arena.take(BLOCK * s.row_w());
    dy_panels = arena.take(panel_floats(BLOCK, s.width()));
    values = arena.take(BLOCK * s.row_w());
    value_panels = arena.take(panel_floats(s.padded_w(), BLOCK));
    query_panels = arena.take(panel_floats(BLOCK, s.padded_k()));
    key_panels = arena.take(panel_floats(BLOCK, s.padded_k()));
    decayed_panels = arena.take(panel_floats(BLOCK, s.padded_k()));
    dscores = arena.take(BLOCK * BLOCK);
    weighted = arena.take(BLOCK * BLOCK);
    dS = arena.take(s.state_floats());
    dS_transposed = arena.take(s.transposed_floats());
    float **const rows[] = {&query_state, &query_pairs, &key_state, &key_pairs, &ways};
    for (float **p : rows) *p = arena.take(BLOCK * s.row_k());
    du = arena.take(s.padded_k());
    decay = arena.take(s.padded_k());
  }

  void begin_head(const LinearShape &s) {
    fill_zero(du, s.padded_k());
    fill_zero(decay, s.padded_k());
  }

  void end_head(const LinearShape &s, const LinearGradients &wanted, int64_t b, int64_t h) const {
    const int64_t at = b * s.NH + h;
    if (wanted.du) __builtin_memcpy(wanted.du + at * s.DK, du, size_t(s.DK) * sizeof(float));
    if (!wanted.constant_decay) return;
    const int64_t decays = s.decay_width();
    __builtin_memcpy(wanted.constant_decay + at * decays, decay, size_t(decays) * sizeof(float));
  }
};

// ---- loading ----

// Cotangents of numerator and denominator, y / d = o: dy = do / d, dd = -dy . o.
inline void load_cotangents(LinearGradient &g, const LinearShape &s, const LinearCotangents &given, LinearBlock at) {
  const int64_t row_w = s.row_w(), first = s.row(at.b, at.t, at.head);
  copy_rows(g.dy, row_w, BLOCK, s.padded_w(), {given.do_ + first * s.DV, s.NH * s.DV, at.n, s.DV}, 1);
  if (s.normalize) {
    for (int64_t t = 0; t < at.n; t++) {
      float *dy = g.dy + t * row_w;
      const int64_t row = first + t * s.NH;
      const float inverse = 1 / given.denominator[row];
      vf sum = {};
      for (int64_t e = 0; e < s.DV; e += W) {
        const vf x = load(dy + e) * inverse;
        store(dy + e, x);
        sum += x * load_lanes(given.o + row * s.DV + e, s.DV - e);
      }
      dy[s.DV] = -hsum(sum);
    }
  }
  copy_panels(g.dy_panels, BLOCK, {g.dy, row_w, BLOCK, s.padded_w()}, 1, nullptr);
}

inline void load_value_rows(LinearGradient &g, const LinearShape &s, const LinearInputs &in, LinearBlock at) {
  const int64_t row_w = s.row_w();
  copy_rows(g.values, row_w, BLOCK, s.padded_w(), value_rows(s, in, at), 1);
  if (s.normalize)
    for (int64_t t = 0; t < at.n; t++) g.values[t * row_w + s.DV] = 1;
}

// What the state needs of a block.
inline void load_block(LinearGradient &g, LinearHead &head, const LinearShape &s, const LinearInputs &in,
                       LinearBlock at) {
  load_keys(head, s, in, at);
  load_value_rows(g, s, in, at);
  copy_panels(g.decayed_panels, BLOCK, {head.decayed_keys, s.row_k(), at.n, s.padded_k()}, 1, nullptr);
}

// ---- the state, transposed: panels [padded_w, padded_k], as dq needs it ----

// to = from carry + V^T keys over a block of n steps that is loaded; `from` may be `to`, or NULL for nothing.
inline void advance_transposed(float *to, const float *from, const LinearGradient &g, const LinearHead &head,
                               const LinearShape &s, int64_t n) {
  const int64_t padded_w = s.padded_w(), row_w = s.row_w();
  for_panels(s.padded_k(), [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      vf carry[NV];
      for (int v = 0; v < NV; v++) carry[v] = load(head.carry + col + v * W);
      for (int64_t e = 0; e < padded_w; e += MR) {
        const int64_t tile = col * padded_w + e * P;
        vf acc[MR][NV];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) acc[r][v] = from ? load(from + tile + r * P + v * W) * carry[v] : vf{};
        tile_product(acc, g.values + e, 1, row_w, g.decayed_panels + col * BLOCK, n);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(to + tile + r * P + v * W, acc[r][v]);
      }
    });
  });
}

// ---- pieces ----

// dscores[t][s] = dy_t . v_s for the n steps.
inline void score_cotangents(LinearGradient &g, const LinearShape &s, int64_t n) {
  transpose_to_panels(g.value_panels, g.values, s.row_w(), BLOCK, s.padded_w());
  for_tiles(n, BLOCK, g.dy, s.row_w(), 1, g.value_panels, s.padded_w(), s.width(),
            [&](int64_t t, int64_t col, auto &acc) {
              constexpr int NV = sizeof(acc[0]) / sizeof(vf);
              for (int r = 0; r < MR; r++)
                for (int v = 0; v < NV; v++) store(g.dscores + (t + r) * BLOCK + col + v * W, acc[r][v]);
            });
}

// Rows to[r][.] = weight[r][.] * acc of a tile.
template <class Tile>
XL_INLINE void store_rows(float *to, int64_t step, int64_t r0, int64_t col, const Tile &acc) {
  constexpr int NV = sizeof(acc[0]) / sizeof(vf);
#pragma GCC unroll 4
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) store(to + (r0 + r) * step + col + v * W, acc[r][v]);
}

// rows [n][row_k] = weights (x M) for M in panels [padded_w, padded_k], x [n][row_w]; weights NULL for ones.
inline void through_state(float *rows, const LinearShape &s, const float *M, const float *x, const float *weights,
                          int64_t n) {
  const int64_t row_k = s.row_k();
  for_tiles(n, s.padded_k(), x, s.row_w(), 1, M, s.padded_w(), s.width(),
            [&](int64_t t, int64_t col, auto &acc) { store_rows(rows, row_k, t, col, acc); });
  if (!weights) return;
  for (int64_t t = 0; t < n; t++)
    for (int64_t d = 0; d < s.padded_k(); d += W)
      store(rows + t * row_k + d, load(rows + t * row_k + d) * weight_at(weights, s, t, d));
}

// dv += scores^T dy + keys dS, for the n steps.
inline void add_value_gradient(LinearGradient &g, const float *scores, const float *keys, const LinearShape &s,
                               float *dv, LinearBlock at) {
  if (!dv) return;
  const int64_t n = at.n, row_k = s.row_k();
  for_panels(s.DV, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = 0; t < n; t += MR) {
        vf acc[MR][NV];
        tile_zero(acc);
        if (scores)
          tile_product(acc, scores + t * BLOCK + t, 1, BLOCK, g.dy_panels + col * BLOCK + t * P, n - t);
        tile_product(acc, keys + t * row_k, row_k, 1, g.dS + col * s.padded_k(), s.DK);
        float *rows = dv + s.row(at.b, at.t + t, at.head) * s.DV + col;
        add_tile<NV>(rows, s.NH * s.DV, n - t, s.DV - col, acc, 1);
      }
    });
  });
}

// The parts of dq and dk by pairs s < t of the block, for a decay per head.
inline void scalar_pairs(LinearGradient &g, const LinearHead &head, const LinearShape &s, int64_t n) {
  const int64_t row_k = s.row_k(), padded_k = s.padded_k();
  fill_zero(g.weighted, BLOCK * BLOCK);
  for (int64_t t = 0; t < n; t++)
    for (int64_t from = 0; from < t; from++)
      g.weighted[t * BLOCK + from] = g.dscores[t * BLOCK + from] * head.pair_weight[t * BLOCK + from];
  copy_panels(g.key_panels, BLOCK, {head.keys, row_k, BLOCK, padded_k}, 1, nullptr);
  copy_panels(g.query_panels, BLOCK, {head.queries, row_k, BLOCK, padded_k}, 1, nullptr);
  for_tiles(n, padded_k, g.weighted, BLOCK, 1, g.key_panels, BLOCK, n,
            [&](int64_t t, int64_t col, auto &acc) { store_rows(g.query_pairs, row_k, t, col, acc); });
  for_tiles(n, padded_k, g.weighted, 1, BLOCK, g.query_panels, BLOCK, n,
            [&](int64_t t, int64_t col, auto &acc) { store_rows(g.key_pairs, row_k, t, col, acc); });
}

// The same for a decay per channel: the walk of vector_scores.
inline void vector_pairs(LinearGradient &g, const LinearHead &head, const LinearShape &s, int64_t n) {
  const int64_t row_k = s.row_k();
  for (int64_t d = 0; d < s.padded_k(); d += W) {
    for (int64_t t = 0; t < n; t++) store(g.query_pairs + t * row_k + d, vf{});
    for (int64_t from = 0; from < n; from++) {
      const vf key = load(head.keys + from * row_k + d);
      vf weight = splat(1), sum = {};
      for (int64_t t = from + 1; t < n; t++) {
        const vf factor = load(head.factors + t * row_k + d);
        if (!s.bonus) weight *= factor;
        const vf cotangent = g.dscores[t * BLOCK + from] * weight;
        float *query = g.query_pairs + t * row_k + d;
        store(query, load(query) + cotangent * key);
        sum += cotangent * load(head.queries + t * row_k + d);
        if (s.bonus) weight *= factor;
      }
      store(g.key_pairs + from * row_k + d, sum);
    }
  }
}

// Gradient of the log decays, per channel, into g.ways: see the top.
inline void decay_ways(LinearGradient &g, const LinearHead &head, const LinearShape &s, bool empty, int64_t n) {
  const int64_t row_k = s.row_k(), padded_k = s.padded_k();
  for (int64_t d = 0; d < padded_k; d += W) {
    // Forwards: what came in before step t and leaves the block.
    vf leaving = empty ? vf{} : load(g.ways + (BLOCK - 1) * row_k + d);
    for (int64_t t = 0; t < n; t++) {
      const vf from_here = load(head.keys + t * row_k + d) * load(g.key_state + t * row_k + d);
      store(g.ways + t * row_k + d, leaving);
      leaving += from_here;
    }
    // Backwards: what is read at or behind step t; with a bonus step t reads the state before its decay.
    vf read = {};
    for (int64_t t = n - 1; t >= 0; t--) {
      const int64_t e = t * row_k + d;
      const vf query = load(head.queries + e), key = load(head.keys + e);
      const vf enters = query * (load(g.query_state + e) + load(g.query_pairs + e));
      if (!s.bonus) read += enters;
      read -= key * load(g.key_pairs + e);
      store(g.ways + e, load(g.ways + e) + read);
      if (s.bonus) read += enters;
    }
  }
}

// carry[d] * sum over columns of S[d] dS[d], into the last row of g.ways, where decay_ways expects it.
inline void carried_ways(LinearGradient &g, const LinearHead &head, const LinearShape &s, const float *S) {
  float *to = g.ways + (BLOCK - 1) * s.row_k();
  const int64_t padded_w = s.padded_w();
  for (int64_t d = 0; d < s.padded_k(); d += W) {
    const int64_t first = d / P * P * padded_w + d % P;
    vf sum = {};
    for (int64_t e = 0; e < padded_w; e++) sum += load(S + first + e * P) * load(g.dS_transposed + first + e * P);
    store(to + d, sum * load(head.carry + d));
  }
}

inline void add_decay_gradient(LinearGradient &g, const LinearHead &head, const LinearShape &s, const float *S,
                               const LinearGradients &wanted, LinearBlock at) {
  if (!wanted.log_decay) return;
  const int64_t row_k = s.row_k();
  if (S) carried_ways(g, head, s, S);
  decay_ways(g, head, s, !S, at.n);
  for (int64_t t = 0; t < at.n; t++) {
    const float *ways = g.ways + t * row_k;
    float *to = s.constant ? g.decay : wanted.log_decay + s.decay_at(at.b, at.t + t, at.head);
    if (s.vector) {
      for (int64_t d = 0; d < s.DK; d += W) {
        const int64_t lanes = s.constant ? W : s.DK - d;
        store_lanes(to + d, load_lanes(to + d, lanes) + load(ways + d), lanes);
      }
    } else {
      vf sum = {};
      for (int64_t d = 0; d < s.padded_k(); d += W) sum += load(ways + d);
      *to += hsum(sum);
    }
  }
}

// dq += scale * rows of x (+ y), the same for dk with scale 1; padding columns are zero.
inline void add_key_rows(float *to, const LinearShape &s, const float *x, const float *y, float factor,
                         LinearBlock at) {
  if (!to) return;
  for (int64_t t = 0; t < at.n; t++) {
    float *row = to + s.group_row(at.b, at.t + t, at.head) * s.DK;
    for (int64_t d = 0; d < s.DK; d += W) {
      const int64_t e = t * s.row_k() + d, lanes = s.DK - d;
      const vf sum = y ? load(x + e) + load(y + e) : load(x + e);
      store_lanes(row + d, load_lanes(row + d, lanes) + sum * factor, lanes);
    }
  }
}

// What each step has from itself: q . k, or q . (u k), times its value.
inline void add_own_terms(LinearGradient &g, const LinearHead &head, const LinearShape &s, int64_t n) {
  for (int64_t t = 0; t < n; t++) {
    const float cotangent = g.dscores[t * BLOCK + t];
    for (int64_t d = 0; d < s.padded_k(); d += W) {
      const int64_t e = t * s.row_k() + d;
      const vf bonus = s.bonus ? load(head.u + d) : splat(1);
      const vf query = load(head.queries + e) * cotangent, key = load(head.keys + e);
      store(g.query_pairs + e, load(g.query_pairs + e) + bonus * key * cotangent);
      store(g.key_pairs + e, load(g.key_pairs + e) + bonus * query);
      if (s.bonus) store(g.du + d, load(g.du + d) + query * key);
    }
  }
}

// ---- a block ----

// Adds the gradients of a block whose transposed state at its begin is S, or NULL; g.dS goes from its end to its begin.
inline void block_gradient(LinearGradient &g, LinearHead &head, const LinearShape &s, const LinearInputs &in,
                           const LinearCotangents &given, const LinearGradients &wanted, const float *S,
                           LinearBlock at) {
  const int64_t n = at.n;
  load_keys(head, s, in, at);
  load_queries(head, s, in, at);
  load_value_rows(g, s, in, at);
  load_cotangents(g, s, given, at);
  block_scores(head, s, n);
  score_cotangents(g, s, n);
  add_value_gradient(g, head.scores, head.decayed_keys, s, wanted.dv, at);
  if (wanted.dq || wanted.dk || wanted.log_decay || wanted.du) {
    transpose_panels(g.dS_transposed, g.dS, s.padded_k(), s.padded_w());
    if (S) {
      through_state(g.query_state, s, S, g.dy, head.state_weight, n);
    } else {
      fill_zero(g.query_state, BLOCK * s.row_k());
    }
    through_state(g.key_state, s, g.dS_transposed, g.values, head.last_weight, n);
    s.vector ? vector_pairs(g, head, s, n) : scalar_pairs(g, head, s, n);
    add_decay_gradient(g, head, s, S, wanted, at);
    add_own_terms(g, head, s, n);
    add_key_rows(wanted.dq, s, g.query_state, g.query_pairs, s.scale, at);
    add_key_rows(wanted.dk, s, g.key_state, g.key_pairs, 1, at);
  }
  advance_panels(g.dS, s, head.carry, head.decayed_queries, g.dy_panels, n, false);
}

// ---- without causality ----

// S = sum k v^T and dS = sum q dy^T over each document, then dq = S dy, dk = dS v, dv = k dS. S [transposed_floats].
inline void bidirectional_gradient(LinearGradient &g, LinearHead &head, const LinearShape &s, const LinearInputs &in,
                                   const LinearCotangents &given, const LinearGradients &wanted, float *S, int64_t b,
                                   int64_t h) {
  for (int64_t begin = 0; begin < s.T;) {
    const int64_t end = stretch_end(in.reset, b, s.T, begin, s.T);
    auto blocks = [&](auto body) {
      for (int64_t t = begin; t < end; t += s.block()) body(LinearBlock{b, h, t, min_of(s.block(), end - t)});
    };
    blocks([&](LinearBlock at) {
      load_block(g, head, s, in, at);
      advance_transposed(S, at.t == begin ? nullptr : S, g, head, s, at.n);
    });
    blocks([&](LinearBlock at) {
      load_keys(head, s, in, at);
      load_queries(head, s, in, at);
      load_cotangents(g, s, given, at);
      advance_panels(g.dS, s, head.carry, head.queries, g.dy_panels, at.n, at.t == begin);
      if (!wanted.dq) return;
      through_state(g.query_state, s, S, g.dy, nullptr, at.n);
      add_key_rows(wanted.dq, s, g.query_state, nullptr, s.scale, at);
    });
    transpose_panels(g.dS_transposed, g.dS, s.padded_k(), s.padded_w());
    blocks([&](LinearBlock at) {
      load_keys(head, s, in, at);
      load_value_rows(g, s, in, at);
      add_value_gradient(g, nullptr, head.keys, s, wanted.dv, at);
      if (!wanted.dk) return;
      through_state(g.key_state, s, g.dS_transposed, g.values, nullptr, at.n);
      add_key_rows(wanted.dk, s, g.key_state, nullptr, 1, at);
    });
    begin = end;
  }
}

}  // namespace
}  // namespace XL_NS
#endif
