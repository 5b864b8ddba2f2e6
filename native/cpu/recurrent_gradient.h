// Backward of the recurrence over time that sLSTM and LSTM share (recurrent.h). Each task walks back over the steps of
// one head of a slice of the batch; the gradient of the matrix is gathered as a product over many steps at once, and
// summed over the slices at the end, in order.
#ifndef XL_CPU_RECURRENT_GRADIENT_H
#define XL_CPU_RECURRENT_GRADIENT_H
#include "recurrent.h"

namespace XL_NS {
namespace {

struct RecurrentGradientInputs {
  const float *dh, *dstate, *h, *saved, *recurrent, *state;
  const uint8_t *reset;
};

struct RecurrentGradientOutputs {
  float *gates[GATES];
  float *recurrent, *bias, *state;
};

// The matrix of each head as panels [gate * padded + j][i]. Rows past DH are zero.
inline int64_t matrix_floats(const RecurrentShape &s) { return panel_floats(GATES * s.padded(), s.DH); }

inline void copy_matrix(float *to, const float *recurrent, const RecurrentShape &s) {
  const int64_t padded = s.padded(), DH = s.DH;
  parallel_for(s.NH * GATES, [&](int64_t task, int) {
    const int64_t head = task / GATES, g = task % GATES;
    for_panels(DH, [&](int64_t col, int64_t vectors) {
      float *panel = to + head * matrix_floats(s) + col * GATES * padded + g * padded * P;
      for (int64_t j = 0; j < padded; j++)
        for (int64_t v = 0; v < vectors; v++) {
          const float *from = recurrent + ((head * GATES + g) * DH + j) * DH + col + v * W;
          store(panel + j * P + v * W, j < DH ? load_lanes(from, DH - col - v * W) : vf{});
        }
    });
  });
}

// Steps whose gate gradients wait for the product with h: together about this many rows.
constexpr int64_t waiting_rows = 128;

// The memory of one task. Rows of gate gradients are [GATES][padded]; of h in panels.
template <class Cell>
struct RecurrentGradientTask {
  float *carried[Cell::CARRIED];  // cotangents of the state, [rows][padded] each
  float *dh;                      // cotangent of h that came through the next step, [rows][padded]
  float *dgates, *h_before;       // of the waiting steps
  float *dmatrix, *dbias;         // of this task, in shared memory; like copy_matrix(), and [GATES][padded]
  const float *matrix;
  int64_t first, rows, head;
  int64_t gate_row, capacity;  // floats of a row of gate gradients; waiting rows at most
  int64_t waiting;
  bool flushed;

