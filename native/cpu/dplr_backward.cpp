// The diagonal-plus-low-rank state of RWKV-7 over a sequence, backward. The state before each block of steps is kept,
// the ones between are computed again block by block; the recurrence is never run backwards, since a decay near zero
// has no inverse. With S the state before a step, S' the one after it and known = S^T b, the forward lines are
//   S' = diag(decay) S + a known^T + k v^T,   o = S'^T q
// and backwards, with dS' the cotangent of S' including q do^T:
//   dq = S' do,  dk = dS' v,  da = dS' known,  dv = dS'^T k,  dknown = dS'^T a
//   db = S dknown,  dg = decay * rowsum(dS' * S),  dS = diag(decay) dS' + b dknown^T.
#include <math.h>

#include "chunks.h"
#include "dplr.h"

using namespace XL_NS;

namespace {

struct Gradients {
  float *q, *k, *v, *a, *b, *g, *state;
};

// Gradients of vectors over DK, in the order in which lanes are kept.
enum { DQ, DK_, DA, DB, DG, VECTORS };

// The memory of one head at work. Matrices of the size of a state have rows row_v floats apart.
struct Head {
  int64_t steps, blocks;  // of a block; the last may be shorter
  int64_t row_v, state;   // floats
  float *checkpoints;     // of each block, the state before it
  float *states;          // of the block at work, the states before its steps, and after the last
  float *zeros;           // the state after a reset
  float *known;           // [steps][row_v]
  float *decays;          // [steps][padded_k]
  float *dS;
  float *dv, *dknown;         // [row_v]
  float *values, *cotangent;  // v and do of a step, in whole vectors
  float *lanes;               // [VECTORS][padded_k][W]: sums before their lanes are added
  float *sums;                // [padded_k]

  Head(Arena &arena, const DplrShape &s) {
    // The extra vector spreads the rows over the cache sets.
    row_v = s.padded_v() + W;
    state = s.DK * row_v;
    const int64_t most = max_of(1, kept_floats / state);  // a longer sequence has longer blocks
    steps = max_of(1, min_of(s.T, max_of(16, ceil_div(s.T, most))));
    blocks = ceil_div(s.T, steps);
    checkpoints = arena.take(max_of(1, blocks) * state);
    states = arena.take((steps + 1) * state);
    zeros = arena.take(state);
    known = arena.take(steps * row_v);
    decays = arena.take(steps * s.padded_k());
    dS = arena.take(state);
    float **const rows[] = {&dv, &dknown, &values, &cotangent};
    for (float **p : rows) *p = arena.take(row_v);
    lanes = arena.take(VECTORS * s.padded_k() * W);
    sums = arena.take(s.padded_k());
  }
};

// A block of one head: its first row (b, t, head), the step t there, its steps.
struct Block {
  int64_t row, begin, n;
};

struct Task {
  Head head;
  const DplrShape &s;
  const DplrInputs &in;
  const Gradients &out;
  int64_t at, b;

  Task(Arena &arena, const DplrShape &shape, const DplrInputs &inputs, const Gradients &gradients, int64_t unit)
      : head(arena, shape), s(shape), in(inputs), out(gradients), at(unit), b(unit / shape.NH) {}

  bool is_cut(int64_t t) const { return in.reset && in.reset[b * s.T + t]; }
  Block block(int64_t index) const {
    const int64_t t = index * head.steps;
    return {s.row(b, t, at % s.NH), t, min_of(head.steps, s.T - t)};
  }

  // The steps of a block from the state `first` on: where each state goes is up to `target(i)`, the one after step i.
  template <class Target>
  void advance(Block x, const float *first, const Target &target) {
    for (int64_t i = 0; i < x.n; i++)
      exponentials(head.decays + i * s.padded_k(), in.g + (x.row + i * s.NH) * s.DK, s.DK);
    for (int64_t col = 0; col < s.padded_v(); col += P)
      with_vectors(min_of(NR, (s.padded_v() - col) / W), [&](auto count) {
        constexpr int NV = decltype(count)::value;
        const float *from = first + col;
        vf known[NV], next[NV], unused[NV];
        dplr_known(known, from, head.row_v, in.b + x.row * s.DK, s.DK);
        for (int v = 0; v < NV; v++) unused[v] = vf{};
        for (int64_t i = 0; i < x.n; i++) {
          const int64_t row = x.row + i * s.NH, keys = row * s.DK;
          float *to = target(i) + col;
          const bool cut = is_cut(x.begin + i);
          vf value[NV];
          load_vectors(value, in.v + row * s.DV + col, s.DV - col);
          for (int v = 0; v < NV; v++) {
            if (cut) known[v] = vf{};
            next[v] = vf{};
            store(head.known + i * head.row_v + col + v * W, known[v]);
          }
          dplr_step<NV>(to, cut ? nullptr : from, head.row_v,
                        {nullptr, in.k + keys, in.a + keys, head.decays + i * s.padded_k()}, s.DK, known, value, unused,
                        i + 1 < x.n ? in.b + keys + s.NH * s.DK : nullptr, next);
          for (int v = 0; v < NV; v++) known[v] = next[v];
          from = to;
        }
      });
  }

