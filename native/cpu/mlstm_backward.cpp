// mLSTM over a sequence, backward: a forward sweep recomputes the states at the chunk borders, then each head walks
// back over its chunks. One chunk is in mlstm_chunk_gradient.h.
#include "mlstm_chunk_gradient.h"

using namespace XL_NS;

namespace {

// The border states of one head: chunk c of a segment starts with local[c]; segments start with their checkpoint.
struct Sweep {
  int64_t *begin;  // [chunks + 1], the first step of each chunk, then T
  int64_t chunks, segment, segments;
  ChunkState local, checkpoint;  // arrays of states

  Sweep(Arena &arena, const MlstmShape &s, int64_t chunk_count) : chunks(chunk_count) {
    const int64_t state = ChunkState::floats(s);
    segment = segment_chunks(chunks, state);
    segments = max_of(1, ceil_div(chunks, segment));
    begin = reinterpret_cast<int64_t *>(arena.take(2 * (chunks + 1)));
    local.take(arena, s, segment + 1);
    checkpoint.take(arena, s, segments);
  }
};

void load_state(ChunkState to, const MlstmShape &s, const MlstmBackwardInputs &in, int64_t at, GradientHead &head) {
  to.set_fresh(s);
  if (in.C) {
    copy_panels(head.dC, s.padded_k(), {in.C + at * s.DK * s.DV, s.DV, s.DK, s.DV}, 1, nullptr);
    transpose_panels(to.C, head.dC, s.padded_k(), s.padded_v());
  }
  if (in.n) copy_rows(to.n, s.padded_k(), 1, s.padded_k(), {in.n + at * s.DK, s.DK, 1, s.DK}, 1);
  if (s.exponential && in.m) *to.m = in.m[at];
}

// Fills the local states of a segment from its checkpoint; the one after its last chunk is the state that leaves it.
void run_segment(Sweep &sweep, int64_t segment, GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in,
                 int64_t b, int64_t k_head) {
  const int64_t first = segment * sweep.segment, last = min_of(first + sweep.segment, sweep.chunks);
  sweep.local.at(s, 0).copy(s, sweep.checkpoint.at(s, segment));
  for (int64_t c = first; c < last; c++) {
    const int64_t t = sweep.begin[c];
    const ChunkState from = sweep.local.at(s, c - first), to = sweep.local.at(s, c - first + 1);
    if (in.reset && in.reset[b * s.T + t]) from.set_fresh(s);
    advance_state(head, s, in, from, to, {s.row(b, t, k_head), t, sweep.begin[c + 1] - t});
  }
}

// The cotangents of the last state, and of its maximum beyond what C and n carry: with e^m C for the memory, a change
// of m alone is a change of C and n.
void load_cotangents(GradientHead &head, const MlstmShape &s, const MlstmBackwardInputs &in, ChunkState last,
                     int64_t at) {
  // The forward pass gave out the state for a rounded maximum.
  const float rescale = isinf(*last.m) ? 1.0f : float(exp(*last.m - float(*last.m)));
  head.flowing = in.dC || in.dn;
  if (in.dC) {
    copy_panels(head.dC, s.padded_k(), {in.dC + at * s.DK * s.DV, s.DV, s.DK, s.DV}, rescale, nullptr);
  } else {
    fill_zero(head.dC, panel_floats(s.padded_k(), s.DV));
  }
  if (in.dn) {
    copy_rows(head.dn, s.padded_k(), 1, s.padded_k(), {in.dn + at * s.DK, s.DK, 1, s.DK}, rescale);
  } else {
    fill_zero(head.dn, s.padded_k());
  }
  head.dm = 0;
  if (!s.exponential) return;
  if (in.dm) head.dm = in.dm[at];
  if (head.flowing) {
    transpose_panels(head.dC_transposed, head.dC, s.padded_k(), s.padded_v());
    head.dm -= state_product(head, s, last);
  }
}

void store_state_gradient(GradientHead &head, const MlstmShape &s, const MlstmBackwardOutputs &out, ChunkState first,
                          const MlstmBackwardInputs &in, int64_t at) {
  if (out.dC) copy_from_panels(out.dC + at * s.DK * s.DV, s.DV, head.dC, s.padded_k(), s.DK, s.DV, true);
  if (out.dn)
    for (int64_t d = 0; d < s.DK; d++) out.dn[at * s.DK + d] += head.dn[d];
  // Without an m that came in, the state came in as empty and nothing depends on its maximum.
  if (!out.dm || !s.exponential || !in.m || isinf(in.m[at])) return;
  transpose_panels(head.dC_transposed, head.dC, s.padded_k(), s.padded_v());
  out.dm[at] += float(head.dm + state_product(head, s, first));
}

void run_head(GradientHead &head, Sweep &sweep, const MlstmShape &s, const MlstmBackwardInputs &in,
              const MlstmBackwardOutputs &out, int64_t b, int64_t k_head) {
  const int64_t at = b * s.NH + k_head;
  sweep.begin[0] = 0;
  for (int64_t c = 0; c < sweep.chunks; c++) sweep.begin[c + 1] = chunk_end(s, in.reset, b, sweep.begin[c]);
  load_state(sweep.checkpoint.at(s, 0), s, in, at, head);
  int64_t last = 0;
  for (int64_t g = 0; g < sweep.segments; g++) {
    run_segment(sweep, g, head, s, in, b, k_head);
    last = min_of(sweep.segment, sweep.chunks - g * sweep.segment);
    if (g + 1 < sweep.segments) sweep.checkpoint.at(s, g + 1).copy(s, sweep.local.at(s, last));
  }
  load_cotangents(head, s, in, sweep.local.at(s, last), at);
  for (int64_t g = sweep.segments - 1; g >= 0; g--) {
    if (g + 1 < sweep.segments) run_segment(sweep, g, head, s, in, b, k_head);
    const int64_t first = g * sweep.segment;
    for (int64_t c = min_of(first + sweep.segment, sweep.chunks) - 1; c >= first; c--) {
      const int64_t t = sweep.begin[c];
      const bool cut = in.reset && in.reset[b * s.T + t];
      const bool empty = cut || (c == 0 && !in.C && !in.n);
      chunk_gradient(head, s, in, out, sweep.local.at(s, c - first), empty,
                     {s.row(b, t, k_head), t, sweep.begin[c + 1] - t});
      if (cut) head.cut(s);
    }
  }
  store_state_gradient(head, s, out, sweep.checkpoint.at(s, 0), in, at);
}

}  // namespace