  void take(Arena &arena, const RecurrentShape &s) {
    const int64_t floats = s.slice() * s.padded();
    for (float *&p : carried) p = arena.take(floats);
    dh = arena.take(floats);
    gate_row = GATES * s.padded() + W;
    capacity = max_of(waiting_rows / s.slice(), 1) * s.slice();
    dgates = arena.take(capacity * gate_row);
    h_before = arena.take(panel_floats(capacity, s.DH));
    waiting = 0;
    flushed = false;
  }
};

// c (and n) of the step before t for one vector of units; zeros after a reset.
template <class Cell>
XL_INLINE void load_before(vf (&before)[2], const RecurrentShape &s, const RecurrentGradientInputs &in, int64_t b,
                           int64_t t, int64_t head, int64_t j, bool reset) {
  const int64_t lanes = s.DH - j;
#pragma GCC unroll 2
  for (int n = 0; n < Cell::MEMORY; n++) {
    before[n] = vf{};
    if (reset) continue;
    if (t > 0) {
      const int64_t slot = Cell::SAVED - Cell::MEMORY + n;
      before[n] = load_lanes(in.saved + s.at(b, t - 1, head) * Cell::SAVED + slot * s.DH + j, lanes);
    } else if (in.state) {
      before[n] = load_lanes(in.state + s.state_at(n, b, head) + j, lanes);
    }
  }
}

// The pointwise part of step t for one row: gate gradients into `to` and into the outputs, carried moves on.
template <class Cell>
void row_gradient(RecurrentGradientTask<Cell> &task, const RecurrentShape &s, const RecurrentGradientInputs &in,
                  const RecurrentGradientOutputs &out, float *to, int64_t row, int64_t t, bool reset) {
  const int64_t padded = s.padded(), b = task.first + row, at = s.at(b, t, task.head);
  for (int64_t j = 0; j < s.DH; j += W) {
    const int64_t lanes = s.DH - j, unit = row * padded + j;
    vf saved[Cell::SAVED], carried[Cell::CARRIED], before[2], dgate[GATES];
    for (int n = 0; n < Cell::SAVED; n++) saved[n] = load_lanes(in.saved + at * Cell::SAVED + n * s.DH + j, lanes);
    for (int n = 0; n < Cell::CARRIED; n++) carried[n] = load(task.carried[n] + unit);
    load_before<Cell>(before, s, in, b, t, task.head, j, reset);
    const vf dh = load_lanes(in.dh + at + j, lanes) + load(task.dh + unit);
    Cell::backward(dgate, carried, dh, saved, before);
    // Lanes past DH hold no numbers (0 / 0) and must not reach the products.
    const vi exists = first_lanes(lanes);
    for (int g = 0; g < GATES; g++) {
      if (lanes < W) dgate[g] = select(exists, dgate[g], vf{});
      store(to + g * padded + j, dgate[g]);
      float *sum = out.gates[g] + at + j;
      store_lanes(sum, load_lanes(sum, lanes) + dgate[g], lanes);
    }
    for (int n = 0; n < Cell::CARRIED; n++) {
      if (lanes < W) carried[n] = select(exists, carried[n], vf{});
      store(task.carried[n] + unit, reset ? vf{} : carried[n]);
    }
  }
}

// NV vectors of dh from column `col` on through the matrix, for R rows: dh[r] = dgates[r] R. The gate gradients are those
// of the last waiting rows.
template <int R, int NV, class Cell>
XL_INLINE void matrix_rows(RecurrentGradientTask<Cell> &task, const RecurrentShape &s, int64_t row, int64_t col) {
  const int64_t padded = s.padded();
  vf acc[R][NV];
  tile_zero(acc);
  tile_product(acc, task.dgates + (task.waiting + row) * task.gate_row, task.gate_row, 1,
               task.matrix + col * GATES * padded, GATES * padded);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) store(task.dh + (row + r) * padded + col + v * W, acc[r][v]);
}

// dh of all tasks of a group. Every other step goes through the matrix from its end, as the forward pass does.
template <class Cell>
void matrix_gradient(Group<RecurrentGradientTask<Cell>> &group, const RecurrentShape &s, bool backwards) {
  const auto panel = [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (RecurrentGradientTask<Cell> &task : group) {
        int64_t row = 0;
        for (; row + MR <= task.rows; row += MR) matrix_rows<MR, NV>(task, s, row, col);
        with_rows<MR - 1>(task.rows - row,
                          [&](auto rows) { matrix_rows<decltype(rows)::value, NV>(task, s, row, col); });
      }
    });
  };
  for_panels(s.DH, panel, backwards);
}

// The h that step t read, into waiting row `to`.
template <class Cell>
void keep_h(RecurrentGradientTask<Cell> &task, const RecurrentShape &s, const RecurrentGradientInputs &in, int64_t row,
            int64_t t, bool reset, int64_t to) {
  const int64_t b = task.first + row;
  const float *from = t > 0 ? in.h + s.at(b, t - 1, task.head) : nullptr;
  if (t == 0 && in.state) from = in.state + s.state_at(Cell::STATES, b, task.head);
  for_panels(s.DH, [&](int64_t col, int64_t vectors) {
    float *panel = task.h_before + col * task.capacity + to * P;
    for (int64_t v = 0; v < vectors; v++)
      store(panel + v * W, from && !reset ? load_lanes(from + col + v * W, s.DH - col - v * W) : vf{});
  });
}