  void load_state(float *to, const float *from) const {
    if (!from) return fill_zero(to, head.state);
    copy_rows(to, head.row_v, s.DK, s.padded_v(), {from + at * s.DK * s.DV, s.DV, s.DK, s.DV}, 1);
  }

  // First part of a step back: dS += q do^T; dq, dk, da in lanes; dv and dknown. (Members are copied to locals wherever
  // a loop stores vectors, which might change them as far as the compiler knows.)
  void into_state(const float *after, const float *known, int64_t row) {
    const float *const q = in.q + row * s.DK, *const k = in.k + row * s.DK, *const a = in.a + row * s.DK;
    const float *const values = head.values, *const cotangents = head.cotangent;
    float *const dS = head.dS, *const dv = head.dv, *const dknown = head.dknown;
    float *const dq_lanes = lanes_of(DQ, 0), *const dk_lanes = lanes_of(DK_, 0), *const da_lanes = lanes_of(DA, 0);
    const int64_t padded_v = s.padded_v(), row_v = head.row_v, DK = s.DK;
    for (int64_t e = 0; e < padded_v; e += W) {
      store(dv + e, vf{});
      store(dknown + e, vf{});
    }
    auto rows = [&](int64_t d, auto count) {
      constexpr int R = decltype(count)::value;
      vf dq[R], dk[R], da[R], q_d[R], k_d[R], a_d[R];
      float *const dS_row = dS + d * row_v;
      const float *const after_row = after + d * row_v;
#pragma GCC unroll 2
      for (int r = 0; r < R; r++) {
        dq[r] = dk[r] = da[r] = vf{};
        q_d[r] = splat(q[d + r]);
        k_d[r] = splat(k[d + r]);
        a_d[r] = splat(a[d + r]);
      }
      for (int64_t e = 0; e < padded_v; e += W) {
        const vf cotangent = load(cotangents + e), value = load(values + e), memory = load(known + e);
        vf dv_sum = load(dv + e), dknown_sum = load(dknown + e);
#pragma GCC unroll 2
        for (int r = 0; r < R; r++) {
          const vf x = load(dS_row + r * row_v + e) + q_d[r] * cotangent;
          store(dS_row + r * row_v + e, x);
          dq[r] += load(after_row + r * row_v + e) * cotangent;
          dk[r] += x * value;
          da[r] += x * memory;
          dv_sum += k_d[r] * x;
          dknown_sum += a_d[r] * x;
        }
        store(dv + e, dv_sum);
        store(dknown + e, dknown_sum);
      }
#pragma GCC unroll 2
      for (int r = 0; r < R; r++) {
        store(dq_lanes + (d + r) * W, dq[r]);
        store(dk_lanes + (d + r) * W, dk[r]);
        store(da_lanes + (d + r) * W, da[r]);
      }
    };
    int64_t d = 0;
    for (; d + 2 <= DK; d += 2) rows(d, Count<2>());
    if (d < DK) rows(d, Count<1>());
  }

  // Second part: db and dg in lanes; dS of the state before the step.
  void through_state(const float *before, const float *decay, int64_t row) {
    const float *const b_row = in.b + row * s.DK, *const dknown = head.dknown;
    float *const dS = head.dS, *const db_lanes = lanes_of(DB, 0), *const dg_lanes = lanes_of(DG, 0);
    const int64_t padded_v = s.padded_v(), row_v = head.row_v, DK = s.DK;
    auto rows = [&](int64_t d, auto count) {
      constexpr int R = decltype(count)::value;
      vf db[R], dg[R];
      float *const dS_row = dS + d * row_v;
      const float *const before_row = before + d * row_v;
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) db[r] = dg[r] = vf{};
      for (int64_t e = 0; e < padded_v; e += W) {
        const vf known = load(dknown + e);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
          const vf S = load(before_row + r * row_v + e), x = load(dS_row + r * row_v + e) * decay[d + r];
          db[r] += S * known;
          dg[r] += S * x;
          store(dS_row + r * row_v + e, x + b_row[d + r] * known);
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        store(db_lanes + (d + r) * W, db[r]);
        store(dg_lanes + (d + r) * W, dg[r]);
      }
    };
    int64_t d = 0;
    for (; d + 4 <= DK; d += 4) rows(d, Count<4>());
    for (; d < DK; d++) rows(d, Count<1>());
  }

