// Softmax attention, forward: each tile of queries walks over the keys that it sees with a running maximum and sum per
// query (the online softmax, arXiv 1805.02867 algorithm 3), so that no row of logits is ever whole in memory.
#include "attention.h"
#include "attention_step.h"

using namespace XL_NS;

namespace {

// The memory of one tile of queries at work.
struct Tile {
  float *rows;      // queries or bias on the way to panels
  float *queries;   // panels [padded_k, QUERIES], scaled
  float *keys;      // rows
  float *values;    // panels over DV
  float *bias;      // [KEYS, P]
  float *weights;   // [KEYS, P] of one panel of queries
  float *factor;    // of one panel: what a larger maximum makes of what was summed before
  float *largest;   // per query
  float *sum;       // per query
  float *out;       // panels [QUERIES, DV], before the division by sum

  Tile(Arena &arena, const AttentionShape &s, bool has_bias) {
    rows = arena.take(max_of(QUERIES * s.row_k(), has_bias ? P * (KEYS + W) : 0));
    queries = arena.take(panel_floats(s.padded_k(), round_up(QUERIES, P)));
    keys = arena.take(KEYS * s.row_k());
    values = arena.take(panel_floats(KEYS, s.DV));
    bias = arena.take(has_bias ? KEYS * P : 0);
    weights = arena.take(KEYS * P);
    factor = arena.take(P);
    largest = arena.take(round_up(QUERIES, P));
    sum = arena.take(round_up(QUERIES, P));
    out = arena.take(panel_floats(QUERIES, s.DV));
  }
};

void load_queries(Tile &tile, const AttentionShape &s, const AttentionInputs &in, const Span &span, int64_t head) {
  const int64_t padded = round_up(span.n, W);
  if (s.has_keys) {
    copy_rows(tile.rows, s.row_k(), padded, s.padded_k(), span_rows(s, span, head, in.q, s.DK), s.scale);
    transpose_to_panels(tile.queries, tile.rows, s.row_k(), padded, s.padded_k());
  }
  for (int64_t t = 0; t < round_up(QUERIES, P); t++) tile.largest[t] = -HUGE_VALF;
  fill_zero(tile.sum, round_up(QUERIES, P));
  fill_zero(tile.out, panel_floats(QUERIES, s.DV));
}

void load_keys(Tile &tile, const AttentionShape &s, const AttentionInputs &in, const KeyTile &keys, int64_t head) {
  if (s.has_keys)
    copy_rows(tile.keys, s.row_k(), round_up(keys.n, ROWS), s.padded_k(),
              tile_rows(s, keys, head, in.k, in.k_cache, s.DK), 1);
  copy_panels(tile.values, KEYS, tile_rows(s, keys, head, in.v, in.v_cache, s.DV), 1, nullptr);
}

// e^x, and nothing at all where it is far below what a sum with a 1 in it can hold.
XL_INLINE vf weight_of(vf x) { return select(x < -100.0f, vf{}, vexp(x)); }

// Weights of a panel relative to the largest logit so far, the factor for what came before, and the new sums.
template <int NV>
void panel_weights(Tile &tile, const AttentionShape &s, const Sight &sight, int64_t col, bool has_bias) {
  vf largest[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) largest[v] = load(tile.largest + col + v * W);
  const float *queries = s.has_keys ? tile.queries + col * s.padded_k() : nullptr;
  panel_logits<NV>(s, sight, {tile.keys, queries, has_bias ? tile.bias : nullptr}, col,
                   [&](int64_t key, int64_t at, vf (&logits)[ROWS], bool whole) {
                     vf now = load(tile.largest + col + at);
#pragma GCC unroll 8
                     for (int r = 0; r < ROWS; r++) {
                       if (!whole) logits[r] = select(sight.lanes(key + r, col + at), logits[r], splat(-HUGE_VALF));
                       store(tile.weights + (key + r) * P + at, logits[r]);
                       now = vmax(logits[r], now);
                     }
                     store(tile.largest + col + at, now);
                   });
  vf sum[NV], reference[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) {
    const vf now = load(tile.largest + col + v * W);
    reference[v] = select(now == -HUGE_VALF, vf{}, now);  // no key seen yet
    const vf factor = weight_of(largest[v] - reference[v]);
    store(tile.factor + v * W, factor);
    sum[v] = load(tile.sum + col + v * W) * factor;
  }
  const int64_t first_row = sight.first_key(col) / ROWS * ROWS, end_row = sight.end_key(col + NV * W - 1);
  for (int64_t key = first_row; key < end_row; key++) {
    const int64_t first = max_of(0, sight.first_query(key / ROWS * ROWS) - col) / W;
    float *row = tile.weights + key * P;
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      if (v < first) continue;
      const vf weight = weight_of(load(row + v * W) - reference[v]);
      store(row + v * W, weight);
      sum[v] += weight;
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) store(tile.sum + col + v * W, sum[v]);
}

// out = factor * out + weights^T values for the queries of a panel.
void panel_outputs(Tile &tile, const AttentionShape &s, const Sight &sight, int64_t col) {
  const int64_t end = min_of(sight.queries, col + P);
  for_panels(s.DV, [&](int64_t value_col, int64_t vectors) {
    const float *values = tile.values + value_col * KEYS;
    float *out = tile.out + value_col * QUERIES;
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = col; t < end; t += MR) {
        vf acc[MR][NV];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) acc[r][v] = load(out + (t + r) * P + v * W);
        tile_scale_rows(acc, tile.factor + (t - col));
        const int64_t first = sight.first_key(t), keys = sight.end_key(t + MR - 1) - first;
        tile_product(acc, tile.weights + first * P + (t - col), 1, P, values + first * P, max_of(0, keys));
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(out + (t + r) * P + v * W, acc[r][v]);
      }
    });
  });
}

