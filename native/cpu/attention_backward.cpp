// Softmax attention, backward: the weights of each tile are computed anew from the largest logit and the log of the sum
// that the forward pass kept. With p the weights and dp = dy . v:
//   dv = p^T dy;  dlogit = p (dp - dy . y);  dq = scale dlogit k;  dk = scale dlogit^T q;  dbias = dlogit.
// A task has one key head with all query heads that share it, so that no two add to the same gradient.
#include "attention.h"

using namespace XL_NS;

namespace {

// Floats between the keys of a tile of weights; the extra vector spreads them over the cache sets.
constexpr int64_t STEP = QUERIES + W;

struct Gradients {
  float *dq, *dk, *dv, *dbias, *dk_cache, *dv_cache;
  const float *dy, *y, *lse;
};

// The memory of a tile of queries and a tile of keys at work. Panels over steps are for products with keys, rows in
// panels for products with weights.
struct Tiles {
  float *rows;  // on the way to panels
  float *queries, *query_rows;      // scaled
  float *dy, *dy_rows;
  float *largest, *log_sum, *mean;  // per query; mean = dy . y
  float *dq;                        // panels [QUERIES, DK], without scale
  float *keys, *key_rows;           // rows; panels over DK
  float *values;                    // rows
  float *bias;                      // [KEYS, P]
  float *weights, *dlogits;         // [KEYS, STEP]

