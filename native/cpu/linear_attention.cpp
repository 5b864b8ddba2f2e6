// Gated linear attention, forward: each head of each sequence walks over its blocks alone, its state in scratch; a single
// step, as in decoding, works on the caller's state. See linear_attention.h for the weights.
#include "linear_attention.h"

using namespace XL_NS;

namespace {

struct Outputs {
  float *o, *S, *z, *denominator;
};

struct States {
  const float *S, *z;
};

// o of the block's steps from y = (weighted queries S) + scores V, [n, width] in rows of row_w.
void store_outputs(const float *y, const LinearShape &s, const Outputs &out, LinearBlock at) {
  for (int64_t t = 0; t < at.n; t++) {
    const int64_t row = s.row(at.b, at.t + t, at.head);
    const float *from = y + t * s.row_w();
    const float divisor = s.normalize ? from[s.DV] + s.eps : 1;
    const float inverse = 1 / divisor;
    if (s.normalize) out.denominator[row] = divisor;
    for (int64_t e = 0; e < s.DV; e += W)
      store_lanes(out.o + row * s.DV + e, load(from + e) * inverse, s.DV - e);
  }
}

// y = queries S (+ scores V).
void block_outputs(float *y, const LinearHead &head, const LinearShape &s, const float *queries, int64_t n,
                   bool with_scores) {
  const int64_t row_k = s.row_k(), row_w = s.row_w(), padded_k = s.padded_k();
  for_panels(s.width(), [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = 0; t < n; t += MR) {
        vf acc[MR][NV];
        tile_zero(acc);
        if (!head.empty)
          tile_product(acc, queries + t * row_k, row_k, 1, head.S + col * padded_k, s.DK);
        if (with_scores)
          tile_product(acc, head.scores + t * BLOCK, BLOCK, 1, head.values + col * BLOCK, min_of(t + MR, n));
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(y + (t + r) * row_w + col + v * W, acc[r][v]);
      }
    });
  });
}

// Writes the state of a head to the caller's.
void store_state(const LinearHead &head, const LinearShape &s, const Outputs &out, int64_t task) {
  const int64_t padded_k = s.padded_k();
  if (out.S) {
    float *S = out.S + task * s.DK * s.DV;
    if (head.empty) {
      fill_zero(S, s.DK * s.DV);
    } else {
      copy_from_panels(S, s.DV, head.S, padded_k, s.DK, s.DV, false);
    }
  }
  if (!out.z) return;
  for (int64_t d = 0; d < s.DK; d++)
    out.z[task * s.DK + d] = head.empty ? 0 : *in_panels(head.S, padded_k, d, s.DV);
}

void causal_head(LinearHead &head, float *y, const LinearShape &s, const LinearInputs &in, States before,
                 const Outputs &out, int64_t b, int64_t h) {
  const int64_t task = b * s.NH + h;
  load_bonus(head, s, in.u, h);
  head.empty = !before.S && !before.z;
  if (!head.empty)
    load_linear_state(head.S, s, before.S ? before.S + task * s.DK * s.DV : nullptr,
                      before.z ? before.z + task * s.DK : nullptr);
  for (int64_t t = 0; t < s.T;) {
    if (in.reset && in.reset[b * s.T + t]) head.empty = true;
    const LinearBlock at = block_at(s, in.reset, b, h, t, s.T);
    load_keys(head, s, in, at);
    load_values(head, s, in, at);
    load_queries(head, s, in, at);
    block_scores(head, s, at.n);
    block_outputs(y, head, s, head.decayed_queries, at.n, true);
    store_outputs(y, s, out, at);
    advance_state(head, s, at.n);
    t += at.n;
  }
  store_state(head, s, out, task);
}