extern "C" int XL_KERNEL(xl_mlstm_backward)(float *dq, float *dk, float *dv, float *di, float *df, float *dCin,
                                            float *dnin, float *dmin, const float *dh, const float *dCout,
                                            const float *dnout, const float *dmout, const float *q, const float *k,
                                            const float *v, const float *i, const float *f, const float *Cin,
                                            const float *nin, const float *min, const uint8_t *reset, const float *h,
                                            const float *, const float *denominator, int64_t B, int64_t T, int64_t NH,
                                            int64_t DK, int64_t DV, int64_t L, float eps, int32_t input_gate,
                                            int32_t normalize) {
  const MlstmShape asked{B, T, NH, DK, DV, L, eps, input_gate == XL_GATE_EXPONENTIAL, normalize != 0};
  if (const int status = check_mlstm("mlstm backward", asked, input_gate)) return status;
  // The gradient does not depend on L; its memory grows with the square, so longer chunks are cut.
  MlstmShape s = asked;
  s.L = min_of(min_of(L, max_of(T, 1)), 128);
  const MlstmBackwardInputs in{q, k, v, i, f, Cin, nin, min, reset, h, denominator, dh, dCout, dnout, dmout};
  const MlstmBackwardOutputs out{dq, dk, dv, di, df, dCin, dnin, dmin};
  int failed = 0;
  parallel_for(B * NH, [&](int64_t task, int worker) {
    const int64_t b = task / NH, chunks = count_chunks(s, reset, b);
    Arena count(nullptr);
    {
      GradientHead head(count, s);
      Sweep sweep(count, s, chunks);
    }
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    GradientHead head(arena, s);
    Sweep sweep(arena, s, chunks);
    run_head(head, sweep, s, in, out, b, task % NH);
  });
  if (failed)
    return xl::fail(XL_OUT_OF_MEMORY,
                    "mlstm backward: no memory for the working state of B=%lld T=%lld DK=%lld DV=%lld", (long long)B,
                    (long long)T, (long long)DK, (long long)DV);
  return XL_OK;
}
