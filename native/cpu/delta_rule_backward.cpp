// The gated delta rule over a sequence, backward: a forward sweep recomputes the states at the chunk borders, then each
// head walks back over its chunks. One chunk is in delta_gradient.h.
#include "delta_gradient.h"

using namespace XL_NS;

namespace {

// The border states of one head. A segment starts with its checkpoint, its later chunks c with local(c).
struct Sweep {
  int64_t *begin;  // [chunks + 1], the first step of each chunk, then T
  int64_t chunks, segment, segments;
  float *local, *checkpoints;
  int64_t state;  // floats of one

  Sweep(Arena &arena, const DeltaShape &s, int64_t chunk_count) : chunks(chunk_count), state(s.state_floats()) {
    segment = segment_chunks(chunks, state);
    segments = max_of(1, ceil_div(chunks, segment));
    begin = reinterpret_cast<int64_t *>(arena.take(2 * (chunks + 1)));
    local = arena.take(segment * state);
    checkpoints = arena.take(segments * state);
  }
  float *at(int64_t chunk) const {
    const int64_t in_segment = chunk % segment;
    return in_segment == 0 ? checkpoints + chunk / segment * state : local + in_segment * state;
  }
};

// One head of one sequence.
struct Task {
  DeltaGradientHead head;
  Sweep sweep;
  const DeltaShape &s;
  const DeltaInputs &in;
  int64_t b, k_head;

  Task(Arena &arena, const DeltaShape &shape, const DeltaInputs &inputs, int64_t at)
      : head(arena, shape),
        sweep(arena, shape, count_chunks(shape, inputs.reset, at / shape.NH)),
        s(shape),
        in(inputs),
        b(at / shape.NH),
        k_head(at % shape.NH) {}

  int64_t at() const { return b * s.NH + k_head; }
  bool is_cut(int64_t chunk) const { return in.reset && in.reset[b * s.T + sweep.begin[chunk]]; }
  // The state before a chunk, NULL for zeros.
  const float *before(int64_t chunk) const {
    return is_cut(chunk) || (chunk == 0 && !in.state) ? nullptr : sweep.at(chunk);
  }
  Chunk chunk(int64_t c) const {
    const int64_t t = sweep.begin[c];
    return {s.row(b, t, k_head), t, sweep.begin[c + 1] - t};
  }

  void start() {
    sweep.begin[0] = 0;
    for (int64_t c = 0; c < sweep.chunks; c++) sweep.begin[c + 1] = chunk_end(s, in.reset, b, sweep.begin[c]);
    if (in.state)
      copy_panels(sweep.at(0), s.padded_k(), {in.state + at() * s.DK * s.DV, s.DV, s.DK, s.DV}, 1, nullptr);
  }

  // The states before the chunks first + 1 .. last, of which a cut one needs none.
  void advance(int64_t first, int64_t last) {
    for (int64_t c = first; c < last; c++) {
      if (is_cut(c + 1)) continue;
      const Chunk at = chunk(c);
      const float *from = before(c);
      float *to = sweep.at(c + 1);
      load_delta_rows(head.rows, s, in, at.row, at.n);
      with_panels(s.DV, [&](int64_t col, auto count) {
        constexpr int NV = decltype(count)::value;
        const int64_t panel = col * s.padded_k();
        const float *S = from ? from + panel : nullptr;
        solve_panel<NV>(head.delta, nullptr, head.rows, s, S, in.v + at.row * s.DV + col, s.DV - col, at.n);
        advance_panel<NV>(to + panel, S, head.delta, head.rows, s, at.n);
      });
    }
  }

  void run(const DeltaCotangents &cotangents, const DeltaGradients &out) {
    start();
    advance(0, sweep.chunks - 1);
    const int64_t size = s.DK * s.DV;
    head.flowing = cotangents.state != nullptr;
    if (head.flowing)
      copy_panels(head.dS, s.padded_k(), {cotangents.state + at() * size, s.DV, s.DK, s.DV}, 1, nullptr);
    for (int64_t g = sweep.segments - 1; g >= 0; g--) {
      const int64_t first = g * sweep.segment, end = min_of(first + sweep.segment, sweep.chunks);
      if (g + 1 < sweep.segments) advance(first, end - 1);
      for (int64_t c = end - 1; c >= first; c--) {
        chunk_gradient(head, s, in, cotangents, out, before(c), chunk(c));
        if (is_cut(c)) head.flowing = false;
      }
    }
    if (out.state && head.flowing)
      copy_from_panels(out.state + at() * size, s.DV, head.dS, s.padded_k(), s.DK, s.DV, true);
  }
};

}  // namespace

extern "C" int XL_KERNEL(xl_delta_rule_backward)(float *dq, float *dk, float *dv, float *dbeta, float *dg,
                                                 float *dstate_in, const float *do_, const float *dstate_out,
                                                 const float *q, const float *k, const float *v, const float *beta,
                                                 const float *g, const float *state_in, const uint8_t *reset, int64_t B,
                                                 int64_t T, int64_t NH, int64_t DK, int64_t DV, int64_t L,
                                                 float scale) {
  DeltaShape s;
  if (const int status = make_delta_shape(&s, "delta rule backward", B, T, NH, DK, DV, L, scale)) return status;
  const DeltaInputs in{q, k, v, beta, g, state_in, reset};
  int failed = 0;
  parallel_for(B * NH, [&](int64_t at, int worker) {
    Arena count(nullptr);
    Task unused(count, s, in, at);
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Task(arena, s, in, at).run({do_, dstate_out}, {dq, dk, dv, dbeta, dg, dstate_in});
  });
  if (failed)
    return xl::fail(XL_OUT_OF_MEMORY,
                    "delta rule backward: no memory for the working state of B=%lld T=%lld DK=%lld DV=%lld",
                    (long long)B, (long long)T, (long long)DK, (long long)DV);
  return XL_OK;
}
