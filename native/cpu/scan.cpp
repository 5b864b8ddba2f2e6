// The diagonal linear recurrence h_t = a_t h_{t-1} + x_t, forward and backward. Both directions wait for memory: each
// number is read or written once, and a step of a channel is one fma.
#include "channels.h"

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_scan_forward)(float *h, float *state_out, const float *a, const float *x,
                                          const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                          int64_t D) {
  if (int status = check_channels("scan_forward", B, T, D)) return status;
  const int64_t blocks = channel_blocks(D);
  parallel_for(B * blocks, [=](int64_t task, int) {
    const Channels at = {task / blocks, task % blocks * BLOCK, D};
    vf state[VECTORS];
    for (int v = 0; v < VECTORS; v++) state[v] = state_in ? at.load(state_in + at.b * D, v) : vf{};
    for (int64_t t = 0; t < T; t++) {
      const int64_t row = (at.b * T + t) * D;
      const bool is_reset = reset && reset[at.b * T + t];
      for (int v = 0; v < VECTORS; v++) {
        const vf before = is_reset ? vf{} : state[v];
        state[v] = at.load(a + row, v) * before + at.load(x + row, v);
        at.store(h + row, v, state[v]);
      }
    }
    for (int v = 0; state_out && v < VECTORS; v++) at.store(state_out + at.b * D, v, state[v]);
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_scan_backward)(float *da, float *dx, float *dstate_in, const float *dh,
                                           const float *dstate_out, const float *h, const float *a,
                                           const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                           int64_t D) {
  if (int status = check_channels("scan_backward", B, T, D)) return status;
  const int64_t blocks = channel_blocks(D);
  parallel_for(B * blocks, [=](int64_t task, int) {
    const Channels at = {task / blocks, task % blocks * BLOCK, D};
    vf carried[VECTORS];
    for (int v = 0; v < VECTORS; v++) carried[v] = dstate_out ? at.load(dstate_out + at.b * D, v) : vf{};
    for (int64_t t = T - 1; t >= 0; t--) {
      const int64_t row = (at.b * T + t) * D;
      const bool is_reset = reset && reset[at.b * T + t];
      const float *before = t > 0 ? h + row - D : state_in ? state_in + at.b * D : nullptr;
      for (int v = 0; v < VECTORS; v++) {
        // h = a h' + x
        const vf total = carried[v] + at.load(dh + row, v);
        at.add(dx + row, v, total);
        if (before && !is_reset) at.add(da + row, v, total * at.load(before, v));
        carried[v] = is_reset ? vf{} : total * at.load(a + row, v);
      }
    }
    for (int v = 0; dstate_in && v < VECTORS; v++) at.add(dstate_in + at.b * D, v, carried[v]);
  });
  return XL_OK;
}
