// Output layer and cross-entropy in one, forward and backward: loss = logsumexp(x weight^T) - the target's logit, of
// logits that may be capped softly first.
// Logits exist for one chunk of the vocabulary at a time; the backward pass computes them again.
#include "lanes.h"
#include "matmul.h"
#include "reduce.h"
#include "soft_cap.h"

namespace XL_NS {
namespace {

constexpr int64_t CHUNK = 512;  // of the vocabulary; a block of logits stays in L2
constexpr int64_t ROW_BLOCK = 96;
constexpr int64_t GRADIENT_ROWS = 2048;  // of logits at a time in the backward pass: 4 MB with a chunk
constexpr float INFINITE = __builtin_inff();
// Slots of scratch; the first ones belong to the matrix product.
enum { SLOT_LOGITS = 4, SLOT_PACKED = 5, SLOT_STATE = 6 };

struct Problem {
  const char *kernel;
  const float *x, *weight;
  const int32_t *targets;
  int64_t N, D, V;
  float soft_cap;  // 0: none

  // logits[rows, chunk] = x[rows] weight[chunk]^T; c is filled in by each task.
  Matmul logits(int64_t first_row, int64_t rows, Range chunk, float *c) const {
    return {
        c,     x + first_row * D, weight + chunk.begin * D, nullptr, rows, chunk.length, D, false, true, D, D, CHUNK,
        false, XL_ACT_NONE};
  }
};

int check(const Problem &p) {
  if (p.N < 0 || p.D <= 0 || p.V <= 0)
    return xl::fail(XL_INVALID, "%s: N must not be negative and D, V must be positive, got %lld, %lld, %lld", p.kernel,
                    (long long)p.N, (long long)p.D, (long long)p.V);
  if (!(p.soft_cap >= 0 && p.soft_cap < INFINITE))
    return xl::fail(XL_INVALID, "%s: soft_cap must be 0 (none) or above and finite, got %g", p.kernel,
                    (double)p.soft_cap);
  for (int64_t n = 0; n < p.N; n++)
    if (p.targets[n] < -1 || p.targets[n] >= p.V)
      return xl::fail(XL_INVALID, "%s: target %d at position %lld lies outside of the vocabulary 0..%lld (-1: ignored)",
                      p.kernel, (int)p.targets[n], (long long)n, (long long)p.V - 1);
  return XL_OK;
}

// Smaller for few rows, so that all threads have some.
int64_t row_block(int64_t N) { return N >= 8 * ROW_BLOCK ? ROW_BLOCK : max_of(24, ceil_div(N, 8 * 12) * 12); }

// The running logsumexp of a row: log(sum) + top.
struct RowState {
  float top, sum, target;
};

void cap_logits(float *row, int64_t length, float cap) {
  if (cap == 0) return;
  for_lanes(0, length, [&](int64_t v, auto lanes) { lanes.store(row + v, soft_cap(lanes.load(row + v), cap)); });
}

// Takes in the logits [length] of a chunk. The sum is kept relative to the largest logit so far.
void take_in(RowState &state, const float *logits, int64_t length) {
  vf largest = splat(-INFINITE);
  for_lanes(0, length, [&](int64_t v, auto lanes) {
    const vf x = lanes.load(logits + v);
    largest = vmax(select(lanes.inside(splat(1.0f)) > 0.0f, x, splat(-INFINITE)), largest);
  });
  const float top = hmax(largest) > state.top ? hmax(largest) : state.top;
  const float shift = top == -INFINITE ? 0.0f : top;  // while all probabilities are zero
  vf sum = {};
  for_lanes(0, length, [&](int64_t v, auto lanes) { sum += lanes.inside(vexp(lanes.load(logits + v) - shift)); });
  state.sum = state.sum * vexp(splat(state.top - shift))[0] + hsum(sum);
  state.top = top;
}

int forward(const Problem &p, float *loss, float *logsumexp) {
  int status = matmul_reserve(false);
  if (status != XL_OK) return status;
  const int64_t block = row_block(p.N), packed_size = matmul_packed_floats(CHUNK, p.D);
  float *packed = xl::shared_scratch(packed_size, SLOT_PACKED);
  auto *states = reinterpret_cast<RowState *>(xl::shared_scratch(3 * p.N, SLOT_STATE));
  bool memory = packed && states;
  for (int worker = 0; worker < xl::threads(); worker++)
    memory = memory && xl::scratch(worker, block * CHUNK, SLOT_LOGITS);
  if (!memory) return out_of_scratch(p.kernel, packed_size + 3 * p.N);

  for (int64_t n = 0; n < p.N; n++) states[n] = {-INFINITE, 0, 0};
  for (int64_t v = 0; v < p.V; v += CHUNK) {
    const Range chunk = {v, min_of(CHUNK, p.V - v)}, all = {0, chunk.length};
    matmul_pack(packed, p.logits(0, p.N, chunk, nullptr), all);
    parallel_range(p.N, block, [&](int64_t begin, int64_t end, int worker) {
      float *logits = xl::scratch(worker, block * CHUNK, SLOT_LOGITS);
      matmul_packed(p.logits(begin, end - begin, chunk, logits), packed, all, {0, end - begin}, all, worker);
      for (int64_t n = begin; n < end; n++) {
        float *row = logits + (n - begin) * CHUNK;
        cap_logits(row, chunk.length, p.soft_cap);
        const int64_t target = p.targets[n] - v;
        if (target >= 0 && target < chunk.length) states[n].target = row[target];
        take_in(states[n], row, chunk.length);
      }
    });
  }
  parallel_range(p.N, 256, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; n++) {
      const RowState &s = states[n];
      logsumexp[n] = s.top + vlog(splat(s.sum))[0];
      loss[n] = p.targets[n] < 0 ? 0.0f : logsumexp[n] - s.target;
    }
  });
  return XL_OK;
}

