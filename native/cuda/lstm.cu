// LSTM over a sequence: the entries for both storage types. The cell is in recurrent_cell.cuh, the kernels in
// recurrent_cluster.cuh, recurrent_cluster_backward.cuh and recurrent_general.cuh.
#include "recurrent_run.cuh"

using xl::bf16;

namespace {

template <class T>
int forward(T *h, float *state_out, float *saved, const T *i, const T *f, const T *z, const T *o,
            const float *recurrent, const float *bias, const float *state_in, const uint8_t *reset,
            xl::RecurrentShape s) {
  return xl::run_forward<xl::LstmCell, T>("lstm",
                                          {h, state_out, saved, {i, f, z, o}, recurrent, bias, state_in, reset, s});
}

template <class T>
int backward(T *di, T *df, T *dz, T *do_, float *drecurrent, float *dbias, float *dstate_in, const T *dh,
             const float *dstate_out, const T *h, const float *saved, const float *recurrent, const float *state_in,
             const uint8_t *reset, xl::RecurrentShape s) {
  return xl::run_backward<xl::LstmCell, T>("lstm backward", {{di, df, dz, do_},
                                                             drecurrent,
                                                             dbias,
                                                             dstate_in,
                                                             dh,
                                                             dstate_out,
                                                             h,
                                                             saved,
                                                             recurrent,
                                                             state_in,
                                                             reset,
                                                             s,
                                                             nullptr,
                                                             nullptr,
                                                             nullptr});
}

}  // namespace

extern "C" XL_API int xl_lstm_forward(float *h, float *state_out, float *saved, const float *i, const float *f,
                                      const float *z, const float *o, const float *recurrent, const float *bias,
                                      const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t NH,
                                      int64_t DH) {
  return forward(h, state_out, saved, i, f, z, o, recurrent, bias, state_in, reset, {B, T, NH, DH});
}

extern "C" XL_API int xl_lstm_backward(float *di, float *df, float *dz, float *do_, float *drecurrent, float *dbias,
                                       float *dstate_in, const float *dh, const float *dstate_out, const float *h,
                                       const float *saved, const float *recurrent, const float *state_in,
                                       const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DH) {
  return backward(di, df, dz, do_, drecurrent, dbias, dstate_in, dh, dstate_out, h, saved, recurrent, state_in, reset,
                  {B, T, NH, DH});
}

extern "C" XL_API int xl_lstm_forward_bf16(bf16 *h, float *state_out, float *saved, const bf16 *i, const bf16 *f,
                                           const bf16 *z, const bf16 *o, const float *recurrent, const float *bias,
                                           const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                           int64_t NH, int64_t DH) {
  return forward(h, state_out, saved, i, f, z, o, recurrent, bias, state_in, reset, {B, T, NH, DH});
}

extern "C" XL_API int xl_lstm_backward_bf16(bf16 *di, bf16 *df, bf16 *dz, bf16 *do_, float *drecurrent, float *dbias,
                                            float *dstate_in, const bf16 *dh, const float *dstate_out, const bf16 *h,
                                            const float *saved, const float *recurrent, const float *state_in,
                                            const uint8_t *reset, int64_t B, int64_t T, int64_t NH, int64_t DH) {
  return backward(di, df, dz, do_, drecurrent, dbias, dstate_in, dh, dstate_out, h, saved, recurrent, state_in, reset,
                  {B, T, NH, DH});
}
