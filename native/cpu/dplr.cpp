// The diagonal-plus-low-rank state of RWKV-7 over a sequence, forward: step by step, each head of each sequence alone,
// in panels of columns that stay in the first cache. One pass over the state does a step and asks what the next one
// knows, so that it costs five multiply-adds per element: no more than working in chunks would.
#include "dplr.h"
#include "state_step.h"

using namespace XL_NS;

namespace {

// Steps whose decays are computed at once.
constexpr int64_t block_steps = 32;

// The memory of one head at work.
struct Head {
  float *S;       // panels over DV
  float *decays;  // [block_steps][padded_k]
  bool empty;     // S = 0

  Head(Arena &arena, const DplrShape &s) {
    S = arena.take(panel_floats(s.padded_k(), s.DV));
    decays = arena.take(block_steps * s.padded_k());
  }
};

// Where the block that begins at t ends: after some steps, before a reset, or with the sequence.
int64_t block_end(const DplrShape &s, const uint8_t *reset, int64_t b, int64_t t) {
  const int64_t limit = min_of(t + block_steps, s.T);
  if (!reset) return limit;
  for (int64_t end = t + 1; end < limit; end++)
    if (reset[b * s.T + end]) return end;
  return limit;
}

// n steps of one panel, the first of them at the caller's row `row`.
template <int NV>
void run_panel(float *o, float *S, bool empty, const float *decays, const DplrShape &s, const DplrInputs &in,
               int64_t row, int64_t n, int64_t col) {
  const int64_t cols = s.DV - col;
  vf known[NV];
  dplr_known(known, empty ? nullptr : S, P, in.b + row * s.DK, s.DK);
  for (int64_t t = 0; t < n; t++, row += s.NH) {
    const int64_t at = row * s.DK;
    vf value[NV], sum[NV], next[NV];
    load_vectors(value, in.v + row * s.DV + col, cols);
    for (int v = 0; v < NV; v++) sum[v] = next[v] = vf{};
    dplr_step<NV>(S, empty ? nullptr : S, P, {in.q + at, in.k + at, in.a + at, decays + t * s.padded_k()}, s.DK, known,
                  value, sum, t + 1 < n ? in.b + at + s.NH * s.DK : nullptr, next);
    row_lanes<NV>(o + row * s.DV + col, cols, [&](float *p, int64_t lanes, int v) { store_lanes(p, sum[v], lanes); });
    for (int v = 0; v < NV; v++) known[v] = next[v];
    empty = false;
  }
}

void run_head(Head &head, float *o, float *state_out, const DplrShape &s, const DplrInputs &in, int64_t at) {
  const int64_t b = at / s.NH, size = s.DK * s.DV;
  head.empty = !in.state;
  if (in.state) copy_panels(head.S, s.padded_k(), {in.state + at * size, s.DV, s.DK, s.DV}, 1, nullptr);
  for (int64_t t = 0; t < s.T;) {
    if (in.reset && in.reset[b * s.T + t]) head.empty = true;
    const int64_t end = block_end(s, in.reset, b, t), row = s.row(b, t, at % s.NH);
    for (int64_t i = 0; i < end - t; i++)
      exponentials(head.decays + i * s.padded_k(), in.g + (row + i * s.NH) * s.DK, s.DK);
    for_panels(s.DV, [&](int64_t col, int64_t vectors) {
      with_vectors(vectors, [&](auto count) {
        run_panel<decltype(count)::value>(o, head.S + col * s.padded_k(), head.empty, head.decays, s, in, row, end - t,
                                          col);
      });
    });
    head.empty = false;
    t = end;
  }
  if (!state_out) return;
  if (head.empty) {
    fill_zero(state_out + at * size, size);
  } else {
    copy_from_panels(state_out + at * size, s.DV, head.S, s.padded_k(), s.DK, s.DV, false);
  }
}

// The rule of a single step on the caller's memory.
struct DplrStep {
  const float *q, *k, *v, *a, *b, *decay;
  struct Prepared {
    vf known, value;
  };

  float memory(int64_t d) const { return b[d]; }
  XL_INLINE Prepared prepare(vf known, int64_t e, int64_t lanes) const { return {known, load_lanes(v + e, lanes)}; }
  XL_INLINE vf next(vf S, int64_t d, const Prepared &x) const {
    return decay[d] * S + (k[d] * x.value + a[d] * x.known);
  }
  float query(int64_t d) const { return q[d]; }
};

int run_step(float *o, float *state_out, const DplrShape &s, const DplrInputs &in) {
  const int64_t heads = s.B * s.NH, size = s.DK * s.DV, padded_k = s.padded_k();
  float *decays = xl::shared_scratch(max_of(1, heads * padded_k));
  if (!decays) return xl::fail(XL_OUT_OF_MEMORY, "dplr: no memory for the decays of %lld heads", (long long)heads);
  parallel_range(heads, max_of(1, 2048 / s.DK), [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; at++) exponentials(decays + at * padded_k, in.g + at * s.DK, s.DK);
  });
  parallel_columns(in.state, heads, s.DK, s.DV, [&](int64_t at, int64_t begin, int64_t end) {
    const bool empty = !in.state || (in.reset && in.reset[at / s.NH]);
    const int64_t keys = at * s.DK;
    const DplrStep rule{in.q + keys, in.k + keys, in.v + at * s.DV, in.a + keys, in.b + keys, decays + at * padded_k};
    step_columns(o + at * s.DV, state_out ? state_out + at * size : nullptr, empty ? nullptr : in.state + at * size,
                 rule, s.DK, s.DV, begin, end);
  });
  return XL_OK;
}

}  // namespace

extern "C" int XL_KERNEL(xl_dplr_forward)(float *o, float *state_out, const float *q, const float *k, const float *v,
                                          const float *a, const float *b, const float *g, const float *state_in,
                                          const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DK,
                                          int64_t DV) {
  const DplrShape s{B, T, NH, DK, DV};
  if (const int status = check_dplr("dplr", s)) return status;
  const DplrInputs in{q, k, v, a, b, g, state_in, reset};
  if (T == 1) return run_step(o, state_out, s, in);
  Arena count(nullptr);
  Head unused(count, s);
  int failed = 0;
  parallel_for(B * NH, [&](int64_t at, int worker) {
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Head head(arena, s);
    run_head(head, o, state_out, s, in, at);
  });
  if (failed)
    return xl::fail(XL_OUT_OF_MEMORY, "dplr: no memory for %lld bytes of working state per thread",
                    (long long)count.used * 4);
  return XL_OK;
}
