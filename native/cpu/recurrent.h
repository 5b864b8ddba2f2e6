// What sLSTM and LSTM share: the recurrence over time of four gates through a block-diagonal matrix. A cell says what a
// step does to one vector of units (slstm.cpp, lstm.cpp); here is everything around it.
//
// A task is one head of a slice of the batch, and runs the whole sequence alone. Slices follow from the sizes, so that
// results do not depend on the number of threads.
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

struct RecurrentShape {
  int64_t B, T, NH, DH;

  int64_t padded() const { return round_up(DH, W); }
  // Rows of the batch per task: enough to use each weight several times, few enough for sixteen tasks.
  int64_t slice() const {
    const int64_t rows = round_up(max_of(1, ceil_div(B * NH, 16)), 4);
    return min_of(min_of(rows, 16), max_of(B, 1));
  }
  int64_t slices() const { return ceil_div(B, slice()); }
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

struct RecurrentInputs {
  const float *gates[GATES];
  const float *recurrent, *bias, *state;
  const uint8_t *reset;
};

struct RecurrentOutputs {
  float *h, *state, *saved;
};

// ---- the recurrent matrix
// --------------------------------------------------------------------------------------------

// For each vector of units j, [DH of h][gate][W units]: a step reads it front to back.
inline int64_t packed_floats(const RecurrentShape &s) { return s.NH * s.DH * GATES * s.padded(); }

inline void pack_recurrent(float *packed, const float *recurrent, const RecurrentShape &s) {
  const int64_t DH = s.DH, units = s.padded() / W;
  parallel_for(s.NH * units, [&](int64_t task, int) {
    const int64_t head = task / units, j = task % units * W;
    float *to = packed + (head * s.padded() + j) * DH * GATES;
    for (int64_t g = 0; g < GATES; g++) {
      const float *from = recurrent + ((head * GATES + g) * DH + j) * DH;
      for (int64_t i = 0; i < DH; i += W) {
        vf x[W];
#pragma GCC unroll 16
        for (int r = 0; r < W; r++) x[r] = j + r < DH ? load_lanes(from + r * DH + i, DH - i) : vf{};
        transpose_vectors(x);
#pragma GCC unroll 16
        for (int r = 0; r < W; r++)
          if (i + r < DH) store(to + (i + r) * GATES * W + g * W, x[r]);
      }
    }
  });
}

// ---- forward
// ---------------------------------------------------------------------------------------------------------

// The memory of one task: states and the last two h of its rows, [rows][padded] each.
template <class Cell>
struct RecurrentTask {
  float *state[Cell::STATES];  // without h
  float *h, *h_next;
  const float *packed;  // of this head; NULL reads the matrix as it stands
  int64_t first, rows, head;

