// Block-diagonal linear maps with square blocks of 4 or 8: as fast as memory. Other blocks are matrix products
// (headwise_linear.cpp).
//
// A vector holds whole blocks of a row (with 4 lanes: half a block of 8). Then y = sum over i of weight_i * x_i, where
// x_i has element i of the lane's block in each lane, and weight_i the matching weights, laid out before.
#ifndef XL_CPU_HEADWISE_SMALL_H
#define XL_CPU_HEADWISE_SMALL_H
#include "lanes.h"
#include "reduce.h"

namespace XL_NS {
namespace {

constexpr int ROWS_AT_ONCE = 4;  // share one load of the weights

// Lane l of the result is x[from(l)]; `from` must be known at compile time.
template <class From>
XL_INLINE vf permute(vf x, const From &from) {
#if defined(__clang__)
  vf y;
  for (int lane = 0; lane < W; lane++) y[lane] = x[from(lane)];
  return y;
#else
  vi index;
#pragma GCC unroll 16
  for (int lane = 0; lane < W; lane++) index[lane] = from(lane);
  return __builtin_shuffle(x, index);
#endif
}

// The blocks that a vector of columns belongs to, in one vector or (a block longer than a vector) several.
template <int S>
struct BlockOf {
  static constexpr int PARTS = S > W ? S / W : 1;
  vf part[PARTS];

  template <class Lanes>
  XL_INLINE static BlockOf load(const float *row, int64_t column, Lanes lanes) {
    BlockOf block;
    if constexpr (PARTS == 1) {
      block.part[0] = lanes.load(row + column);
    } else {
      for (int i = 0; i < PARTS; i++) block.part[i] = XL_NS::load(row + column / S * S + i * W);
    }
    return block;
  }

  // Element i of the lane's block, in each lane.
  XL_INLINE vf element(int i) const {
    return permute(part[PARTS == 1 ? 0 : i / W], [&](int lane) { return PARTS == 1 ? lane / S * S + i : i % W; });
  }
};

// Floats of the weights laid out for rows of `columns` floats: [vector][element of the block][lane].
template <int S>
int64_t small_floats(int64_t columns) {
  return ceil_div(columns, W) * W * S;
}

// weight is [columns / S, S, S]. For y (by_output): weight_i[lane o] = weight[o][i]; for dx: weight_o[lane i] the same.
template <int S>
void lay_out_weights(float *to, const float *weight, int64_t columns, bool by_output) {
  const int64_t lane_step = by_output ? S : 1, element_step = by_output ? 1 : S;
  for (int64_t first = 0; first < columns; first += W)
    for (int64_t lane = 0; lane < W; lane++) {
      const int64_t column = first + lane;
      const float *from = weight + column / S * S * S + column % S * lane_step;
      for (int e = 0; e < S; e++) to[first * S + e * W + lane] = column < columns ? from[e * element_step] : 0.0f;
    }
}

// R rows of y = weights * x + bias, or y += with ADD.
template <int S, int R, bool ADD>
void small_rows(float *y, const float *x, const float *weights, const float *bias, int64_t columns) {
  for_lanes(0, columns, [=](int64_t column, auto lanes) {
    vf sum[R];
    const vf start = bias ? lanes.load(bias + column) : vf{};
    BlockOf<S> block[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      sum[r] = ADD ? lanes.load(y + r * columns + column) : start;
      block[r] = BlockOf<S>::load(x + r * columns, column, lanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < S; i++) {
      const vf weight = load(weights + column * S + i * W);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) sum[r] = weight * block[r].element(i) + sum[r];
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) lanes.store(y + r * columns + column, sum[r]);
  });
}

template <int S, bool ADD>
int small_map(const char *kernel, float *y, const float *x, const float *weight, const float *bias, int64_t N,
              int64_t columns, bool by_output) {
  const int64_t floats = small_floats<S>(columns);
  float *weights = xl::shared_scratch(floats);
  if (!weights) return out_of_scratch(kernel, floats);
  lay_out_weights<S>(weights, weight, columns, by_output);
  const int64_t grain = ceil_div(max_of(memory_grain / columns, 1), ROWS_AT_ONCE) * ROWS_AT_ONCE;
  parallel_range(N, grain, [=](int64_t begin, int64_t end, int) {
    int64_t n = begin;
    for (; n + ROWS_AT_ONCE <= end; n += ROWS_AT_ONCE)
      small_rows<S, ROWS_AT_ONCE, ADD>(y + n * columns, x + n * columns, weights, bias, columns);
    for (; n < end; n++) small_rows<S, 1, ADD>(y + n * columns, x + n * columns, weights, bias, columns);
  });
  return XL_OK;
}

// sums[vector][i][lane o] (+)= sum over R rows of dy[lane o] * x_i: the layout of the weights.
template <int S, int R>
void small_weight_gradient(float *sums, const float *dy, const float *x, int64_t columns, bool first) {
  for_lanes(0, columns, [=](int64_t column, auto lanes) {
    vf sum[S];
#pragma GCC unroll 8
    for (int i = 0; i < S; i++) sum[i] = first ? vf{} : load(sums + column * S + i * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const BlockOf<S> block = BlockOf<S>::load(x + r * columns, column, lanes);
      const vf left = lanes.load(dy + r * columns + column);
#pragma GCC unroll 8
      for (int i = 0; i < S; i++) sum[i] = left * block.element(i) + sum[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < S; i++) store(sums + column * S + i * W, sum[i]);
  });
}

// dweight[g,o,i] += sum over n of dy[n,g,o] x[n,g,i], by blocks of rows (reduce.h).
template <int S>
int small_dweight(const char *kernel, float *dweight, const float *dy, const float *x, int64_t N, int64_t columns) {
  constexpr int R = 8;
  const RowBlocks blocks = row_blocks(N, 64);
  const int64_t floats = small_floats<S>(columns);
  float *sums = xl::shared_scratch(blocks.count * floats);
  if (!sums) return out_of_scratch(kernel, blocks.count * floats);
  parallel_for(blocks.count, [=](int64_t b, int) {
    const int64_t begin = blocks.begin(b), end = blocks.end(b);
    int64_t n = begin;
    for (; n + R <= end; n += R)
      small_weight_gradient<S, R>(sums + b * floats, dy + n * columns, x + n * columns, columns, n == begin);
    for (; n < end; n++)
      small_weight_gradient<S, 1>(sums + b * floats, dy + n * columns, x + n * columns, columns, n == begin);
  });
  parallel_range(ceil_div(columns, W), 16, [=](int64_t begin, int64_t end, int) {
    for (int64_t v = begin; v < end; v++)
      for (int i = 0; i < S; i++) {
        const float *from = sums + (v * S + i) * W;
        vf sum = load(from);
        for (int64_t b = 1; b < blocks.count; b++) sum += load(from + b * floats);
        for (int64_t lane = 0; lane < min_of(W, columns - v * W); lane++) dweight[(v * W + lane) * S + i] += sum[lane];
      }
  });
  return XL_OK;
}

}  // namespace
}  // namespace XL_NS
#endif
