// The sLSTM cell (arXiv 2405.04517 eq. 8-17, log f = logsigmoid(f~)): one step of a vector of units, forward and
// backward. The recurrence over time is in recurrent.h and recurrent_gradient.h.
#include "recurrent_gradient.h"

using namespace XL_NS;

namespace {

// e^x for x that is not above zero but for rounding.
XL_INLINE vf exp_down(vf x) { return exp_bounded(vmax(splat(-104.0f), x)); }

struct SlstmCell {
  static constexpr int STATES = 3;  // c n m
  static constexpr int SAVED = 7;   // i' f' z o sigmoid(-f~) c n
  static constexpr int MEMORY = 2;  // c n: the last of SAVED
  static constexpr int CARRIED = 3;

  static float initial(int state) { return state == 2 ? -__builtin_inff() : 0; }

  // m = max(log f + m, i~);  c = f' c + i' z;  n = f' n + i';  h = o c / n.
  template <bool KEEP, int R>
  XL_INLINE static void forward(vf (&h)[R], const vf (&gate)[R][GATES], vf (&state)[R][STATES], vf (&saved)[R][SAVED]) {
    vf log_f[R], shut[R], i[R], f[R], m[R], z[R], o[R];
    // log sigmoid(f~) and sigmoid(-f~) share an exponential.
    for_vectors<R>([&](int r) { shut[r] = exp_down(-vabs(gate[r][1])); });
    for_vectors<R>([&](int r) {
      const vi open = gate[r][1] > 0.0f;
      log_f[r] = select(open, vf{}, gate[r][1]) - log1p_unit(shut[r]);
      if (KEEP) shut[r] = select(open, shut[r], splat(1)) / (1.0f + shut[r]);
    });
    // log f is added after m - m', which is exact where it matters: the rounding of m' does not add up over time.
    for_vectors<R>([&](int r) {
      m[r] = vmax(state[r][2] + log_f[r], gate[r][0]);
      f[r] = exp_down((state[r][2] - m[r]) + log_f[r]);
    });
    for_vectors<R>([&](int r) { i[r] = exp_down(gate[r][0] - m[r]); });
    for_vectors<R>([&](int r) { z[r] = vtanh(gate[r][2]); });
    for_vectors<R>([&](int r) { o[r] = vsigmoid(gate[r][3]); });
    for_vectors<R>([&](int r) {
      const vf c = f[r] * state[r][0] + i[r] * z[r], n = f[r] * state[r][1] + i[r];
      const vf kept_state[] = {c, n, m[r]}, kept[] = {i[r], f[r], z[r], o[r], shut[r], c, n};
      h[r] = o[r] * c / n;
      for (int e = 0; e < STATES; e++) state[r][e] = kept_state[e];
      for (int e = 0; e < SAVED; e++) saved[r][e] = kept[e];
    });
  }

  // The last state is e^m (c, n) as a memory and m besides: a change of m alone changes the memory. What is left for m
  // is dm - (c dc + n dn); it goes back to whatever made the maximum, see backward().
  XL_INLINE static void start(vf (&carried)[CARRIED], const vf (&last)[2]) {
    carried[2] -= last[0] * carried[0] + last[1] * carried[1];
  }

  // `carried` holds dc, dn and what is left for m; `before` c and n of the step before.
  XL_INLINE static void backward(vf (&dgate)[GATES], vf (&carried)[CARRIED], vf dh, const vf (&saved)[SAVED],
                                 const vf (&before)[2]) {
    const vf i = saved[0], f = saved[1], z = saved[2], o = saved[3], c = saved[5], n = saved[6];
    // h = o c / n
    const vf inverse = 1.0f / n, ratio = c * inverse;
    const vf dc = carried[0] + dh * o * inverse;
    const vf dn = carried[1] - dh * o * ratio * inverse;
    // c = f c + i z;  n = f n + i, with i = exp(i~ - m), f = exp(log f + m' - m) for a fixed m
    vf di = i * (z * dc + dn);
    vf dlog_f = f * (before[0] * dc + before[1] * dn);
    // m = max(log f + m', i~): the input gate made it where i is 1
    const vi input = i == 1.0f;
    di += select(input, carried[2], vf{});
    dlog_f += select(input, vf{}, carried[2]);
    dgate[0] = di;
    dgate[1] = dlog_f * saved[4];
    dgate[2] = dc * i * (1.0f - z * z);
    dgate[3] = dh * ratio * o * (1.0f - o);
    carried[0] = f * dc;
    carried[1] = f * dn;
    carried[2] = select(input, vf{}, carried[2]);
  }

  // Cotangents of c, n, m that came in, from what is carried before the first step. An m of -infinity is no input.
  XL_INLINE static void finish(vf (&carried)[CARRIED], const vf (&in)[STATES]) {
    const vf dm = in[0] * carried[0] + in[1] * carried[1] + carried[2];
    carried[2] = select(in[2] > -__builtin_inff(), dm, vf{});
  }
};

}  // namespace

extern "C" int XL_KERNEL(xl_slstm_forward)(float *h, float *state_out, float *saved, const float *i, const float *f,
                                           const float *z, const float *o, const float *recurrent, const float *bias,
                                           const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                           int64_t NH, int64_t DH) {
  return recurrent_forward<SlstmCell>("slstm", {B, T, NH, DH}, {{i, f, z, o}, recurrent, bias, state_in, reset},
                                      {h, state_out, saved});
}

extern "C" int XL_KERNEL(xl_slstm_backward)(float *di, float *df, float *dz, float *do_, float *drecurrent,
                                            float *dbias, float *dstate_in, const float *dh, const float *dstate_out,
                                            const float *h, const float *saved, const float *recurrent,
                                            const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                            int64_t NH, int64_t DH) {
  return recurrent_backward<SlstmCell>("slstm backward", {B, T, NH, DH},
                                       {dh, dstate_out, h, saved, recurrent, state_in, reset},
                                       {{di, df, dz, do_}, drecurrent, dbias, dstate_in});
}
