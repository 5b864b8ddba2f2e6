// What sLSTM and LSTM share: the recurrence over time of four gates through a block-diagonal matrix. A cell says what a
// step does to one vector of units (slstm.cpp, lstm.cpp); here is everything around it.
//
// A task is one head of a slice of the batch. Slices follow from the sizes, so that results do not depend on the number
// of threads. A worker runs the whole sequence of one task, or of several of one head step by step in turns (a group).
#ifndef XL_CPU_RECURRENT_H
#define XL_CPU_RECURRENT_H
#include "panels.h"
#include "vmath.h"

namespace XL_NS {
namespace {

constexpr int GATES = 4;  // i f z o

// Rows of the batch that a product takes at once: four gates of a vector of units each must stay in registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int BATCH_ROWS = 4;
#else
constexpr int BATCH_ROWS = 2;
#endif
// Vectors of units that the pointwise part takes at once: their chains of operations are independent, and one alone
// would leave the machine waiting for results.
constexpr int TOGETHER = 2 * BATCH_ROWS;

constexpr int64_t MOST_TOGETHER = 4;
constexpr int64_t near_floats = int64_t(1) << 17;
constexpr int64_t streamed_bytes = int64_t(2) << 20;

struct RecurrentShape {
  int64_t B, T, NH, DH;

  int64_t padded() const { return round_up(DH, W); }
  // Rows of the batch per task: enough to use each weight several times, few enough for sixteen tasks.
  int64_t slice() const {
    const int64_t rows = round_up(max_of(1, ceil_div(B * NH, 16)), 4);
    return min_of(min_of(rows, 16), max_of(B, 1));
  }
  int64_t slices() const { return ceil_div(B, slice()); }
  // Slices whose steps a worker takes in turns. A matrix that the nearest caches do not hold is then read once for all.
  int64_t together() const {
    if (GATES * DH * padded() < near_floats) return 1;
    return max_of(1, min_of(min_of(slices(), MOST_TOGETHER), NH * slices() / xl::threads()));
  }
  int64_t at(int64_t b, int64_t t, int64_t head) const { return ((b * T + t) * NH + head) * DH; }
  int64_t state_at(int64_t s, int64_t b, int64_t head) const { return ((s * B + b) * NH + head) * DH; }
};

inline int check_recurrent(const char *name, const RecurrentShape &s) {
  if (s.B >= 0 && s.T >= 0 && s.NH >= 1 && s.DH >= 1) return XL_OK;
  return xl::fail(XL_INVALID,
                  "%s: B and T must not be negative and NH and DH must be positive, got B=%lld T=%lld NH=%lld DH=%lld",
                  name, (long long)s.B, (long long)s.T, (long long)s.NH, (long long)s.DH);
}

inline int no_memory(const char *name, const RecurrentShape &s) {
  return xl::fail(XL_OUT_OF_MEMORY, "%s: no memory for the working state of B=%lld T=%lld NH=%lld DH=%lld", name,
                  (long long)s.B, (long long)s.T, (long long)s.NH, (long long)s.DH);
}

// Tasks of one head whose steps a worker takes in turns.
template <class Task>
struct Group {
  Task tasks[MOST_TOGETHER];
  int64_t count;
  Task *begin() { return tasks; }
  Task *end() { return tasks + count; }
};

// body(group, head, first slice) for all groups, on all threads, with memory for their tasks; false when there is none.
template <class Task, class Body>
bool for_groups(const RecurrentShape &s, const Body &body) {
  const int64_t together = s.together();
  Arena count(nullptr);
  Task unused;
  unused.take(count, s);
  int failed = 0;
  parallel_for(s.NH * ceil_div(s.slices(), together), [&](int64_t index, int worker) {
    Arena arena(xl::scratch(worker, together * count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    const int64_t head = index % s.NH, slice = index / s.NH * together;
    Group<Task> group;
    group.count = min_of(together, s.slices() - slice);
    for (Task &task : group) task.take(arena, s);
    body(group, head, slice);
  });
  return !failed;
}

struct RecurrentInputs {
  const float *gates[GATES];
  const float *recurrent, *bias, *state;
  const uint8_t *reset;
};

struct RecurrentOutputs {
  float *h, *state, *saved;
  bool stream = false;  // `saved` past the caches
};

// ---- the recurrent matrix ----

// For each vector of units j, [1 + DH of h][gate][W units]: first the bias, then the matrix. A step reads it front to
// back.
inline int64_t packed_units(const RecurrentShape &s) { return (1 + s.DH) * GATES * W; }
inline int64_t packed_head(const RecurrentShape &s) { return s.padded() / W * packed_units(s); }

inline void pack_recurrent(float *packed, const float *recurrent, const float *bias, const RecurrentShape &s) {
  const int64_t DH = s.DH, units = s.padded() / W;
  parallel_for(s.NH * units, [&](int64_t task, int) {
    const int64_t head = task / units, j = task % units * W;
    float *to = packed + task * packed_units(s);
    for (int64_t g = 0; g < GATES; g++)
      store(to + g * W, bias ? load_lanes(bias + (g * s.NH + head) * DH + j, DH - j) : vf{});
    to += GATES * W;
    for (int64_t g = 0; g < GATES; g++) {
      const float *from = recurrent + ((head * GATES + g) * DH + j) * DH;
      for (int64_t i = 0; i < DH; i += W) {
        vf x[W];
#pragma GCC unroll 16
        for (int r = 0; r < W; r++) x[r] = j + r < DH ? load_lanes(from + r * DH + i, DH - i) : vf{};
        transpose_square(x);
#pragma GCC unroll 16
        for (int r = 0; r < W; r++)
          if (i + r < DH) store(to + (i + r) * GATES * W + g * W, x[r]);
      }
    }
  });
}

// ---- forward ----

// body(r) for r = 0..R-1, without a loop. Cells compute each of their functions for all vectors before the next one.
template <int R, class Body>
XL_INLINE void for_vectors(const Body &body) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) body(r);
}

// The memory of one task: [rows][padded] each, seen as one row of vectors by the pointwise part.
template <class Cell>
struct RecurrentTask {
  float *state[Cell::STATES];  // without h
  float *h;
  float *gates[GATES];  // what h and the bias give to the gates of a step
  int64_t *at, *unit;   // of each vector: where it begins at t = 0 in [B,T,NH,DH], and its first unit in the head
  const float *packed;  // of this head; NULL reads the matrix as it stands
  int64_t first, rows, head;

