// Output layer and cross-entropy in one, forward and backward: loss = logsumexp(x weight^T) - the target's logit, of
// logits that may be capped softly first.
// Logits exist for one chunk of the vocabulary at a time, and the backward pass computes them again; where both passes
// are one, those of some rows are kept from the one to the other.
#include "lanes.h"
#include "matmul.h"
#include "reduce.h"
#include "soft_cap.h"
#include "zeros.h"

namespace XL_NS {
namespace {

constexpr int64_t CHUNK = 512;  // of the vocabulary; a block of logits stays in L2
constexpr int64_t ROW_BLOCK = 96;
constexpr int64_t GRADIENT_ROWS = 2048;  // of gradients of logits at a time, at most: 4 MB with a chunk
constexpr int64_t KEPT_LOGITS = 16 << 20;  // at a time where both passes are one, 64 MB; more where that is under a block
constexpr float INFINITE = __builtin_inff();
// Slots of scratch; the first ones belong to the matrix product.
enum { SLOT_LOGITS = 4, SLOT_PACKED = 5, SLOT_STATE = 6, SLOT_KEPT = 7 };

struct Problem {
  const char *kernel;
  const float *x, *weight;
  const int32_t *targets;
  int64_t N, D, V;
  float soft_cap;  // 0: none

  // logits[rows, chunk] = x[rows] weight[chunk]^T, in c with rows of `width`.
  Matmul logits(Range rows, Range chunk, float *c, int64_t width) const {
    return {
        c,     x + rows.begin * D, weight + chunk.begin * D, nullptr, rows.length, chunk.length, D, false, true, D, D,
        width, false, XL_ACT_NONE};
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

// The logits of products x . weight, in `room` where they are capped.
const float *capped(const float *row, float *room, int64_t length, float cap) {
  if (cap == 0) return row;
  for_lanes(0, length, [&](int64_t v, auto lanes) { lanes.store(room + v, soft_cap(lanes.load(row + v), cap)); });
  return room;
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

// Memory of the passes that compute the loss of `rows` rows at a time.
struct Room {
  float *packed;
  RowState *states;  // [rows]

  // Whether there was enough of it.
  bool reserve(const Problem &p, int64_t rows) {
    packed = xl::shared_scratch(matmul_packed_floats(CHUNK, p.D), SLOT_PACKED);
    states = reinterpret_cast<RowState *>(xl::shared_scratch(3 * rows, SLOT_STATE));
    bool memory = packed && states;
    for (int worker = 0; worker < xl::threads(); worker++)
      memory = memory && xl::scratch(worker, (row_block(rows) + 1) * CHUNK, SLOT_LOGITS);
    return memory;
  }
};

// loss and logsumexp [rows] of some rows. `kept` [rows,V] receives their products x . weight; null: nobody wants them.
void losses(const Problem &p, const Room &room, Range rows, float *loss, float *logsumexp, float *kept) {
  const int64_t block = row_block(rows.length);
  RowState *states = room.states;
  for (int64_t r = 0; r < rows.length; r++) states[r] = {-INFINITE, 0, 0};
  for (int64_t v = 0; v < p.V; v += CHUNK) {
    const Range chunk = {v, min_of(CHUNK, p.V - v)}, all = {0, chunk.length};
    matmul_pack(room.packed, p.logits(rows, chunk, nullptr, CHUNK), all);
    parallel_range(rows.length, block, [&](int64_t begin, int64_t end, int worker) {
      float *own = xl::scratch(worker, (block + 1) * CHUNK, SLOT_LOGITS);
      const int64_t width = kept ? p.V : CHUNK;
      float *products = kept ? kept + begin * p.V + v : own + CHUNK;
      matmul_packed(p.logits({rows.begin + begin, end - begin}, chunk, products, width), room.packed, all,
                    {0, end - begin}, all, worker);
      for (int64_t r = begin; r < end; r++) {
        const float *row = capped(products + (r - begin) * width, own, chunk.length, p.soft_cap);
        const int64_t target = p.targets[rows.begin + r] - v;
        if (target >= 0 && target < chunk.length) states[r].target = row[target];
        take_in(states[r], row, chunk.length);
      }
    });
  }
  parallel_range(rows.length, 256, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      logsumexp[r] = states[r].top + vlog(splat(states[r].sum))[0];
      loss[r] = p.targets[rows.begin + r] < 0 ? 0.0f : logsumexp[r] - states[r].target;
    }
  });
}

int forward(const Problem &p, float *loss, float *logsumexp) {
  const int status = matmul_reserve(false);
  if (status != XL_OK) return status;
  Room room;
  if (!room.reserve(p, p.N)) return out_of_scratch(p.kernel, matmul_packed_floats(CHUNK, p.D) + 3 * p.N);
  losses(p, room, {0, p.N}, loss, logsumexp, nullptr);
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

// Adds to dx of some rows and to dweight of a chunk what flows back through logits = x weight^T: gradient [rows, chunk].
int through_products(const Problem &p, float *dx, float *dweight, const float *gradient, int64_t width, Range rows,
                     Range chunk, bool dx_is_zero = false) {
  int status = XL_OK;
  if (dx)
    status = matmul({dx + rows.begin * p.D, gradient, p.weight + chunk.begin * p.D, nullptr, rows.length, p.D,
                     chunk.length, false, false, width, p.D, p.D, !dx_is_zero, XL_ACT_NONE});
  if (dweight && status == XL_OK)
    status = matmul({dweight + chunk.begin * p.D, gradient, p.x + rows.begin * p.D, nullptr, chunk.length, p.D,
                     rows.length, true, false, width, p.D, p.D, true, XL_ACT_NONE});
  return status;
}

// The rows of one chunk.
int backward_chunk(const Problem &p, float *dx, float *dweight, const float *dloss, const float *logsumexp, Range rows,
                   Range chunk, float *packed, float *gradient) {
  const Range all = {0, chunk.length};
  const Matmul logits = p.logits(rows, chunk, gradient, CHUNK);
  matmul_pack(packed, logits, all);
  parallel_range(rows.length, row_block(rows.length), [&](int64_t begin, int64_t end, int worker) {
    matmul_packed(logits, packed, all, {begin, end - begin}, all, worker);
    for (int64_t r = begin; r < end; r++) {
      const int64_t n = rows.begin + r, target = p.targets[n];
      logits_gradient(gradient + r * CHUNK, chunk.length, target == -1 ? 0 : dloss[n], logsumexp[n],
                      target - chunk.begin, p.soft_cap);
    }
  });
  return through_products(p, dx, dweight, gradient, CHUNK, rows, chunk);
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

int forward_backward(const Problem &p, float *dx, float *dweight, float *loss, const float *dloss, bool dx_is_zero) {
  int status = matmul_reserve(false);
  if (status != XL_OK) return status;
  const int64_t most = min_of(min_of(p.N, GRADIENT_ROWS), max_of(ROW_BLOCK, KEPT_LOGITS / p.V));
  Room room;
  float *kept = xl::shared_scratch(most * (p.V + 1), SLOT_KEPT);
  if (!kept || !room.reserve(p, most)) return out_of_scratch(p.kernel, most * (p.V + 4));
  float *logsumexp = kept + most * p.V;
  for (int64_t n = 0; n < p.N && status == XL_OK; n += most) {
    const Range rows = {n, min_of(most, p.N - n)};
    losses(p, room, rows, loss + n, logsumexp, kept);
    parallel_range(rows.length, row_block(rows.length), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; r++) {
        const int64_t target = p.targets[n + r];
        logits_gradient(kept + r * p.V, p.V, target == -1 ? 0 : dloss[n + r], logsumexp[r], target, p.soft_cap);
      }
    });
    status = through_products(p, dx, dweight, kept, p.V, rows, {0, p.V}, dx_is_zero);
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

extern "C" int XL_KERNEL(xl_linear_cross_entropy_forward_backward)(float *dx, float *dweight, float *loss,
                                                                   const float *dloss, const float *x,
                                                                   const float *weight, const int32_t *targets,
                                                                   int64_t N, int64_t D, int64_t V, float cap) {
  const Problem p = {"linear_cross_entropy_forward_backward", x, weight, targets, N, D, V, cap};
  const int status = check(p);
  if (status != XL_OK || N == 0) return status;
  const bool dx_is_zero = dx && xl::claim_zeros(dx, N * D);
  xl::settle_zeros();
  return forward_backward(p, dx, dweight, loss, dloss, dx_is_zero);
}
