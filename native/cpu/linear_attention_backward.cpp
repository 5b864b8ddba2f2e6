// Gated linear attention, backward: a forward sweep keeps the states at the borders of segments, then each head walks
// back, segment by segment, over its blocks. See linear_attention.h for the weights; the gradient of one block is in
// linear_attention_gradient.h.
#include "linear_attention_gradient.h"

using namespace XL_NS;

namespace {

// States kept at once, in floats (4 MB, so that they stay in a cache). A longer sequence keeps the states before every
// sqrt(n)-th of its n blocks instead, and recomputes the others segment by segment.
constexpr int64_t cached_floats = int64_t(1) << 20;

// Transposed states of one head: those before each segment, and those before each block of one segment that has one.
struct Sweep {
  int64_t segment, segments;  // steps of a segment, number of them
  float *running;
  float *checkpoints;  // [segments] states
  float *local;        // the same within a segment
  int32_t *begins;     // first steps of a segment's blocks
  int32_t *slots;      // which local state a block begins with, -1 for none
  uint8_t *empty;      // whether a segment begins with nothing

  Sweep(Arena &arena, const LinearShape &s) {
    const int64_t blocks = max_of(1, ceil_div(s.T, s.block())), state = s.transposed_floats();
    const int64_t length = blocks * state <= cached_floats ? blocks : int64_t(ceil(sqrt(double(blocks))));
    segment = length * s.block();
    segments = ceil_div(s.T, segment);
    running = arena.take(state);
    checkpoints = arena.take(segments * state);
    local = arena.take((length + 1) * state);
    begins = reinterpret_cast<int32_t *>(arena.take(segment + 1));
    slots = reinterpret_cast<int32_t *>(arena.take(segment + 1));
    empty = reinterpret_cast<uint8_t *>(arena.take(ceil_div(segments, 4) + 1));
  }
};

void copy_state(float *to, const float *from, const LinearShape &s) {
  __builtin_memcpy(to, from, size_t(s.transposed_floats()) * sizeof(float));
}

bool begins_document(const LinearShape &s, const LinearInputs &in, int64_t b, int64_t t) {
  return in.reset && in.reset[b * s.T + t];
}

// The states before all segments; the first is `running` where `has_state`.
void forward_sweep(Sweep &sweep, LinearHead &head, LinearGradient &g, const LinearShape &s, const LinearInputs &in,
                   bool has_state, int64_t b, int64_t h) {
  for (int64_t segment = 0; segment < sweep.segments; segment++) {
    const int64_t begin = segment * sweep.segment, end = min_of(s.T, begin + sweep.segment);
    sweep.empty[segment] = !has_state;
    if (has_state) copy_state(sweep.checkpoints + segment * s.transposed_floats(), sweep.running, s);
    if (segment + 1 == sweep.segments) break;
    for (int64_t t = begin; t < end;) {
      if (begins_document(s, in, b, t)) has_state = false;
      const LinearBlock at = block_at(s, in.reset, b, h, t, end);
      load_block(g, head, s, in, at);
      advance_transposed(sweep.running, has_state ? sweep.running : nullptr, g, head, s, at.n);
      has_state = true;
      t += at.n;
    }
  }
}

// The states before all blocks of a segment; gives the number of blocks.
int64_t segment_sweep(Sweep &sweep, LinearHead &head, LinearGradient &g, const LinearShape &s, const LinearInputs &in,
                      int64_t b, int64_t h, int64_t segment) {
  const int64_t begin = segment * sweep.segment, end = min_of(s.T, begin + sweep.segment);
  const int64_t state_floats = s.transposed_floats();
  float *state = nullptr;
  int64_t blocks = 0;
  int32_t slot = -1;
  for (int64_t t = begin; t < end; blocks++) {
    if (begins_document(s, in, b, t)) {
      state = nullptr;
    } else if (t == begin && !sweep.empty[segment]) {
      state = sweep.local + ++slot * state_floats;
      copy_state(state, sweep.checkpoints + segment * state_floats, s);
    }
    sweep.begins[blocks] = int32_t(t - begin);
    sweep.slots[blocks] = state ? slot : -1;
    const LinearBlock at = block_at(s, in.reset, b, h, t, end);
    t += at.n;
    if (t == end || begins_document(s, in, b, t)) continue;
    load_block(g, head, s, in, at);
    float *next = sweep.local + ++slot * state_floats;
    advance_transposed(next, state, g, head, s, at.n);
    state = next;
  }
  sweep.begins[blocks] = int32_t(end - begin);
  return blocks;
}

void add_state(const float *dS, const LinearShape &s, float *dSin, float *dzin) {
  if (dSin) copy_from_panels(dSin, s.DV, dS, s.padded_k(), s.DK, s.DV, true);
  if (!dzin) return;
  for (int64_t d = 0; d < s.DK; d++) dzin[d] += *in_panels(const_cast<float *>(dS), s.padded_k(), d, s.DV);
}

struct StateGradients {
  const float *S, *z, *dSout, *dzout;
  float *dSin, *dzin;
};

const float *at_head(const float *p, int64_t at, int64_t size) { return p ? p + at * size : nullptr; }
float *at_head(float *p, int64_t at, int64_t size) { return p ? p + at * size : nullptr; }

void causal_head(Sweep &sweep, LinearHead &head, LinearGradient &gradient, const LinearShape &s,
                 const LinearInputs &in, const LinearCotangents &given, const LinearGradients &wanted,
                 const StateGradients &states, int64_t b, int64_t h) {
  const int64_t task = b * s.NH + h;
  load_bonus(head, s, in.u, h);
  gradient.begin_head(s);
  const bool has_state = states.S || states.z;
  if (has_state) {
    load_linear_state(head.S, s, at_head(states.S, task, s.DK * s.DV), at_head(states.z, task, s.DK));
    transpose_panels(sweep.running, head.S, s.padded_k(), s.padded_w());
  }
  forward_sweep(sweep, head, gradient, s, in, has_state, b, h);
  load_linear_state(gradient.dS, s, at_head(states.dSout, task, s.DK * s.DV), at_head(states.dzout, task, s.DK));
  for (int64_t segment = sweep.segments - 1; segment >= 0; segment--) {
    const int64_t begin = segment * sweep.segment;
    for (int64_t block = segment_sweep(sweep, head, gradient, s, in, b, h, segment) - 1; block >= 0; block--) {
      const int64_t t = begin + sweep.begins[block], end = begin + sweep.begins[block + 1];
      const int32_t slot = sweep.slots[block];
      const float *S = slot < 0 ? nullptr : sweep.local + slot * s.transposed_floats();
      block_gradient(gradient, head, s, in, given, wanted, S, {b, h, t, end - t});
      if (begins_document(s, in, b, t)) fill_zero(gradient.dS, s.state_floats());
    }
  }
  add_state(gradient.dS, s, at_head(states.dSin, task, s.DK * s.DV), at_head(states.dzin, task, s.DK));
  gradient.end_head(s, wanted, b, h);
}

// Tasks: heads that read one group add into the same dq and dk. They are cut into parts by the sizes alone, each part
// with sums of its own.
struct Parts {
  int64_t count, heads;  // parts of a group, heads of a part at most
  Parts(const LinearShape &s) {
    const int64_t together = s.NH / s.NG;
    count = min_of(together, max_of(1, 16 / max_of(1, s.B * s.NG)));
    heads = ceil_div(together, count);
  }
};

}  // namespace