  void take(Arena &arena, const RecurrentShape &s) {
    const int64_t floats = s.slice() * s.padded();
    for (float *&p : state) p = arena.take(floats);
    h = arena.take(floats);
    for (float *&p : gates) p = arena.take(floats);
    at = reinterpret_cast<int64_t *>(arena.take(2 * floats / W));
    unit = reinterpret_cast<int64_t *>(arena.take(2 * floats / W));
  }
  void place(const RecurrentShape &s, int64_t head_of_task, int64_t slice) {
    head = head_of_task;
    first = slice * s.slice();
    rows = min_of(s.slice(), s.B - first);
    const int64_t units = s.padded() / W;
    for (int64_t v = 0; v < rows * units; v++) {
      unit[v] = v % units * W;
      at[v] = s.at(first + v / units, 0, head) + unit[v];
    }
  }
  void set_fresh(const RecurrentShape &s, int64_t row) {
    const int64_t padded = s.padded();
    for (int n = 0; n < Cell::STATES; n++)
      for (int64_t j = 0; j < padded; j += W) store(state[n] + row * padded + j, splat(Cell::initial(n)));
    fill_zero(h + row * padded, padded);
  }
};

template <class Cell>
void load_recurrent_state(RecurrentTask<Cell> &task, const RecurrentShape &s, const float *state) {
  const int64_t padded = s.padded();
  for (int64_t r = 0; r < task.rows; r++) {
    task.set_fresh(s, r);
    if (!state) continue;
    for (int n = 0; n <= Cell::STATES; n++) {
      float *to = (n < Cell::STATES ? task.state[n] : task.h) + r * padded;
      const float *from = state + s.state_at(n, task.first + r, task.head);
      __builtin_memcpy(to, from, size_t(s.DH) * sizeof(float));
    }
  }
}

template <class Cell>
void store_recurrent_state(const RecurrentTask<Cell> &task, const RecurrentShape &s, float *state) {
  if (!state) return;
  for (int64_t r = 0; r < task.rows; r++)
    for (int n = 0; n <= Cell::STATES; n++) {
      const float *from = (n < Cell::STATES ? task.state[n] : task.h) + r * s.padded();
      __builtin_memcpy(state + s.state_at(n, task.first + r, task.head), from, size_t(s.DH) * sizeof(float));
    }
}

// A vector of units j of gates = h R, for R rows from `row` on.
template <int R, class Cell>
XL_INLINE void product_packed_rows(RecurrentTask<Cell> &task, const RecurrentShape &s, int64_t row, int64_t j) {
  const int64_t padded = s.padded();
  const float *packed = task.packed + j / W * packed_units(s);
  vf acc[R][GATES];
#pragma GCC unroll 4
  for (int g = 0; g < GATES; g++) acc[0][g] = load(packed + g * W);
#pragma GCC unroll 4
  for (int r = 1; r < R; r++)
#pragma GCC unroll 4
    for (int g = 0; g < GATES; g++) acc[r][g] = acc[0][g];
  tile_product<GATES * W>(acc, task.h + row * padded, padded, 1, packed + GATES * W, s.DH);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int g = 0; g < GATES; g++) store(task.gates[g] + (row + r) * padded + j, acc[r][g]);
}

// gates = h R of all tasks of a group. Every other step goes through the matrix from its end: what a step read last is
// still in the nearest cache when the next one begins.
template <class Cell>
void product_packed(Group<RecurrentTask<Cell>> &group, const RecurrentShape &s, bool backwards) {
  const int64_t padded = s.padded();
  for (int64_t index = 0; index < padded; index += W) {
    const int64_t j = backwards ? padded - W - index : index;
    for (RecurrentTask<Cell> &task : group) {
      int64_t row = 0;
      for (; row + BATCH_ROWS <= task.rows; row += BATCH_ROWS) product_packed_rows<BATCH_ROWS>(task, s, row, j);
      with_rows<BATCH_ROWS - 1>(task.rows - row, [&](auto rows) {
        product_packed_rows<decltype(rows)::value>(task, s, row, j);
      });
    }
  }
}

// The same with the matrix as it stands, one row at a time: for a few steps packing would cost more than it saves.
template <class Cell>
void product_plain(RecurrentTask<Cell> &task, const RecurrentShape &s, const float *recurrent, const float *bias) {
  for (int64_t row = 0; row < task.rows; row++) {
    const float *h = task.h + row * s.padded();
    for (int64_t j = 0; j < s.DH; j += W)
      for (int64_t g = 0; g < GATES; g++) {
        const float *weights = recurrent + ((task.head * GATES + g) * s.DH + j) * s.DH;
        vf sums[W];
#pragma GCC unroll 16
        for (int r = 0; r < W; r++) sums[r] = vf{};
        for (int64_t i = 0; i < s.DH; i += W) {
          const vf x = load(h + i);
          for (int r = 0; r < min_of(W, s.DH - j); r++) sums[r] += load_lanes(weights + r * s.DH + i, s.DH - i) * x;
        }
        const vf start = bias ? load_lanes(bias + (g * s.NH + task.head) * s.DH + j, s.DH - j) : vf{};
        store(task.gates[g] + row * s.padded() + j, start + sums_of_lanes(sums));
      }
  }
}

// The pointwise part of step t for R vectors of units from vector `first` of the task on. WHOLE: all lanes exist.
template <int R, bool KEEP, bool WHOLE, class Cell>
XL_INLINE void update_units(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in,
                            const RecurrentOutputs &out, int64_t t, int64_t first) {
  const int64_t *at = task.at + first, now = t * s.NH * s.DH;
  auto lanes = [&](int r) { return WHOLE ? int64_t(W) : s.DH - task.unit[first + r]; };
  vf gate[R][GATES], h[R], state[R][Cell::STATES], saved[R][Cell::SAVED];
  for_vectors<R>([&](int r) {
    for (int g = 0; g < GATES; g++)
      gate[r][g] = load(task.gates[g] + (first + r) * W) + load_lanes(in.gates[g] + at[r] + now, lanes(r));
    for (int n = 0; n < Cell::STATES; n++) state[r][n] = load(task.state[n] + (first + r) * W);
  });
  Cell::template forward<KEEP>(h, gate, state, saved);
  for_vectors<R>([&](int r) {
    for (int n = 0; n < Cell::STATES; n++) store(task.state[n] + (first + r) * W, state[r][n]);
    store(task.h + (first + r) * W, h[r]);
    store_lanes(out.h + at[r] + now, h[r], lanes(r));
    if (!KEEP) return;
    // [SAVED][DH] for each (b, t, head)
    const int64_t unit = task.unit[first + r];
    float *to = out.saved + (at[r] - unit + now) * Cell::SAVED + unit;
    for (int n = 0; n < Cell::SAVED; n++)
      WHOLE &&out.stream ? stream(to + n * s.DH, saved[r][n]) : store_lanes(to + n * s.DH, saved[r][n], lanes(r));
  });
}

template <bool KEEP, bool WHOLE, class Cell>
void update_all(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in,
                const RecurrentOutputs &out, int64_t t) {
  const int64_t vectors = task.rows * s.padded() / W;
  int64_t v = 0;
  for (; v + TOGETHER <= vectors; v += TOGETHER) update_units<TOGETHER, KEEP, WHOLE>(task, s, in, out, t, v);
  for (; v < vectors; v++) update_units<1, KEEP, WHOLE>(task, s, in, out, t, v);
}

// Inputs of the next step come into the cache while the product of this one runs, and where its h goes.
template <class Cell>
void prefetch_step(const RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in,
                   const RecurrentOutputs &out, int64_t t) {
  if (t >= s.T) return;
  for (int64_t r = 0; r < task.rows; r++) {
    const int64_t at = s.at(task.first + r, t, task.head);
    for (const float *gate : in.gates) prefetch(gate + at, s.DH);
    prefetch(out.h + at, s.DH);
    if (out.saved && !out.stream) prefetch(out.saved + at * Cell::SAVED, s.DH * Cell::SAVED);
  }
}

template <class Cell>
void update(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in, const RecurrentOutputs &out,
            int64_t t) {
  const bool whole = s.DH % W == 0;
  if (out.saved) {
    whole ? update_all<true, true>(task, s, in, out, t) : update_all<true, false>(task, s, in, out, t);
  } else {
    whole ? update_all<false, true>(task, s, in, out, t) : update_all<false, false>(task, s, in, out, t);
  }
}

template <class Cell>
void run_forward(Group<RecurrentTask<Cell>> &group, const RecurrentShape &s, const RecurrentInputs &in,
                 const RecurrentOutputs &out) {
  for (RecurrentTask<Cell> &task : group) load_recurrent_state(task, s, in.state);
  for (int64_t t = 0; t < s.T; t++) {
    for (RecurrentTask<Cell> &task : group) {
      if (in.reset)
        for (int64_t r = 0; r < task.rows; r++)
          if (in.reset[(task.first + r) * s.T + t]) task.set_fresh(s, r);
      prefetch_step(task, s, in, out, t + 1);
      if (!task.packed) product_plain(task, s, in.recurrent, in.bias);
    }
    if (group.tasks[0].packed) product_packed(group, s, t % 2 == 1);
    for (RecurrentTask<Cell> &task : group) update(task, s, in, out, t);
  }
  for (RecurrentTask<Cell> &task : group) store_recurrent_state(task, s, out.state);
  if (out.stream) stream_end();
}

template <class Cell>
int recurrent_forward(const char *name, const RecurrentShape &s, const RecurrentInputs &in, RecurrentOutputs out) {
  if (const int status = check_recurrent(name, s)) return status;
  // What is saved waits for the backward pass; a lot of it would only push everything else out of the caches.
  const bool large = s.B * s.T * s.NH * s.DH * Cell::SAVED * int64_t(sizeof(float)) > streamed_bytes;
  out.stream = can_stream && out.saved && large && s.DH % W == 0 && uintptr_t(out.saved) % 64 == 0;
  float *packed = nullptr;
  if (s.B * s.T > 4) {
    packed = xl::shared_scratch(s.NH * packed_head(s));
    if (!packed) return no_memory(name, s);
    pack_recurrent(packed, in.recurrent, in.bias, s);
  }
  using Task = RecurrentTask<Cell>;
  const bool done = for_groups<Task>(s, [&](Group<Task> &group, int64_t head, int64_t slice) {
    for (Task &task : group) {
      task.place(s, head, slice++);
      task.packed = packed ? packed + head * packed_head(s) : nullptr;
    }
    run_forward(group, s, in, out);
  });
  return done ? XL_OK : no_memory(name, s);
}

}  // namespace
}  // namespace XL_NS
#endif