  RecurrentTask(Arena &arena, const RecurrentShape &s) {
    const int64_t floats = s.slice() * s.padded();
    for (float *&p : state) p = arena.take(floats);
    h = arena.take(floats);
    h_next = arena.take(floats);
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

// Gate inputs plus bias of one vector of units.
XL_INLINE void load_gates(vf (&gate)[GATES], const RecurrentInputs &in, int64_t at, const float *bias,
                          int64_t bias_step, int64_t lanes) {
#pragma GCC unroll 4
  for (int g = 0; g < GATES; g++) {
    gate[g] = load_lanes(in.gates[g] + at, lanes);
    if (bias) gate[g] += load_lanes(bias + g * bias_step, lanes);
  }
}

// The pointwise part of a step for the units j.. of one row, whose gates are complete.
template <class Cell>
XL_INLINE void finish_units(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentOutputs &out,
                            const vf (&gate)[GATES], int64_t row, int64_t at, int64_t j, int64_t lanes) {
  const int64_t unit = row * s.padded() + j;
  vf state[Cell::STATES], saved[Cell::SAVED];
  for (int n = 0; n < Cell::STATES; n++) state[n] = load(task.state[n] + unit);
  const vf h = Cell::forward(gate, state, saved);
  for (int n = 0; n < Cell::STATES; n++) store(task.state[n] + unit, state[n]);
  store(task.h_next + unit, h);
  store_lanes(out.h + at, h, lanes);
  if (out.saved) {
    // [SAVED][DH] for each (b, t, head)
    float *to = out.saved + (at - j) * Cell::SAVED + j;
    for (int n = 0; n < Cell::SAVED; n++) store_lanes(to + n * s.DH, saved[n], lanes);
  }
}

// One step of R rows from `row` on, for the units j..: gates += h R, then the cell.
template <class Cell, int R>
XL_INLINE void step_units(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in,
                          const RecurrentOutputs &out, int64_t row, int64_t t, int64_t j) {
  const int64_t lanes = s.DH - j, padded = s.padded();
  const float *bias = in.bias ? in.bias + task.head * s.DH + j : nullptr;
  vf gate[R][GATES];
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
    load_gates(gate[r], in, s.at(task.first + row + r, t, task.head) + j, bias, s.NH * s.DH, lanes);
  tile_product<GATES * W>(gate, task.h + row * padded, padded, 1, task.packed + j * s.DH * GATES, s.DH);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
    finish_units(task, s, out, gate[r], row + r, s.at(task.first + row + r, t, task.head) + j, j, lanes);
}

template <class Cell>
void step_packed(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in,
                 const RecurrentOutputs &out, int64_t t) {
  for (int64_t j = 0; j < s.DH; j += W) {
    int64_t row = 0;
    for (; row + BATCH_ROWS <= task.rows; row += BATCH_ROWS) step_units<Cell, BATCH_ROWS>(task, s, in, out, row, t, j);
    if constexpr (BATCH_ROWS > 2)
      for (; row + 2 <= task.rows; row += 2) step_units<Cell, 2>(task, s, in, out, row, t, j);
    for (; row < task.rows; row++) step_units<Cell, 1>(task, s, in, out, row, t, j);
  }
}

// The same with the matrix as it stands, one row at a time: for a few steps packing would cost more than it saves.
template <class Cell>
void step_plain(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in,
                const RecurrentOutputs &out, int64_t t) {
  const float *matrix = in.recurrent + task.head * GATES * s.DH * s.DH;
  for (int64_t row = 0; row < task.rows; row++) {
    const float *h = task.h + row * s.padded();
    for (int64_t j = 0; j < s.DH; j += W) {
      const int64_t lanes = s.DH - j, at = s.at(task.first + row, t, task.head) + j;
      vf gate[GATES];
      load_gates(gate, in, at, in.bias ? in.bias + task.head * s.DH + j : nullptr, s.NH * s.DH, lanes);
      for (int g = 0; g < GATES; g++) {
        vf sums[W];
        for (int r = 0; r < W; r++) {
          sums[r] = vf{};
          if (r >= lanes) continue;
          const float *weights = matrix + (g * s.DH + j + r) * s.DH;
          for (int64_t i = 0; i < s.DH; i += W) sums[r] += load_lanes(weights + i, s.DH - i) * load(h + i);
        }
        transpose_vectors(sums);
        for (int r = 0; r < W; r++) gate[g] += sums[r];
      }
      finish_units(task, s, out, gate, row, at, j, lanes);
    }
  }
}

template <class Cell>
void run_forward(RecurrentTask<Cell> &task, const RecurrentShape &s, const RecurrentInputs &in,
                 const RecurrentOutputs &out) {
  load_recurrent_state(task, s, in.state);
  for (int64_t t = 0; t < s.T; t++) {
    if (in.reset)
      for (int64_t r = 0; r < task.rows; r++)
        if (in.reset[(task.first + r) * s.T + t]) task.set_fresh(s, r);
    if (task.packed) {
      step_packed(task, s, in, out, t);
    } else {
      step_plain(task, s, in, out, t);
    }
    float *last = task.h;
    task.h = task.h_next;
    task.h_next = last;
  }
  store_recurrent_state(task, s, out.state);
}

template <class Cell>
int recurrent_forward(const char *name, const RecurrentShape &s, const RecurrentInputs &in,
                      const RecurrentOutputs &out) {
  if (const int status = check_recurrent(name, s)) return status;
  float *packed = nullptr;
  if (s.B * s.T > 4) {
    packed = xl::shared_scratch(packed_floats(s));
    if (!packed) return no_memory(name, s);
    pack_recurrent(packed, in.recurrent, s);
  }
  Arena count(nullptr);
  RecurrentTask<Cell> unused(count, s);
  int failed = 0;
  parallel_for(s.NH * s.slices(), [&](int64_t index, int worker) {
    Arena arena(xl::scratch(worker, count.used));
    if (!arena.base) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    RecurrentTask<Cell> task(arena, s);
    task.head = index % s.NH;
    task.first = index / s.NH * s.slice();
    task.rows = min_of(s.slice(), s.B - task.first);
    task.packed = packed ? packed + task.head * s.padded() * s.DH * GATES : nullptr;
    run_forward(task, s, in, out);
  });
  return failed ? no_memory(name, s) : XL_OK;
}

}  // namespace
}  // namespace XL_NS
#endif