void store_outputs(const Tile &tile, const AttentionShape &s, const Span &span, int64_t head, float *y, float *lse) {
  const int64_t row = (span.b * s.T + span.t) * s.NH + head;
  for (int64_t t = 0; t < span.n; t++) {
    const float sum = tile.sum[t];
    float *pair = lse + 2 * (row + t * s.NH);
    pair[0] = tile.largest[t];
    pair[1] = float(log(double(sum)));
    float *to = y + (row + t * s.NH) * s.DV;
    const float inverse = 1 / sum;
    for_panels(s.DV, [&](int64_t col, int64_t vectors) {
      for (int64_t v = 0; v < vectors; v++)
        store_lanes(to + col + v * W, load(tile.out + col * QUERIES + t * P + v * W) * inverse, s.DV - col - v * W);
    });
  }
}

void attend(Tile &tile, const AttentionShape &s, const AttentionInputs &in, const Span &span, int64_t head, float *y,
            float *lse) {
  load_queries(tile, s, in, span, head);
  for_key_tiles(s, in, span, [&](const KeyTile &keys) {
    load_keys(tile, s, in, keys, head);
    const Sight sight(s, span, keys);
    for_panels(span.n, [&](int64_t col, int64_t vectors) {
      if (sight.end_key(col + P - 1) <= sight.first_key(col)) return;
      if (in.bias) load_bias(tile.bias, tile.rows, s, in.bias, head, span, keys, col);
      with_vectors(vectors,
                   [&](auto count) { panel_weights<decltype(count)::value>(tile, s, sight, col, in.bias != nullptr); });
      panel_outputs(tile, s, sight, col);
    });
  });
  store_outputs(tile, s, span, head, y, lse);
}

}  // namespace

extern "C" int XL_KERNEL(xl_attention_forward)(float *y, float *lse, const float *q, const float *k, const float *v,
                                               const float *bias, const float *k_cache, const float *v_cache,
                                               const int32_t *positions, int64_t B, int64_t T, int64_t NH, int64_t NKV,
                                               int64_t DK, int64_t DV, int64_t W, int64_t Q, int64_t P, double scale,
                                               int32_t causal) {
  const AttentionShape s{B, T, NH, NKV, DK, DV, W, Q, P, float(scale), causal != 0, q != nullptr};
  const AttentionInputs in{q, k, v, bias, k_cache, v_cache, positions};
  if (int status = check_attention("attention_forward", s, in)) return status;
  if (T == 1) return attention_step(s, in, y, lse);
  Arena counting(nullptr);
  Tile(counting, s, bias != nullptr);
  int failed = 0;
  // Later tiles see more keys: they go first.
  const int64_t tiles = ceil_div(T, QUERIES), heads = B * NH;
  parallel_for(heads * tiles, [&](int64_t task, int worker) {
    const int64_t tile = tiles - 1 - task / heads, b = task % heads / NH, head = task % NH;
    Arena arena(xl::scratch(worker, counting.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Tile memory(arena, s, bias != nullptr);
    for_spans(s, positions, b, tile * QUERIES, min_of(T, (tile + 1) * QUERIES),
              [&](const Span &span) { attend(memory, s, in, span, head, y, lse); });
  });
  if (failed) return out_of_scratch("attention_forward", counting.used);
  return XL_OK;
}
