// One step of a matrix state for decoding, S' = next(S, S^T b) and o = S'^T q, on the caller's own memory: columns of S
// are independent of each other, and each is read and written once from far away. The rules are those of the kernels.
#ifndef XL_CPU_STATE_STEP_H
#define XL_CPU_STATE_STEP_H
#include "tile.h"

namespace XL_NS {
namespace {

// Columns begin .. end-1 of one head. S NULL is zeros, to NULL is not wanted; they may be the same memory.
// A rule has memory(d), the coefficient of row d in what the state knows of the step; prepare(known, e, lanes), what
// the columns from e on need to go on; next(S, d, prepared), and query(d).
template <class Rule>
inline void step_columns(float *o, float *to, const float *S, const Rule &rule, int64_t DK, int64_t DV, int64_t begin,
                         int64_t end) {
  auto columns = [&](int64_t e, auto count) {
    constexpr int NV = decltype(count)::value;
    vf known[NV], sum[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) known[v] = sum[v] = vf{};
    const int64_t last = end - e - (NV - 1) * W;  // lanes of the last vector
    auto lanes = [&](int v) { return v == NV - 1 ? last : int64_t(W); };
    if (S)
      for (int64_t d = 0; d < DK; d++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) known[v] += load_lanes(S + d * DV + e + v * W, lanes(v)) * rule.memory(d);
    decltype(rule.prepare(known[0], 0, 0)) prepared[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) prepared[v] = rule.prepare(known[v], e + v * W, lanes(v));
    for (int64_t d = 0; d < DK; d++)
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        const vf before = S ? load_lanes(S + d * DV + e + v * W, lanes(v)) : vf{};
        const vf after = rule.next(before, d, prepared[v]);
        if (to) store_lanes(to + d * DV + e + v * W, after, lanes(v));
        sum[v] += after * rule.query(d);
      }
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) store_lanes(o + e + v * W, sum[v], lanes(v));
  };
  int64_t e = begin;
  for (; e + 3 * W < end; e += 4 * W) columns(e, Count<4>());
  for (; e < end; e += W) columns(e, Count<1>());
}

// body(head, begin, end) for columns of every head of the state S, on all threads. Where there are fewer heads than two
// for each thread they are cut into pieces of 128 KB or more, but no finer: whole rows are read faster. Small heads go
// together up to that size.
template <class Body>
inline void parallel_columns(const float *S, int64_t heads, int64_t DK, int64_t DV, const Body &body) {
  constexpr int64_t task_floats = 32768;
  const int64_t head_size = DK * DV, together = max_of(1, task_floats / head_size);
  const int64_t tasks = xl::threads() == 1 ? 1 : 2 * xl::threads();
  const int64_t wanted = max_of(1, min_of(head_size / task_floats, ceil_div(tasks, max_of(heads, 1))));
  const int64_t columns = ceil_div(ceil_div(DV, wanted), 4 * W) * 4 * W, pieces = ceil_div(DV, columns);
  const auto take = [&](int64_t first, int64_t last, int) {
    for (int64_t task = first; task < last; task++) {
      const int64_t begin = task % pieces * columns;
      body(task / pieces, begin, min_of(begin + columns, DV));
    }
  };
  parallel_stream(heads * pieces, pieces > 1 ? 1 : together, take, [&](int64_t task) {
    // Columns are no stretch of memory.
    if (pieces > 1 || !S) return xl::Stretch{};
    return xl::Stretch{S + task * head_size, (heads - task) * head_size * int64_t(sizeof(float))};
  });
}

}  // namespace
}  // namespace XL_NS
#endif