  Tiles(Arena &arena, const AttentionShape &s, bool has_bias) {
    const int64_t steps = round_up(QUERIES, P);
    rows = arena.take(max_of(QUERIES * max_of(s.row_k(), s.row_v()), has_bias ? P * (KEYS + W) : 0));
    queries = arena.take(panel_floats(s.padded_k(), steps));
    query_rows = arena.take(panel_floats(QUERIES, s.padded_k()));
    dy = arena.take(panel_floats(s.padded_v(), steps));
    dy_rows = arena.take(panel_floats(QUERIES, s.padded_v()));
    largest = arena.take(steps);
    log_sum = arena.take(steps);
    mean = arena.take(steps);
    dq = arena.take(panel_floats(QUERIES, s.padded_k()));
    keys = arena.take(KEYS * s.row_k());
    key_rows = arena.take(panel_floats(KEYS, s.padded_k()));
    values = arena.take(KEYS * s.row_v());
    bias = arena.take(has_bias ? KEYS * P : 0);
    weights = arena.take(KEYS * STEP);
    dlogits = arena.take(KEYS * STEP);
  }
};

void load_queries(Tiles &tiles, const AttentionShape &s, const AttentionInputs &in, const Gradients &g,
                  const Span &span, int64_t head) {
  const int64_t padded = round_up(span.n, W);
  if (s.has_keys) {
    const Source queries = span_rows(s, span, head, in.q, s.DK);
    copy_rows(tiles.rows, s.row_k(), padded, s.padded_k(), queries, s.scale);
    transpose_to_panels(tiles.queries, tiles.rows, s.row_k(), padded, s.padded_k());
    copy_panels(tiles.query_rows, QUERIES, queries, s.scale, nullptr);
    fill_zero(tiles.dq, panel_floats(QUERIES, s.padded_k()));
  }
  const Source dy = span_rows(s, span, head, g.dy, s.DV), y = span_rows(s, span, head, g.y, s.DV);
  copy_rows(tiles.rows, s.row_v(), padded, s.padded_v(), dy, 1);
  transpose_to_panels(tiles.dy, tiles.rows, s.row_v(), padded, s.padded_v());
  copy_panels(tiles.dy_rows, QUERIES, dy, 1, nullptr);
  for (int64_t t = 0; t < round_up(QUERIES, P); t++) {
    vf sum = {};
    if (t < span.n)
      for (int64_t d = 0; d < s.DV; d += W)
        sum += load(tiles.rows + t * s.row_v() + d) * load_lanes(y.data + t * y.step + d, s.DV - d);
    const float *pair = g.lse + 2 * (((span.b * s.T + span.t + min_of(t, span.n - 1)) * s.NH) + head);
    tiles.mean[t] = hsum(sum);
    tiles.largest[t] = pair[0];
    tiles.log_sum[t] = pair[1];
  }
}

void load_keys(Tiles &tiles, const AttentionShape &s, const AttentionInputs &in, const KeyTile &tile, int64_t head) {
  const int64_t padded = round_up(tile.n, ROWS);
  if (s.has_keys) {
    const Source keys = tile_rows(s, tile, head, in.k, in.k_cache, s.DK);
    copy_rows(tiles.keys, s.row_k(), padded, s.padded_k(), keys, 1);
    copy_panels(tiles.key_rows, KEYS, keys, 1, nullptr);
  }
  copy_rows(tiles.values, s.row_v(), padded, s.padded_v(), tile_rows(s, tile, head, in.v, in.v_cache, s.DV), 1);
}

// weights[key][query] of a panel.
template <int NV>
void panel_weights(Tiles &tiles, const AttentionShape &s, const Sight &sight, int64_t col, bool has_bias) {
  const float *queries = s.has_keys ? tiles.queries + col * s.padded_k() : nullptr;
  panel_logits<NV>(s, sight, {tiles.keys, queries, has_bias ? tiles.bias : nullptr}, col,
                   [&](int64_t key, int64_t at, vf (&logits)[ROWS], bool whole) {
                     const vf largest = load(tiles.largest + col + at), log_sum = load(tiles.log_sum + col + at);
#pragma GCC unroll 8
                     for (int r = 0; r < ROWS; r++) {
                       vf weight = vexp((logits[r] - largest) - log_sum);
                       if (!whole) weight = select(sight.lanes(key + r, col + at), weight, vf{});
                       store(tiles.weights + (key + r) * STEP + col + at, weight);
                     }
                   });
}

// dlogits[key][query] of a panel: weight (dy . v - mean).
template <int NV>
void panel_dlogits(Tiles &tiles, const AttentionShape &s, const Sight &sight, int64_t col) {
  AttentionShape values = s;
  values.DK = s.DV;
  values.has_keys = true;
  panel_logits<NV>(values, sight, {tiles.values, tiles.dy + col * s.padded_v(), nullptr}, col,
                   [&](int64_t key, int64_t at, vf (&dp)[ROWS], bool) {
                     const vf mean = load(tiles.mean + col + at);
#pragma GCC unroll 8
                     for (int r = 0; r < ROWS; r++) {
                       const int64_t to = (key + r) * STEP + col + at;
                       store(tiles.dlogits + to, load(tiles.weights + to) * (dp[r] - mean));
                     }
                   });
}

// dq += dlogits^T keys, for rows of queries that lie in one vector: what no query of a vector sees was not written.
void add_dq(Tiles &tiles, const AttentionShape &s, const Sight &sight) {
  for_panels(s.DK, [&](int64_t key_col, int64_t vectors) {
    const float *keys = tiles.key_rows + key_col * KEYS;
    float *dq = tiles.dq + key_col * QUERIES;
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = 0; t < sight.queries; t += MR) {
        const int64_t first = sight.first_key(t), n = sight.end_key(t + MR - 1) - first;
        if (n <= 0) continue;
        vf acc[MR][NV];
        tile_zero(acc);
        tile_product(acc, tiles.dlogits + first * STEP + t, 1, STEP, keys + first * P, n);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) {
            float *to = dq + (t + r) * P + v * W;
            store(to, load(to) + acc[r][v]);
          }
      }
    });
  });
}

// The caller's rows += left [key][query] right [query, width], where right is in panels: dv from weights and dy, dk
// from dlogits and queries.
void add_to_keys(float *to, int64_t step, int64_t width, const float *left, const float *right, const Sight &sight) {
  for_panels(width, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t s = 0; s < sight.keys; s += ROWS) {
        // From where the row of a vector was written.
        const int64_t first = sight.first_query(s) / W * W, n = sight.end_query(s + ROWS - 1) - first;
        if (n <= 0) continue;
        vf acc[ROWS][NV];
        tile_zero(acc);
        tile_product(acc, left + s * STEP + first, STEP, 1, right + col * QUERIES + first * P, n);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
          if (s + r >= sight.keys) break;
          row_lanes<NV>(to + (s + r) * step + col, width - col,
                        [&](float *p, int64_t lanes, int v) { store_lanes(p, load_lanes(p, lanes) + acc[r][v], lanes); });
        }
      }
    });
  });
}