// dmatrix += dgates^T h_before, dbias += sum of dgates, over the waiting rows.
template <class Cell>
void flush(RecurrentGradientTask<Cell> &task, const RecurrentShape &s) {
  const int64_t rows = GATES * s.padded(), step = task.gate_row;
  const bool add = task.flushed;
  for_panels(s.DH, [&](int64_t col, int64_t vectors) {
    with_vectors(vectors, [&](auto count) {
      constexpr int NV = decltype(count)::value;
      for (int64_t m = 0; m < rows; m += MR) {
        float *to = task.dmatrix + col * rows + m * P;
        vf acc[MR][NV];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) acc[r][v] = add ? load(to + r * P + v * W) : vf{};
        tile_product(acc, task.dgates + m, 1, step, task.h_before + col * task.capacity, task.waiting);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
          for (int v = 0; v < NV; v++) store(to + r * P + v * W, acc[r][v]);
      }
    });
  });
  for (int64_t m = 0; m < rows; m += W) {
    vf sum = add ? load(task.dbias + m) : vf{};
    for (int64_t k = 0; k < task.waiting; k++) sum += load(task.dgates + k * step + m);
    store(task.dbias + m, sum);
  }
  task.waiting = 0;
  task.flushed = true;
}

// What the step before reads and adds to comes into the cache during the products of this one.
template <class Cell>
void prefetch_gradient(const RecurrentGradientTask<Cell> &task, const RecurrentShape &s,
                       const RecurrentGradientInputs &in, const RecurrentGradientOutputs &out, int64_t t) {
  if (t < 0) return;
  for (int64_t r = 0; r < task.rows; r++) {
    const int64_t at = s.at(task.first + r, t, task.head), before = s.at(task.first + r, max_of(t - 1, 0), task.head);
    prefetch(in.saved + before * Cell::SAVED, s.DH * Cell::SAVED);
    prefetch(in.h + before, s.DH);
    prefetch(in.dh + at, s.DH);
    for (const float *gate : out.gates) prefetch(gate + at, s.DH);
  }
}

template <class Cell>
void step_gradient(Group<RecurrentGradientTask<Cell>> &group, const RecurrentShape &s, const RecurrentGradientInputs &in,
                   const RecurrentGradientOutputs &out, int64_t t) {
  auto is_reset = [&](const RecurrentGradientTask<Cell> &task, int64_t r) {
    return in.reset && in.reset[(task.first + r) * s.T + t];
  };
  for (RecurrentGradientTask<Cell> &task : group) {
    float *dgates = task.dgates + task.waiting * task.gate_row;
    for (int64_t r = 0; r < task.rows; r++) {
      row_gradient(task, s, in, out, dgates + r * task.gate_row, r, t, is_reset(task, r));
      keep_h(task, s, in, r, t, is_reset(task, r), task.waiting + r);
    }
    prefetch_gradient(task, s, in, out, t - 1);
  }
  matrix_gradient(group, s, t % 2 == 1);
  for (RecurrentGradientTask<Cell> &task : group) {
    for (int64_t r = 0; r < task.rows; r++)
      if (is_reset(task, r)) fill_zero(task.dh + r * s.padded(), s.padded());
    task.waiting += task.rows;
    if (task.waiting + task.rows > task.capacity || t == 0) flush(task, s);
  }
}

// Cotangents of the last state; the cell takes into account which parts of it are independent.
template <class Cell>
void load_state_cotangent(RecurrentGradientTask<Cell> &task, const RecurrentShape &s,
                          const RecurrentGradientInputs &in) {
  const int64_t padded = s.padded();
  for (int64_t r = 0; r < task.rows; r++)
    for (int64_t j = 0; j < padded; j += W) {
      const int64_t b = task.first + r, lanes = s.DH - j, unit = r * padded + j;
      auto cotangent = [&](int n) {
        return in.dstate ? load_lanes(in.dstate + s.state_at(n, b, task.head) + j, lanes) : vf{};
      };
      vf carried[Cell::CARRIED], last[2];
      for (int n = 0; n < Cell::CARRIED; n++) carried[n] = cotangent(n);
      // The state after step T - 1 is the one before step T.
      load_before<Cell>(last, s, in, b, s.T, task.head, j, false);
      Cell::start(carried, last);
      for (int n = 0; n < Cell::CARRIED; n++) store(task.carried[n] + unit, carried[n]);
      store(task.dh + unit, cotangent(Cell::STATES));
    }
}