// Every step reads the sums over its whole document.
void bidirectional_head(LinearHead &head, float *y, const LinearShape &s, const LinearInputs &in, const Outputs &out,
                        int64_t b, int64_t h) {
  for (int64_t begin = 0; begin < s.T;) {
    const int64_t end = stretch_end(in.reset, b, s.T, begin, s.T);
    head.empty = true;
    for (int64_t t = begin; t < end; t += s.block()) {
      const LinearBlock at{b, h, t, min_of(s.block(), end - t)};
      load_keys(head, s, in, at);
      load_values(head, s, in, at);
      advance_state(head, s, at.n);
    }
    for (int64_t t = begin; t < end; t += s.block()) {
      const LinearBlock at{b, h, t, min_of(s.block(), end - t)};
      load_queries(head, s, in, at);
      block_outputs(y, head, s, head.queries, at.n, false);
      store_outputs(y, s, out, at);
    }
    begin = end;
  }
}

// ---- one step ----

// The heads of one step; each element of the state is read and written once.
struct StepInputs {
  const float *q, *k, *v, *logs, *u, *S, *z;
};

// Columns begin .. end-1 of the state and of o for one head, four rows of the state at a time. `factors` [DK].
void step_columns(float *o, float *S_out, const StepInputs &in, const float *factors, float own, float scale,
                  const LinearShape &s, int64_t begin, int64_t end) {
  for (int64_t e = begin; e < end; e += W) store_lanes(o + e, load_lanes(in.v + e, end - e) * own, end - e);
  auto rows = [&](int64_t d, auto count) {
    constexpr int N = decltype(count)::value;
    for (int64_t e = begin; e < end; e += W) {
      const int64_t lanes = end - e;
      const vf value = load_lanes(in.v + e, lanes);
      vf sum = load_lanes(o + e, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < N; r++) {
        const int64_t at = (d + r) * s.DV + e;
        const vf before = in.S ? load_lanes(in.S + at, lanes) : vf{};
        const vf after = before * factors[d + r] + value * in.k[d + r];
        if (S_out) store_lanes(S_out + at, after, lanes);
        sum += (s.bonus ? before : before * factors[d + r]) * in.q[d + r];
      }
      store_lanes(o + e, sum, lanes);
    }
  };
  int64_t d = 0;
  for (; d + 4 <= s.DK; d += 4) rows(d, Count<4>());
  for (; d < s.DK; d++) rows(d, Count<1>());
  for (int64_t e = begin; e < end; e += W) store_lanes(o + e, load_lanes(o + e, end - e) * scale, end - e);
}

// q . (k, or u k) of a head.
float own_score(const StepInputs &in, const LinearShape &s) {
  vf sum = {};
  for (int64_t d = 0; d < s.DK; d += W) {
    const vf key = load_lanes(in.k + d, s.DK - d);
    sum += load_lanes(in.q + d, s.DK - d) * (s.bonus ? key * load_lanes(in.u + d, s.DK - d) : key);
  }
  return hsum(sum);
}

// The factors of the state, [DK].
void step_factors(float *factors, const float *logs, const LinearShape &s) {
  for (int64_t d = 0; d < s.DK; d += W) {
    const int64_t lanes = s.DK - d;
    const vf log = !s.decays ? vf{} : s.vector ? load_lanes(logs + d, lanes) : splat(*logs);
    store_lanes(factors + d, vexp(log), lanes);
  }
}

// Walks z and gives 1 / denominator.
float step_normaliser(float *z_out, float *denominator, const StepInputs &in, const float *factors, float own,
                      const LinearShape &s) {
  vf sum = {};
  for (int64_t d = 0; d < s.DK; d += W) {
    const int64_t lanes = s.DK - d;
    const vf before = in.z ? load_lanes(in.z + d, lanes) : vf{};
    const vf decayed = before * load_lanes(factors + d, lanes);
    if (z_out) store_lanes(z_out + d, decayed + load_lanes(in.k + d, lanes), lanes);
    sum += (s.bonus ? before : decayed) * load_lanes(in.q + d, lanes);
  }
  *denominator = s.scale * (hsum(sum) + own) + s.eps;
  return 1 / *denominator;
}

