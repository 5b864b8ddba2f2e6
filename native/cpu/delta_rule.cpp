// The gated delta rule over a sequence, forward: each head of each sequence walks over its chunks alone, its state in
// scratch; delta_chunk.h has the equations. A single step goes another way, on the caller's memory.
#include "delta_chunk.h"
#include "state_step.h"

using namespace XL_NS;

namespace {

// The memory of one head at work.
struct Head {
  DeltaRows rows;
  float *queries;         // rows, scaled
  float *query_columns;   // their transpose in panels over the steps
  float *query_products;  // M
  float *u;               // of one panel of values
  float *S;               // panels over DV
  bool empty;             // S = 0

  Head(Arena &arena, const DeltaShape &s) {
    const int64_t L = s.padded_l();
    rows.take(arena, s);
    queries = arena.take(L * s.row_k());
    query_columns = arena.take(panel_floats(s.padded_k(), L));
    query_products = arena.take(L * s.row_l());
    u = arena.take(L * P);
    S = arena.take(s.state_floats());
  }
};

void start(Head &head, const DeltaShape &s, const float *state, int64_t at) {
  head.empty = !state;
  if (state) copy_panels(head.S, s.padded_k(), {state + at * s.DK * s.DV, s.DV, s.DK, s.DV}, 1, nullptr);
}

void finish(const Head &head, const DeltaShape &s, float *state_out, int64_t at) {
  if (!state_out) return;
  float *S = state_out + at * s.DK * s.DV;
  if (head.empty) {
    fill_zero(S, s.DK * s.DV);
  } else {
    copy_from_panels(S, s.DV, head.S, s.padded_k(), s.DK, s.DV, false);
  }
}

void load_chunk(Head &head, const DeltaShape &s, const DeltaInputs &in, int64_t row, int64_t n) {
  const int64_t L = round_up(n, W), padded_k = s.padded_k(), row_k = s.row_k();
  load_delta_rows(head.rows, s, in, row, n);
  copy_rows(head.queries, row_k, L, padded_k, {in.q + row * s.DK, s.NH * s.DK, n, s.DK}, s.scale);
  transpose_to_panels(head.query_columns, head.queries, row_k, L, padded_k);
  decayed_products(head.query_products, head.rows, s, head.query_columns, false, n);
}

// Inputs of the next chunk come into the cache while the machine computes: those of MR steps, `t` after its begin.
void prefetch_next(const DeltaShape &s, const DeltaInputs &in, Chunk chunk, int64_t t) {
  const int64_t left = s.T - chunk.begin - chunk.n;
  int64_t row = chunk.row + (chunk.n + t) * s.NH;
  for (int64_t end = min_of(t + MR, left); t < end; t++, row += s.NH) {
    prefetch(in.q + row * s.DK, s.DK);
    prefetch(in.k + row * s.DK, s.DK);
    prefetch(in.v + row * s.DV, s.DV);
  }
}

// o_t = e^b_t S^T q_t + sum_{s<=t} M[s,t] u_s for one panel of values.
template <int NV>
void panel_outputs(float *o, const Head &head, const DeltaShape &s, const float *S, int64_t cols, int64_t n) {
  const int64_t row_k = s.row_k(), row = s.row_l(), step = s.NH * s.DV;
  for (int64_t t = 0; t < n; t += MR) {
    vf acc[MR][NV];
    tile_zero(acc);
    if (S) {
      tile_product(acc, head.queries + t * row_k, row_k, 1, S, s.DK);
      tile_scale_rows(acc, head.rows.state_weight + t);
    }
    tile_product(acc, head.query_products + t, 1, row, head.u, t + MR);
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++) {
      if (t + r >= n) break;
      row_lanes<NV>(o + (t + r) * step, cols,
                    [&](float *p, int64_t lanes, int v) { store_lanes(p, acc[r][v], lanes); });
    }
  }
}

void run_chunk(Head &head, const DeltaShape &s, const DeltaInputs &in, float *o, Chunk chunk) {
  const int64_t n = chunk.n;
  load_chunk(head, s, in, chunk.row, n);
  for (int64_t t = 0; t < n; t += MR) prefetch_next(s, in, chunk, t);
  for_panels(s.DV, [&](int64_t col, int64_t vectors) {
    float *S = head.S + col * s.padded_k();
    const float *before = head.empty ? nullptr : S;
    const int64_t at = chunk.row * s.DV + col, cols = s.DV - col;
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      solve_panel<NV>(head.u, nullptr, head.rows, s, before, in.v + at, cols, n);
      panel_outputs<NV>(o + at, head, s, before, cols, n);
      advance_panel<NV>(S, before, head.u, head.rows, s, n);
    });
  });
  head.empty = false;
}

// delta = v - e^g S^T k, S' = e^g S + beta k delta^T.
struct DeltaStep {
  const float *q, *k, *v;
  float beta, decay, scale;

  float memory(int64_t d) const { return k[d]; }
  XL_INLINE vf prepare(vf known, int64_t e, int64_t lanes) const {
    return (load_lanes(v + e, lanes) - decay * known) * beta;
  }
  XL_INLINE vf next(vf S, int64_t d, vf written) const { return decay * S + k[d] * written; }
  float query(int64_t d) const { return q[d] * scale; }
};

void run_step(float *o, float *state_out, const DeltaShape &s, const DeltaInputs &in) {
  const int64_t size = s.DK * s.DV;
  parallel_columns(in.state, s.B * s.NH, s.DK, s.DV, [&](int64_t at, int64_t begin, int64_t end) {
    const bool empty = !in.state || (in.reset && in.reset[at / s.NH]);
    const float decay = in.g ? vexp(splat(in.g[at]))[0] : 1;
    const DeltaStep rule{in.q + at * s.DK, in.k + at * s.DK, in.v + at * s.DV, in.beta[at], decay, s.scale};
    step_columns(o + at * s.DV, state_out ? state_out + at * size : nullptr, empty ? nullptr : in.state + at * size,
                 rule, s.DK, s.DV, begin, end);
  });
}

}  // namespace

extern "C" int XL_KERNEL(xl_delta_rule_forward)(float *o, float *state_out, const float *q, const float *k,
                                                const float *v, const float *beta, const float *g,
                                                const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                                int64_t NH, int64_t DK, int64_t DV, int64_t L, float scale) {
  DeltaShape s;
  if (const int status = make_delta_shape(&s, "delta rule", B, T, NH, DK, DV, L, scale)) return status;
  const DeltaInputs in{q, k, v, beta, g, state_in, reset};
  if (T == 1) return run_step(o, state_out, s, in), XL_OK;
  Arena count(nullptr);
  Head unused(count, s);
  int failed = 0;
  parallel_for(B * NH, [&](int64_t task, int worker) {
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Head head(arena, s);
    const int64_t b = task / NH, k_head = task % NH;
    start(head, s, state_in, task);
    for (int64_t t = 0; t < T;) {
      if (reset && reset[b * T + t]) head.empty = true;
      const int64_t end = chunk_end(s, reset, b, t);
      run_chunk(head, s, in, o, {s.row(b, t, k_head), t, end - t});
      t = end;
    }
    finish(head, s, state_out, task);
  });
  if (failed)
    return xl::fail(XL_OUT_OF_MEMORY, "delta rule: no memory for %lld bytes of working state per thread",
                    (long long)count.used * 4);
  return XL_OK;
}