template <class Cell>
void store_state_cotangent(RecurrentGradientTask<Cell> &task, const RecurrentShape &s,
                           const RecurrentGradientInputs &in, float *dstate) {
  const int64_t padded = s.padded();
  for (int64_t r = 0; r < task.rows; r++)
    for (int64_t j = 0; j < s.DH; j += W) {
      const int64_t b = task.first + r, lanes = s.DH - j, unit = r * padded + j;
      vf carried[Cell::CARRIED], state[Cell::STATES];
      for (int n = 0; n < Cell::CARRIED; n++) carried[n] = load(task.carried[n] + unit);
      for (int n = 0; n < Cell::STATES; n++)
        state[n] = in.state ? load_lanes(in.state + s.state_at(n, b, task.head) + j, lanes) : splat(Cell::initial(n));
      Cell::finish(carried, state);
      for (int n = 0; n <= Cell::STATES; n++) {
        float *to = dstate + s.state_at(n, b, task.head) + j;
        store_lanes(to, load_lanes(to, lanes) + (n < Cell::STATES ? carried[n] : load(task.dh + unit)), lanes);
      }
    }
}

template <class Cell>
void run_backward(Group<RecurrentGradientTask<Cell>> &group, const RecurrentShape &s, const RecurrentGradientInputs &in,
                  const RecurrentGradientOutputs &out) {
  for (RecurrentGradientTask<Cell> &task : group) load_state_cotangent(task, s, in);
  for (int64_t t = s.T - 1; t >= 0; t--) step_gradient(group, s, in, out, t);
  if (!out.state) return;
  for (RecurrentGradientTask<Cell> &task : group) store_state_cotangent(task, s, in, out.state);
}

// Adds the parts of all slices to the gradients of the matrix and the bias.
inline void add_parts(const RecurrentShape &s, const RecurrentGradientOutputs &out, const float *parts,
                      const float *bias_parts) {
  const int64_t padded = s.padded(), rows = GATES * padded, slices = s.slices(), DH = s.DH;
  parallel_range(s.NH * GATES * DH, max_of(1, 8192 / DH), [&](int64_t begin, int64_t end, int) {
    for (int64_t index = begin; index < end; index++) {
      const int64_t head = index / (GATES * DH), g = index / DH % GATES, j = index % DH, row = g * padded + j;
      for (int64_t i = 0; i < DH; i += W) {
        const int64_t lanes = DH - i;
        vf sum = load_lanes(out.recurrent + index * DH + i, lanes);
        for (int64_t slice = 0; slice < slices; slice++)
          sum += load(parts + (slice * s.NH + head) * matrix_floats(s) + i / P * P * rows + row * P + i % P);
        store_lanes(out.recurrent + index * DH + i, sum, lanes);
      }
      if (!out.bias) continue;
      float *bias = out.bias + (g * s.NH + head) * DH + j;
      for (int64_t slice = 0; slice < slices; slice++) *bias += bias_parts[(slice * s.NH + head) * rows + row];
    }
  });
}

template <class Cell>
int recurrent_backward(const char *name, const RecurrentShape &s, const RecurrentGradientInputs &in,
                       const RecurrentGradientOutputs &out) {
  if (const int status = check_recurrent(name, s)) return status;
  const int64_t tasks = s.NH * s.slices(), rows = GATES * s.padded();
  float *matrix = xl::shared_scratch(s.NH * matrix_floats(s), 0);
  float *parts = xl::shared_scratch(tasks * matrix_floats(s), 1);
  float *bias_parts = xl::shared_scratch(tasks * rows, 2);
  if (!matrix || !parts || !bias_parts) return no_memory(name, s);
  copy_matrix(matrix, in.recurrent, s);
  using Task = RecurrentGradientTask<Cell>;
  const bool done = for_groups<Task>(s, [&](Group<Task> &group, int64_t head, int64_t slice) {
    for (Task &task : group) {
      const int64_t part = slice * s.NH + head;
      task.head = head;
      task.first = slice * s.slice();
      task.rows = min_of(s.slice(), s.B - task.first);
      task.matrix = matrix + head * matrix_floats(s);
      task.dmatrix = parts + part * matrix_floats(s);
      task.dbias = bias_parts + part * rows;
      slice++;
    }
    run_backward(group, s, in, out);
  });
  if (!done) return no_memory(name, s);
  if (s.B > 0 && s.T > 0) add_parts(s, out, parts, bias_parts);
  return XL_OK;
}

}  // namespace
}  // namespace XL_NS
#endif