int one_step(const LinearShape &s, const LinearInputs &in, States before, const Outputs &out) {
  const int64_t heads = s.B * s.NH, head_size = s.DK * s.DV;
  // Of each head: the factors, its own score, the scale of o. First all of them, for a head of several tasks reads them
  // in each; about 2000 floats of work per task.
  const int64_t kept = s.DK + 2;
  float *prepared = xl::shared_scratch(heads * kept);
  if (!prepared) return out_of_scratch("linear attention", heads * kept);
  auto inputs = [&](int64_t at) {
    const int64_t b = at / s.NH, h = at % s.NH, group = s.group_row(b, 0, h);
    const bool fresh = in.reset && in.reset[b];
    return StepInputs{in.q + group * s.DK,
                      in.k + group * s.DK,
                      in.v + at * s.DV,
                      s.decays ? in.log_decay + s.decay_at(b, 0, h) : nullptr,
                      s.bonus ? in.u + h * s.DK : nullptr,
                      before.S && !fresh ? before.S + at * head_size : nullptr,
                      before.z && !fresh ? before.z + at * s.DK : nullptr};
  };
  parallel_range(heads, max_of(1, 2048 / s.DK), [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; at++) {
      const StepInputs head = inputs(at);
      float *factors = prepared + at * kept, *own = factors + s.DK, *scale = own + 1;
      step_factors(factors, head.logs, s);
      *own = own_score(head, s);
      *scale = s.scale;
      if (s.normalize)
        *scale *= step_normaliser(out.z ? out.z + at * s.DK : nullptr, out.denominator + at, head, factors, *own, s);
    }
  });
  // Columns are independent of each other. Large heads are cut into as many pieces as make 16 tasks of all heads, of
  // 128 KB or more; small heads go together up to that size.
  constexpr int64_t task_floats = 32768;
  const int64_t together = max_of(1, task_floats / head_size);
  const int64_t wanted = max_of(1, min_of(head_size / task_floats, ceil_div(16, max_of(heads, 1))));
  const int64_t columns = ceil_div(ceil_div(s.DV, wanted), 4 * W) * 4 * W, pieces = ceil_div(s.DV, columns);
  parallel_range(heads * pieces, pieces > 1 ? 1 : together, [&](int64_t first, int64_t last, int) {
    for (int64_t task = first; task < last; task++) {
      const int64_t at = task / pieces, begin = task % pieces * columns;
      const float *factors = prepared + at * kept;
      step_columns(out.o + at * s.DV, out.S ? out.S + at * head_size : nullptr, inputs(at), factors, factors[s.DK],
                   factors[s.DK + 1], s, begin, min_of(begin + columns, s.DV));
    }
  });
  return XL_OK;
}

}  // namespace

extern "C" int XL_KERNEL(xl_linear_attention_forward)(float *o, float *Sout, float *zout, float *denominator,
                                                      const float *q, const float *k, const float *v,
                                                      const float *log_decay, const float *u, const float *Sin,
                                                      const float *zin, const uint8_t *reset, int64_t B, int64_t T,
                                                      int64_t NH, int64_t NG, int64_t DK, int64_t DV, int64_t L,
                                                      float scale, float eps, int32_t decay, int32_t normalize,
                                                      int32_t causal) {
  const LinearShape s = linear_shape(B, T, NH, NG, DK, DV, L, scale, eps, log_decay, u, decay, normalize);
  const bool causal_only = log_decay || u || Sin || zin || Sout || zout;
  if (const int status = check_linear("linear attention", s, decay, causal, causal_only)) return status;
  const LinearInputs in{q, k, v, log_decay, u, reset};
  const Outputs out{o, Sout, zout, denominator};
  if (causal && T == 1) return one_step(s, in, {Sin, zin}, out);
  Arena count(nullptr);
  LinearHead unused(count, s);
  count.take(BLOCK * s.row_w() + P);
  int failed = 0;
  parallel_for(B * NH, [&](int64_t task, int worker) {
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    LinearHead head(arena, s);
    float *y = arena.take(BLOCK * s.row_w() + P);
    if (causal) {
      causal_head(head, y, s, in, {Sin, zin}, out, task / NH, task % NH);
    } else {
      bidirectional_head(head, y, s, in, out, task / NH, task % NH);
    }
  });
  return failed ? out_of_scratch("linear attention", count.used) : XL_OK;
}