extern "C" int XL_KERNEL(xl_linear_attention_backward)(
    float *dq, float *dk, float *dv, float *dlog_decay, float *du, float *dSin, float *dzin, const float *do_,
    const float *dSout, const float *dzout, const float *q, const float *k, const float *v, const float *log_decay,
    const float *u, const float *Sin, const float *zin, const uint8_t *reset, const float *o, const float *denominator,
    int64_t B, int64_t T, int64_t NH, int64_t NG, int64_t DK, int64_t DV, int64_t L, float scale, float eps,
    int32_t decay, int32_t normalize, int32_t causal) {
  const LinearShape s = linear_shape(B, T, NH, NG, DK, DV, L, scale, eps, log_decay, u, decay, normalize);
  const bool causal_only = log_decay || u || Sin || zin || dSin || dzin || dSout || dzout;
  if (const int status = check_linear("linear attention backward", s, decay, causal, causal_only)) return status;
  const LinearInputs in{q, k, v, log_decay, u, reset};
  const LinearCotangents given{do_, o, denominator};
  const Parts parts(s);
  const int64_t keys = B * T * NG * DK, decays = s.decay_width(), sums = B * NH;
  // Sums over heads, and over sequences, that several tasks add to.
  const bool apart = parts.count > 1;
  Arena shared_count(nullptr);
  auto take_shared = [&](Arena &arena, LinearGradients &wanted) {
    wanted = {dq, dk, dv, s.decays ? dlog_decay : nullptr, nullptr, nullptr};
    if (apart && dq) wanted.dq = arena.take(parts.count * keys);
    if (apart && dk) wanted.dk = arena.take(parts.count * keys);
    if (du) wanted.du = arena.take(sums * DK);
    if (dlog_decay && s.constant) wanted.constant_decay = arena.take(sums * decays);
  };
  LinearGradients wanted;
  take_shared(shared_count, wanted);
  if (shared_count.used > 0) {
    Arena shared(xl::shared_scratch(shared_count.used));
    if (!shared.base) return out_of_scratch("linear attention backward", shared_count.used);
    take_shared(shared, wanted);
  }
  Arena count(nullptr);
  LinearHead unused_head(count, s);
  LinearGradient unused_gradient(count, s);
  Sweep unused_sweep(count, s);
  int failed = 0;
  parallel_for(B * NG * parts.count, [&](int64_t task, int worker) {
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    LinearHead head(arena, s);
    LinearGradient gradient(arena, s);
    Sweep sweep(arena, s);
    const int64_t part = task % parts.count, group = task / parts.count % NG, b = task / parts.count / NG;
    LinearGradients own = wanted;
    if (apart) {
      if (own.dq) own.dq += part * keys;
      if (own.dk) own.dk += part * keys;
      for (int64_t t = 0; t < T; t++) {
        const int64_t row = ((b * T + t) * NG + group) * DK;
        if (own.dq) fill_zero(own.dq + row, DK);
        if (own.dk) fill_zero(own.dk + row, DK);
      }
    }
    const int64_t together = NH / NG, first = part * parts.heads, last = min_of(together, first + parts.heads);
    for (int64_t h = group * together + first; h < group * together + last; h++) {
      if (causal) {
        causal_head(sweep, head, gradient, s, in, given, own, {Sin, zin, dSout, dzout, dSin, dzin}, b, h);
      } else {
        bidirectional_gradient(gradient, head, s, in, given, own, sweep.running, b, h);
      }
    }
  });
  if (failed) return out_of_scratch("linear attention backward", count.used);
  if (apart && dq) add_partials(dq, wanted.dq, parts.count, keys, keys);
  if (apart && dk) add_partials(dk, wanted.dk, parts.count, keys, keys);
  if (B == 0) return XL_OK;
  if (du) add_partials(du, wanted.du, B, NH * DK, NH * DK);
  if (wanted.constant_decay) add_partials(dlog_decay, wanted.constant_decay, B, NH * decays, NH * decays);
  return XL_OK;
}