  // Rows of one head have those of other heads between them, so that the hardware does not see which comes next.
  void prefetch_step(const float *d_out, int64_t row) const {
    const float *const keys[] = {in.q, in.k, in.a, in.b, out.q, out.k, out.a, out.b, out.g};
    const float *const values[] = {in.v, d_out, out.v};
    for (const float *p : keys)
      if (p) prefetch(p + row * s.DK, s.DK);
    for (const float *p : values)
      if (p) prefetch(p + row * s.DV, s.DV);
  }

  float *lanes_of(int vector, int64_t d) const { return head.lanes + (vector * s.padded_k() + d) * W; }

  void add_gradients(int64_t row) {
    float *const to[VECTORS] = {out.q, out.k, out.a, out.b, out.g};
    for (int i = 0; i < VECTORS; i++) {
      if (!to[i]) continue;
      sum_lanes(head.sums, lanes_of(i, 0), s.padded_k());
      add_row(to[i] + row * s.DK, head.sums, s.DK);
    }
    if (out.v) add_row(out.v + row * s.DV, head.dv, s.DV);
  }

  static void add_row(float *to, const float *from, int64_t n) {
    for (int64_t d = 0; d < n; d += W) store_lanes(to + d, load_lanes(to + d, n - d) + load(from + d), n - d);
  }

  void walk_back(Block x, const float *d_out) {
    for (int64_t i = x.n - 1; i >= 0; i--) {
      const int64_t row = x.row + i * s.NH;
      const bool cut = is_cut(x.begin + i);
      if (x.begin + i > 0) prefetch_step(d_out, row - s.NH);
      copy_rows(head.values, 0, 1, s.padded_v(), {in.v + row * s.DV, 0, 1, s.DV}, 1);
      copy_rows(head.cotangent, 0, 1, s.padded_v(), {d_out + row * s.DV, 0, 1, s.DV}, 1);
      into_state(head.states + (i + 1) * head.state, head.known + i * head.row_v, row);
      through_state(cut ? head.zeros : head.states + i * head.state, head.decays + i * s.padded_k(), row);
      add_gradients(row);
      if (cut) fill_zero(head.dS, head.state);
    }
  }

  void run(const float *d_out, const float *d_state) {
    fill_zero(head.zeros, head.state);
    fill_zero(head.lanes, VECTORS * s.padded_k() * W);
    load_state(head.checkpoints, in.state);
    for (int64_t index = 0; index + 1 < head.blocks; index++) {
      float *const first = head.checkpoints + index * head.state;
      advance(block(index), first, [&](int64_t i) { return i + 1 < head.steps ? head.states : first + head.state; });
    }
    load_state(head.dS, d_state);
    for (int64_t index = head.blocks - 1; index >= 0; index--) {
      __builtin_memcpy(head.states, head.checkpoints + index * head.state, size_t(head.state) * sizeof(float));
      advance(block(index), head.states, [&](int64_t i) { return head.states + (i + 1) * head.state; });
      walk_back(block(index), d_out);
    }
    if (!out.state) return;
    for (int64_t d = 0; d < s.DK; d++) add_row(out.state + (at * s.DK + d) * s.DV, head.dS + d * head.row_v, s.DV);
  }
};

}  // namespace

extern "C" int XL_KERNEL(xl_dplr_backward)(float *dq, float *dk, float *dv, float *da, float *db, float *dg,
                                           float *dstate_in, const float *do_, const float *dstate_out, const float *q,
                                           const float *k, const float *v, const float *a, const float *b,
                                           const float *g, const float *state_in, const uint8_t *reset, int64_t B,
                                           int64_t T, int64_t NH, int64_t DK, int64_t DV) {
  const DplrShape s{B, T, NH, DK, DV};
  if (const int status = check_dplr("dplr backward", s)) return status;
  const DplrInputs in{q, k, v, a, b, g, state_in, reset};
  const Gradients out{dq, dk, dv, da, db, dg, dstate_in};
  Arena count(nullptr);
  Task unused(count, s, in, out, 0);
  int failed = 0;
  parallel_for(B * NH, [&](int64_t at, int worker) {
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Task(arena, s, in, out, at).run(do_, dstate_out);
  });
  if (failed)
    return xl::fail(XL_OUT_OF_MEMORY, "dplr backward: no memory for %lld bytes of working state per thread",
                    (long long)count.used * 4);
  return XL_OK;
}
