// mLSTM over a sequence, forward: each head of each sequence walks over its chunks alone, its state in scratch.
// Equations: arXiv 2405.04517 section 2.3 in the chunkwise form; see mlstm_chunk.h for the weights.
#include "mlstm_chunk.h"

using namespace XL_NS;

namespace {

struct Inputs {
  const float *q, *k, *v, *i, *f, *C, *n, *m;
  const uint8_t *reset;
};

struct Outputs {
  float *h, *m, *denominator, *C, *n, *m_last;
};

// The memory of one head at work.
struct Head {
  float *queries;       // rows, scaled by 1/sqrt(DK)
  float *query_panels;  // their transpose in panels over the steps
  float *keys;          // rows
  float *values;        // panels over DV
  float *C;             // panels over DV
  float *n;             // [padded_k]
  float *scores;        // of one panel of steps, [padded_l][P]
  float *normaliser;    // q . n of one panel of steps
  float *inverse;       // 1 / denominator of the chunk's steps
  MlstmGates gates;
  double m;
  bool empty;  // C = n = 0

  Head(Arena &arena, const MlstmShape &s) {
    const int64_t L = s.padded_l();
    queries = arena.take(L * s.row_k());
    query_panels = arena.take(panel_floats(s.padded_k(), L));
    keys = arena.take(L * s.row_k());
    values = arena.take(panel_floats(L, s.DV));
    C = arena.take(panel_floats(s.padded_k(), s.DV));
    n = arena.take(s.padded_k());
    scores = arena.take(L * P);
    normaliser = arena.take(P);
    inverse = arena.take(round_up(L, P));
    gates.take(arena, round_up(L, P));
  }
};

void start(Head &head, const MlstmShape &s, const Inputs &in, int64_t at) {
  head.m = s.exponential && in.m ? in.m[at] : s.fresh_m();
  head.empty = !in.C && !in.n;
  if (head.empty) return;
  const int64_t padded_k = s.padded_k();
  if (in.C) {
    copy_panels(head.C, padded_k, {in.C + at * s.DK * s.DV, s.DV, s.DK, s.DV}, 1, nullptr);
  } else {
    fill_zero(head.C, panel_floats(padded_k, s.DV));
  }
  fill_zero(head.n, padded_k);
  if (in.n) copy_rows(head.n, padded_k, 1, padded_k, {in.n + at * s.DK, s.DK, 1, s.DK}, 1);
}

// C and n belong to a maximum m that a float cannot hold exactly. What goes out is rescaled to the rounded m, so that
// the memory e^m C is carried on unchanged.
void finish(const Head &head, const MlstmShape &s, const Outputs &out, int64_t at) {
  const float m = float(head.m);
  const float rescale = head.m == m ? 1.0f : float(exp(head.m - m));
  if (out.m_last) out.m_last[at] = m;
  if (out.C) {
    float *C = out.C + at * s.DK * s.DV;
    if (head.empty) {
      fill_zero(C, s.DK * s.DV);
    } else {
      copy_from_panels(C, s.DV, head.C, s.padded_k(), s.DK, s.DV, false);
    }
    if (rescale != 1)
      for (int64_t e = 0; e < s.DK * s.DV; e++) C[e] *= rescale;
  }
  if (out.n)
    for (int64_t d = 0; d < s.DK; d++) out.n[at * s.DK + d] = head.empty ? 0 : head.n[d] * rescale;
}

// Copies the chunk of n steps whose first row (b, t, head) is `row`.
void load_chunk(Head &head, const MlstmShape &s, const Inputs &in, int64_t row, int64_t n) {
  const int64_t L = round_up(n, W), padded_k = s.padded_k(), row_k = s.row_k();
  const Source q{in.q + row * s.DK, s.NH * s.DK, n, s.DK}, k{in.k + row * s.DK, s.NH * s.DK, n, s.DK};
  copy_rows(head.queries, row_k, L, padded_k, q, s.query_scale());
  transpose_to_panels(head.query_panels, head.queries, row_k, L, padded_k);
  copy_rows(head.keys, row_k, L, padded_k, k, 1);
  copy_panels(head.values, L, {in.v + row * s.DV, s.NH * s.DV, n, s.DV}, 1, nullptr);
  mlstm_gates(head.gates, s, in.i + row, in.f + row, s.NH, n, head.m);
}

// denominator = max(|q . n|, exp(-m)) + eps for the steps of a panel, and its inverse.
void panel_denominators(Head &head, const MlstmShape &s, int64_t col, int64_t vectors) {
  for (int64_t v = 0; v < vectors; v++) {
    const vf largest = vmax(vabs(load(head.normaliser + v * W)), load(head.gates.floor + col + v * W));
    const vf denominator = s.normalize ? largest + s.eps : splat(1);
    store(head.normaliser + v * W, denominator);
    store(head.inverse + col + v * W, 1.0f / denominator);
  }
}

// Inputs of the next chunk come into the cache while the machine computes: those of MR steps, `t` after its begin.
void prefetch_next(const MlstmShape &s, const Inputs &in, Chunk chunk, int64_t t) {
  const int64_t left = s.T - chunk.begin - chunk.n;
  int64_t row = chunk.row + (chunk.n + t) * s.NH;
  for (int64_t end = min_of(t + MR, left); t < end; t++, row += s.NH) {
    prefetch(in.q + row * s.DK, s.DK);
    prefetch(in.k + row * s.DK, s.DK);
    prefetch(in.v + row * s.DV, s.DV);
  }
}

// h of the steps col .. end-1 of a panel: (weight of the state * q C + scores V) / denominator.
void panel_outputs(Head &head, const MlstmShape &s, const Inputs &in, float *h, Chunk chunk, int64_t col) {
  const int64_t n = chunk.n, end = min_of(n, col + P);
  const int64_t row_k = s.row_k(), L = round_up(n, W), padded_k = s.padded_k();
  for_panels(s.DV, [&](int64_t value_col, int64_t vectors) {
    const float *C = head.C + value_col * padded_k, *values = head.values + value_col * L;
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t t = col; t < end; t += MR) {
        if (value_col == 0) prefetch_next(s, in, chunk, t);
        vf acc[MR][NV];
        tile_zero(acc);
        if (!head.empty) {
          tile_product(acc, head.queries + t * row_k, row_k, 1, C, s.DK);
          tile_scale_rows(acc, head.gates.state_weight + t);
        }
        tile_product(acc, head.scores + (t - col), 1, P, values, min_of(t + MR, L));
        tile_scale_rows(acc, head.inverse + t);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) {
          if (t + r >= n) break;
          float *out = h + (t + r) * s.NH * s.DV + value_col;
          row_lanes<NV>(out, s.DV - value_col,
                        [&](float *p, int64_t lanes, int v) { store_lanes(p, acc[r][v], lanes); });
        }
      }
    });
  });
}

