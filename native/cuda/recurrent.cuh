// What the kernels of sLSTM and LSTM share: sizes, arguments and where things lie. The recurrence over time reads four
// gates (i f z o) through a block-diagonal matrix; a cell (recurrent_cell.cuh) says what a step does to one unit.
#ifndef XL_CUDA_RECURRENT_CUH
#define XL_CUDA_RECURRENT_CUH
#include "kernel.cuh"

namespace xl {

constexpr int GATES = 4;  // i f z o

struct RecurrentShape {
  int64_t B, T, NH, DH;

  // Of the first unit of a head in [B,T,NH,DH].
  __host__ __device__ int64_t at(int64_t b, int64_t t, int64_t head) const { return ((b * T + t) * NH + head) * DH; }
  // Of the first unit of a head in state `s` of [S,B,NH,DH].
  __host__ __device__ int64_t state_at(int64_t s, int64_t b, int64_t head) const {
    return ((s * B + b) * NH + head) * DH;
  }
  __host__ __device__ int64_t matrix_floats() const { return GATES * DH * DH; }  // of a head
  // Value n of SAVED of a unit at a step. Eight units together hold their values one after the other ([n][8 units]), so
  // that what the units of a warp keep is one piece; a DH of another kind is one such group.
  __host__ __device__ int64_t saved_group() const { return DH % 8 == 0 ? 8 : DH; }
  __host__ __device__ int64_t saved_at(int64_t SAVED, int64_t b, int64_t t, int64_t head, int64_t unit,
                                       int64_t n) const {
    const int64_t group = saved_group();
    return at(b, t, head) * SAVED + (unit / group * SAVED + n) * group + unit % group;
  }
};

inline int check_recurrent(const char *name, const RecurrentShape &s) {
  if (s.B >= 0 && s.T >= 0 && s.NH >= 1 && s.DH >= 1 && (s.T == 0 || s.B <= INT32_MAX / s.T)) return XL_OK;
  return fail(
      XL_INVALID,
      "%s: B and T must not be negative, B * T be below 2^31, NH and DH positive, got B=%lld T=%lld NH=%lld DH=%lld",
      name, (long long)s.B, (long long)s.T, (long long)s.NH, (long long)s.DH);
}

template <class Storage>
struct RecurrentForward {
  Storage *h;
  float *state_out, *saved;  // may be null
  const Storage *gates[GATES];
  const float *recurrent, *bias, *state_in;  // the last two may be null
  const uint8_t *reset;                      // may be null
  RecurrentShape s;
};

// `saved` holds SAVED values of each unit at each step (saved_at()); the last MEMORY of them are c (and n).
template <class Storage>
struct RecurrentBackward {
  Storage *dgates[GATES];
  float *drecurrent, *dbias, *dstate_in;  // the last two may be null
  const Storage *dh;
  const float *dstate_out;
  const Storage *h;
  const float *saved, *recurrent, *state_in;
  const uint8_t *reset;
  RecurrentShape s;

  // What the backward walk leaves for the product that follows (recurrent_gradient.cuh).
  Storage *rows;      // [B,T,NH,4*DH] gradients of pre-activations; the order within a head is the walk's own
  Storage *first;     // [B,NH,DH] h before the first step
  float *bias_parts;  // [tiles,4,NH,DH] sums over a tile of the batch and all steps
};

}  // namespace xl
#endif
