// The LSTM cell (arXiv 2405.04517 eq. 28-33): one step of a vector of units, forward and backward. The recurrence over
// time is in recurrent.h and recurrent_gradient.h.
#include "recurrent_gradient.h"

using namespace XL_NS;

namespace {

struct LstmCell {
  static constexpr int STATES = 1;  // c
  static constexpr int SAVED = 6;   // i f z o tanh(c) c
  static constexpr int MEMORY = 1;  // c: the last of SAVED
  static constexpr int CARRIED = 1;

  static float initial(int) { return 0; }

  // c = f c + i z;  h = o tanh(c).
  template <bool KEEP, int R>
  XL_INLINE static void forward(vf (&h)[R], const vf (&gate)[R][GATES], vf (&state)[R][STATES], vf (&saved)[R][SAVED]) {
    vf i[R], f[R], z[R], o[R], c[R];
    for_vectors<R>([&](int r) { i[r] = vsigmoid(gate[r][0]); });
    for_vectors<R>([&](int r) { f[r] = vsigmoid(gate[r][1]); });
    for_vectors<R>([&](int r) { z[r] = vtanh(gate[r][2]); });
    for_vectors<R>([&](int r) { c[r] = f[r] * state[r][0] + i[r] * z[r]; });
    for_vectors<R>([&](int r) { o[r] = vsigmoid(gate[r][3]); });
    for_vectors<R>([&](int r) {
      const vf squashed = vtanh(c[r]);
      const vf kept[] = {i[r], f[r], z[r], o[r], squashed, c[r]};
      h[r] = o[r] * squashed;
      state[r][0] = c[r];
      for (int e = 0; e < SAVED; e++) saved[r][e] = kept[e];
    });
  }

  XL_INLINE static void start(vf (&)[CARRIED], const vf (&)[2]) {}

  // `carried` holds dc; `before` c of the step before.
  XL_INLINE static void backward(vf (&dgate)[GATES], vf (&carried)[CARRIED], vf dh, const vf (&saved)[SAVED],
                                 const vf (&before)[2]) {
    const vf i = saved[0], f = saved[1], z = saved[2], o = saved[3], squashed = saved[4];
    const vf dc = carried[0] + dh * o * (1.0f - squashed * squashed);
    dgate[0] = dc * z * i * (1.0f - i);
    dgate[1] = dc * before[0] * f * (1.0f - f);
    dgate[2] = dc * i * (1.0f - z * z);
    dgate[3] = dh * squashed * o * (1.0f - o);
    carried[0] = f * dc;
  }

  XL_INLINE static void finish(vf (&)[CARRIED], const vf (&)[STATES]) {}
};

}  // namespace

extern "C" int XL_KERNEL(xl_lstm_forward)(float *h, float *state_out, float *saved, const float *i, const float *f,
                                          const float *z, const float *o, const float *recurrent, const float *bias,
                                          const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t NH,
                                          int64_t DH) {
  return recurrent_forward<LstmCell>("lstm", {B, T, NH, DH}, {{i, f, z, o}, recurrent, bias, state_in, reset},
                                     {h, state_out, saved});
}

extern "C" int XL_KERNEL(xl_lstm_backward)(float *di, float *df, float *dz, float *do_, float *drecurrent, float *dbias,
                                           float *dstate_in, const float *dh, const float *dstate_out, const float *h,
                                           const float *saved, const float *recurrent, const float *state_in,
                                           const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DH) {
  return recurrent_backward<LstmCell>("lstm backward", {B, T, NH, DH},
                                      {dh, dstate_out, h, saved, recurrent, state_in, reset},
                                      {{di, df, dz, do_}, drecurrent, dbias, dstate_in});
}