// dbias += dlogits, transposed.
void add_dbias(const Tiles &tiles, const AttentionShape &s, const Span &span, const KeyTile &tile, const Sight &sight,
               int64_t head, float *dbias) {
  for (int64_t t = 0; t < span.n; t++) {
    float *row = dbias + s.bias_at(head, span.position + t) + tile.position;
    for (int64_t key = sight.first_key(t); key < sight.end_key(t); key++) row[key] += tiles.dlogits[key * STEP + t];
  }
}

// One tile of queries with all keys that they see.
void attend_back(Tiles &tiles, const AttentionShape &s, const AttentionInputs &in, const Gradients &g,
                 const Span &span, int64_t head) {
  load_queries(tiles, s, in, g, span, head);
  for_key_tiles(s, in, span, [&](const KeyTile &tile) {
    load_keys(tiles, s, in, tile, head);
    const Sight sight(s, span, tile);
    for_panels(span.n, [&](int64_t col, int64_t vectors) {
      if (in.bias) load_bias(tiles.bias, tiles.rows, s, in.bias, head, span, tile, col);
      with_vectors(vectors, [&](auto count) {
        constexpr int NV = decltype(count)::value;
        panel_weights<NV>(tiles, s, sight, col, in.bias != nullptr);
        panel_dlogits<NV>(tiles, s, sight, col);
      });
    });
    const int64_t at = tile.row * s.NKV + head / s.group();
    float *dv = tile.cached ? g.dv_cache : g.dv, *dk = tile.cached ? g.dk_cache : g.dk;
    if (dv) add_to_keys(dv + at * s.DV, s.NKV * s.DV, s.DV, tiles.weights, tiles.dy_rows, sight);
    if (dk && s.has_keys) add_to_keys(dk + at * s.DK, s.NKV * s.DK, s.DK, tiles.dlogits, tiles.query_rows, sight);
    if (g.dq && s.has_keys) add_dq(tiles, s, sight);
    if (g.dbias) add_dbias(tiles, s, span, tile, sight, head, g.dbias);
  });
  if (!g.dq || !s.has_keys) return;
  float *dq = g.dq + ((span.b * s.T + span.t) * s.NH + head) * s.DK;
  for (int64_t t = 0; t < span.n; t++)
    for_panels(s.DK, [&](int64_t col, int64_t vectors) {
      for (int64_t v = 0; v < vectors; v++) {
        float *to = dq + t * s.NH * s.DK + col + v * W;
        const int64_t lanes = s.DK - col - v * W;
        store_lanes(to, load_lanes(to, lanes) + s.scale * load(tiles.dq + col * QUERIES + t * P + v * W), lanes);
      }
    });
}

}  // namespace

extern "C" int XL_KERNEL(xl_attention_backward)(float *dq, float *dk, float *dv, float *dbias, float *dk_cache,
                                                float *dv_cache, const float *dy, const float *y, const float *lse,
                                                const float *q, const float *k, const float *v, const float *bias,
                                                const float *k_cache, const float *v_cache, const int32_t *positions,
                                                int64_t B, int64_t T, int64_t NH, int64_t NKV, int64_t DK, int64_t DV,
                                                int64_t W, int64_t Q, int64_t P, double scale, int32_t causal) {
  const AttentionShape s{B, T, NH, NKV, DK, DV, W, Q, P, float(scale), causal != 0, q != nullptr};
  const AttentionInputs in{q, k, v, bias, k_cache, v_cache, positions};
  const Gradients g{dq, dk, dv, dbias, dk_cache, dv_cache, dy, y, lse};
  if (int status = check_attention("attention_backward", s, in)) return status;
  Arena counting(nullptr);
  Tiles(counting, s, bias != nullptr);
  int failed = 0;
  // The gradient of the bias adds up sequences, which then are one task.
  const int64_t together = dbias ? B : 1;
  parallel_for(B / max_of(together, 1) * NKV, [&](int64_t task, int worker) {
    Arena arena(xl::scratch(worker, counting.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Tiles tiles(arena, s, bias != nullptr);
    const int64_t key_head = task % NKV;
    for (int64_t b = task / NKV * together; b < (task / NKV + 1) * together; b++)
      for (int64_t t = 0; t < T; t += QUERIES)
        for_spans(s, positions, b, t, min_of(T, t + QUERIES), [&](const Span &span) {
          for (int64_t head = key_head * s.group(); head < (key_head + 1) * s.group(); head++)
            attend_back(tiles, s, in, g, span, head);
        });
  });
  if (failed) return out_of_scratch("attention_backward", counting.used);
  return XL_OK;
}