// In place: products x . weight -> dloss * (softmax - [v = target]), times the slope of the cap; zeros where nothing
// flows back. `target` is counted from the chunk's first token and may lie outside of it.
void logits_gradient(float *row, int64_t length, float dloss, float logsumexp, int64_t target, float cap) {
  if (dloss == 0) {
    for_lanes(0, length, [&](int64_t v, auto lanes) { lanes.store(row + v, vf{}); });
    return;
  }
  const bool has_target = target >= 0 && target < length;
  const float slope_of_target = has_target && cap != 0 ? soft_cap_slope(splat(row[target]), cap)[0] : 1.0f;
  for_lanes(0, length, [&](int64_t v, auto lanes) {
    const vf x = lanes.load(row + v);
    lanes.store(row + v, cap == 0
                             ? dloss * vexp(x - logsumexp)
                             : (dloss * vexp(soft_cap(x, cap) - logsumexp)) * soft_cap_slope(x, cap));
  });
  if (has_target) row[target] -= dloss * slope_of_target;
}

// The rows first .. first + rows of one chunk.
int backward_chunk(const Problem &p, float *dx, float *dweight, const float *dloss, const float *logsumexp, Range rows,
                   Range chunk, float *packed, float *gradient) {
  const Range all = {0, chunk.length};
  const Matmul logits = p.logits(rows.begin, rows.length, chunk, gradient);
  matmul_pack(packed, logits, all);
  parallel_range(rows.length, row_block(rows.length), [&](int64_t begin, int64_t end, int worker) {
    matmul_packed(logits, packed, all, {begin, end - begin}, all, worker);
    for (int64_t r = begin; r < end; r++) {
      const int64_t n = rows.begin + r, target = p.targets[n];
      logits_gradient(gradient + r * CHUNK, chunk.length, target == -1 ? 0 : dloss[n], logsumexp[n],
                      target - chunk.begin, p.soft_cap);
    }
  });
  int status = XL_OK;
  // logits = x weight^T
  if (dx)
    status = matmul({dx + rows.begin * p.D, gradient, p.weight + chunk.begin * p.D, nullptr, rows.length, p.D,
                     chunk.length, false, false, CHUNK, p.D, p.D, true, XL_ACT_NONE});
  if (dweight && status == XL_OK)
    status = matmul({dweight + chunk.begin * p.D, gradient, p.x + rows.begin * p.D, nullptr, chunk.length, p.D,
                     rows.length, true, false, CHUNK, p.D, p.D, true, XL_ACT_NONE});
  return status;
}

int backward(const Problem &p, float *dx, float *dweight, const float *dloss, const float *logsumexp) {
  int status = matmul_reserve(false);
  if (status != XL_OK) return status;
  const int64_t most = min_of(p.N, GRADIENT_ROWS), packed_size = matmul_packed_floats(CHUNK, p.D);
  float *packed = xl::shared_scratch(packed_size, SLOT_PACKED);
  float *gradient = xl::shared_scratch(most * CHUNK, SLOT_LOGITS);
  if (!packed || !gradient) return out_of_scratch(p.kernel, packed_size + most * CHUNK);
  for (int64_t n = 0; n < p.N; n += most) {
    const Range rows = {n, min_of(most, p.N - n)};
    for (int64_t v = 0; v < p.V && status == XL_OK; v += CHUNK)
      status = backward_chunk(p, dx, dweight, dloss, logsumexp, rows, {v, min_of(CHUNK, p.V - v)}, packed, gradient);
  }
  return status;
}

}  // namespace
}  // namespace XL_NS

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_linear_cross_entropy_forward)(float *loss, float *logsumexp, const float *x,
                                                          const float *weight, const int32_t *targets, int64_t N,
                                                          int64_t D, int64_t V, float cap) {
  const Problem p = {"linear_cross_entropy_forward", x, weight, targets, N, D, V, cap};
  const int status = check(p);
  return status != XL_OK || N == 0 ? status : forward(p, loss, logsumexp);
}

extern "C" int XL_KERNEL(xl_linear_cross_entropy_backward)(float *dx, float *dweight, const float *dloss,
                                                           const float *x, const float *weight, const int32_t *targets,
                                                           const float *logsumexp, int64_t N, int64_t D, int64_t V,
                                                           float cap) {
  const Problem p = {"linear_cross_entropy_backward", x, weight, targets, N, D, V, cap};
  const int status = check(p);
  return status != XL_OK || N == 0 ? status : backward(p, dx, dweight, dloss, logsumexp);
}
