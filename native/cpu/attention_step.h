// Softmax attention of one new step per sequence, as in decoding: the keys and values are read once from where they
// lie, which is what it costs. Included by attention.cpp alone.
#ifndef XL_CPU_ATTENTION_STEP_H
#define XL_CPU_ATTENTION_STEP_H
#include "attention.h"

namespace XL_NS {
namespace {

// Columns of the values that are summed in registers.
constexpr int64_t STEP_VECTORS = 4;

// logits[i] = scale * q . rows[i] for W rows, `step` apart; only `count` of them exist.
inline vf step_logits(const float *q, const float *rows, int64_t step, int64_t count, int64_t DK) {
  vf sums[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) sums[i] = vf{};
  for (int64_t d = 0; d < DK; d += W) {
    const int64_t lanes = DK - d;
    const vf query = load_lanes(q + d, lanes);
    if (count >= W) {
#pragma GCC unroll 16
      for (int i = 0; i < W; i++) sums[i] += query * load_lanes(rows + i * step + d, lanes);
    } else {
      for (int64_t i = 0; i < count; i++) sums[i] += query * load_lanes(rows + i * step + d, lanes);
    }
  }
  return sums_of_lanes(sums);
}

// The step of one key head and the query heads that share it.
struct StepHead {
  const AttentionShape &s;
  const AttentionInputs &in;
  Span span;
  int64_t key_head;
  int64_t first;  // position of the first key that is seen
  float *logits;  // [group, padded]
  int64_t padded;

  int64_t head(int64_t g) const { return key_head * s.group() + g; }

  void compute_logits(const KeyTile &tile) const {
    const Source keys = s.has_keys ? tile_rows(s, tile, head(0), in.k, in.k_cache, s.DK) : Source{};
    for (int64_t key = 0; key < tile.n; key += W) {
      const int64_t count = min_of(W, tile.n - key);
      for (int64_t g = 0; g < s.group(); g++) {
        vf x = {};
        if (s.has_keys)
          x = s.scale * step_logits(in.q + (span.b * s.NH + head(g)) * s.DK, keys.data + key * keys.step, keys.step,
                                    count, s.DK);
        if (in.bias)
          x += load_lanes(in.bias + s.bias_at(head(g), span.position) + tile.position + key, count);
        store_lanes(logits + g * padded + (tile.position - first) + key, x, count);
      }
    }
  }

  // Logits -> weights that sum to 1; the pair of lse.
  void softmax(int64_t g, int64_t n, float *lse) const {
    float *row = logits + g * padded;
    for (int64_t i = n; i < round_up(n, W); i++) row[i] = -HUGE_VALF;
    vf largest = splat(-HUGE_VALF), sum = {};
    for (int64_t i = 0; i < n; i += W) largest = vmax(load(row + i), largest);
    const float top = hmax(largest);
    for (int64_t i = 0; i < n; i += W) {
      const vf x = load(row + i) - top, weight = select(x < -100.0f, vf{}, vexp(x));
      store(row + i, weight);
      sum += weight;
    }
    const float total = hsum(sum), inverse = 1 / total;
    for (int64_t i = 0; i < n; i += W) store(row + i, load(row + i) * inverse);
    lse[0] = top;
    lse[1] = float(log(double(total)));
  }

  // y += weights . values for the rows of a tile.
  void add_values(const KeyTile &tile, float *y) const {
    const Source values = tile_rows(s, tile, head(0), in.v, in.v_cache, s.DV);
    for (int64_t col = 0; col < s.DV; col += STEP_VECTORS * W) {
      for (int64_t g = 0; g < s.group(); g++) {
        const float *weights = logits + g * padded + (tile.position - first);
        float *out = y + (span.b * s.NH + head(g)) * s.DV + col;
        if (s.DV - col >= STEP_VECTORS * W) {
          vf sum[STEP_VECTORS];
#pragma GCC unroll 4
          for (int v = 0; v < STEP_VECTORS; v++) sum[v] = load(out + v * W);
          for (int64_t i = 0; i < tile.n; i++) {
            const float *row = values.data + i * values.step + col;
#pragma GCC unroll 4
            for (int v = 0; v < STEP_VECTORS; v++) sum[v] += weights[i] * load(row + v * W);
          }
#pragma GCC unroll 4
          for (int v = 0; v < STEP_VECTORS; v++) store(out + v * W, sum[v]);
          continue;
        }
        for (int64_t d = 0; d < s.DV - col; d += W) {
          const int64_t lanes = s.DV - col - d;
          vf sum = load_lanes(out + d, lanes);
          for (int64_t i = 0; i < tile.n; i++)
            sum += weights[i] * load_lanes(values.data + i * values.step + col + d, lanes);
          store_lanes(out + d, sum, lanes);
        }
      }
    }
  }
};

// T = 1: tasks are the key heads of each sequence.
inline int attention_step(const AttentionShape &s, const AttentionInputs &in, float *y, float *lse) {
  int64_t longest = 1;
  for (int64_t b = 0; b < s.B; b++) longest = max_of(longest, min_of(s.window, int64_t(in.positions[b]) + 1));
  const int64_t padded = round_up(longest, W);
  int failed = 0;
  parallel_for(s.B * s.NKV, [&](int64_t task, int worker) {
    const int64_t b = task / s.NKV, key_head = task % s.NKV;
    float *logits = xl::scratch(worker, s.group() * padded);
    if (!logits) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    const Span span{b, 0, 1, in.positions[b]};
    // Without a cache, and without `causal`, nothing before this step is seen.
    const bool alone = !s.causal || !in.v_cache;
    const int64_t first = alone ? span.position : max_of(0, span.position - s.window + 1);
    const StepHead head{s, in, span, key_head, first, logits, padded};
    for_key_tiles(s, in, span, [&](const KeyTile &tile) { head.compute_logits(tile); });
    for (int64_t g = 0; g < s.group(); g++) {
      const int64_t row = b * s.NH + head.head(g);
      head.softmax(g, span.position - first + 1, lse + 2 * row);
      fill_zero(y + row * s.DV, s.DV);
    }
    for_key_tiles(s, in, span, [&](const KeyTile &tile) { head.add_values(tile, y); });
  });
  if (failed) return out_of_scratch("attention_forward", s.group() * padded);
  return XL_OK;
}

}  // namespace
}  // namespace XL_NS
#endif