// keys[s] *= weight of input s in the state that leaves the chunk; n = carry * n + their sum.
void scale_keys(Head &head, const MlstmShape &s, int64_t n) {
  for (int64_t d = 0; d < s.padded_k(); d += W) {
    vf sum = head.empty ? vf{} : load(head.n + d) * head.gates.carry;
    for (int64_t t = 0; t < n; t++) {
      float *key = head.keys + t * s.row_k() + d;
      const vf scaled = load(key) * head.gates.last_weight[t];
      store(key, scaled);
      sum += scaled;
    }
    store(head.n + d, sum);
  }
}

// C = carry * C + keys^T V, with the keys scaled.
void update_state(Head &head, const MlstmShape &s, int64_t n) {
  scale_keys(head, s, n);
  const int64_t row_k = s.row_k(), L = round_up(n, W), padded_k = s.padded_k();
  const float carry = head.gates.carry;
  for_panels(s.DV, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t d = 0; d < padded_k; d += MR) {
        float *C = head.C + col * padded_k + d * P;
        vf acc[MR][NV];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) acc[r][v] = head.empty ? vf{} : load(C + r * P + v * W) * carry;
        tile_product(acc, head.keys + d, 1, row_k, head.values + col * L, n);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(C + r * P + v * W, acc[r][v]);
      }
    });
  });
  head.empty = false;
  head.m = head.gates.m_last;
}

void run_chunk(Head &head, const MlstmShape &s, const Inputs &in, const Outputs &out, Chunk chunk) {
  const int64_t row = chunk.row, n = chunk.n;
  load_chunk(head, s, in, row, n);
  const ScoreInputs score{head.keys, head.query_panels, head.empty ? nullptr : head.n};
  for_panels(n, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      panel_scores<decltype(count)::value>(head.scores, nullptr, P, head.normaliser, s, head.gates, score, col, n);
    });
    panel_denominators(head, s, col, vectors);
    for (int64_t t = col; t < min_of(n, col + P); t++) {
      out.m[row + t * s.NH] = head.gates.m[t];
      out.denominator[row + t * s.NH] = head.normaliser[t - col];
    }
    panel_outputs(head, s, in, out.h + row * s.DV, chunk, col);
  });
  update_state(head, s, n);
}

}  // namespace

extern "C" int XL_KERNEL(xl_mlstm_forward)(float *h, float *m, float *denominator, float *Cout, float *nout,
                                           float *mout, const float *q, const float *k, const float *v, const float *i,
                                           const float *f, const float *Cin, const float *nin, const float *min,
                                           const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DK,
                                           int64_t DV, int64_t L, float eps, int32_t input_gate, int32_t normalize) {
  const MlstmShape s{B, T, NH, DK, DV, min_of(L, max_of(T, 1)), eps, input_gate == XL_GATE_EXPONENTIAL, normalize != 0};
  if (const int status = check_mlstm("mlstm", s, input_gate)) return status;
  const Inputs in{q, k, v, i, f, Cin, nin, min, reset};
  const Outputs out{h, m, denominator, Cout, nout, mout};
  Arena count(nullptr);
  Head unused(count, s);
  int failed = 0;
  parallel_for(B * NH, [&](int64_t task, int worker) {
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Head head(arena, s);
    const int64_t b = task / NH, k_head = task % NH;
    start(head, s, in, task);
    for (int64_t t = 0; t < T;) {
      if (reset && reset[b * T + t]) {
        head.empty = true;
        head.m = s.fresh_m();
      }
      const int64_t end = chunk_end(s, reset, b, t);
      run_chunk(head, s, in, out, {s.row(b, t, k_head), t, end - t});
      t = end;
    }
    finish(head, s, out, task);
  });
  if (failed)
    return xl::fail(XL_OUT_OF_MEMORY, "mlstm: no memory for %lld bytes of working state per thread",
                    (long long)count.used * 4);
  return XL_OK;
}
