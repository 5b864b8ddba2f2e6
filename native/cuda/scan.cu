// The diagonal recurrence h_t = a_t h_{t-1} + x_t. Bytes per element: forward 12 in float32 (a, x read, h written),
// backward 28 (dh, h, a read, da and dx read and written); half in bfloat16. A thread has one channel of one sequence and
// goes through time; loads of the next steps do not wait for the recurrence.
#include "lanes.cuh"

using namespace xl;

namespace {

constexpr int AHEAD = 16;  // steps whose loads are in flight together

template <class T>
__global__ void __launch_bounds__(128)
    forward_kernel(T *h, float *state_out, const T *a, const T *x, const float *state_in, const uint8_t *reset,
                   int64_t B, int64_t steps, int64_t D) {
  const int64_t index = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (index >= B * D) return;
  const int64_t b = index / D, d = index % D;
  float state = state_in ? state_in[index] : 0.0f;
  for (int64_t begin = 0; begin < steps; begin += AHEAD) {
    float factors[AHEAD], inputs[AHEAD];
    bool resets[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      const int64_t t = begin + k < steps ? begin + k : steps - 1, e = (b * steps + t) * D + d;
      factors[k] = load(a + e);
      inputs[k] = load(x + e);
      resets[k] = reset && reset[b * steps + t];
    }
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      if (begin + k >= steps) break;
      state = factors[k] * (resets[k] ? 0.0f : state) + inputs[k];
      store(h + (b * steps + begin + k) * D + d, state);
    }
  }
  if (state_out) state_out[index] = state;
}

// h = a h' + x
template <class T>
__global__ void __launch_bounds__(128)
    backward_kernel(T *da, T *dx, float *dstate_in, const T *dh, const float *dstate_out, const T *h, const T *a,
                    const float *state_in, const uint8_t *reset, int64_t B, int64_t steps, int64_t D) {
  const int64_t index = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (index >= B * D) return;
  const int64_t b = index / D, d = index % D;
  float carried = dstate_out ? dstate_out[index] : 0.0f;
#pragma unroll 4
  for (int64_t t = steps - 1; t >= 0; t--) {
    const int64_t e = (b * steps + t) * D + d;
    const bool is_reset = reset && reset[b * steps + t];
    const float before = is_reset ? 0.0f : t > 0 ? load(h + e - D) : state_in ? state_in[index] : 0.0f;
    const float total = load(dh + e) + carried;
    store(dx + e, load(dx + e) + total);
    store(da + e, load(da + e) + total * before);
    carried = is_reset ? 0.0f : total * load(a + e);
  }
  if (dstate_in) dstate_in[index] += carried;
}

template <class T>
int forward(const char *name, T *h, float *state_out, const T *a, const T *x, const float *state_in,
            const uint8_t *reset, int64_t B, int64_t steps, int64_t D) {
  if (B * D <= 0) return XL_OK;
  forward_kernel<<<unsigned(ceil_div(B * D, 128)), 128, 0, stream()>>>(h, state_out, a, x, state_in, reset, B, steps, D);
  return launched(name);
}

template <class T>
int backward(const char *name, T *da, T *dx, float *dstate_in, const T *dh, const float *dstate_out, const T *h,
             const T *a, const float *state_in, const uint8_t *reset, int64_t B, int64_t steps, int64_t D) {
  if (B * D <= 0) return XL_OK;
  backward_kernel<<<unsigned(ceil_div(B * D, 128)), 128, 0, stream()>>>(da, dx, dstate_in, dh, dstate_out, h, a,
                                                                       state_in, reset, B, steps, D);
  return launched(name);
}

}  // namespace

extern "C" {

int xl_scan_forward(float *h, float *state_out, const float *a, const float *x, const float *state_in,
                    const uint8_t *reset, int64_t B, int64_t T, int64_t D) {
  return forward("scan_forward", h, state_out, a, x, state_in, reset, B, T, D);
}
XL_API int xl_scan_forward_bf16(bf16 *h, float *state_out, const bf16 *a, const bf16 *x, const float *state_in,
                                const uint8_t *reset, int64_t B, int64_t T, int64_t D) {
  return forward("scan_forward_bf16", h, state_out, a, x, state_in, reset, B, T, D);
}
int xl_scan_backward(float *da, float *dx, float *dstate_in, const float *dh, const float *dstate_out, const float *h,
                     const float *a, const float *state_in, const uint8_t *reset, int64_t B, int64_t T, int64_t D) {
  return backward("scan_backward", da, dx, dstate_in, dh, dstate_out, h, a, state_in, reset, B, T, D);
}
XL_API int xl_scan_backward_bf16(bf16 *da, bf16 *dx, float *dstate_in, const bf16 *dh, const float *dstate_out,
                                 const bf16 *h, const bf16 *a, const float *state_in, const uint8_t *reset, int64_t B,
                                 int64_t T, int64_t D) {
  return backward("scan_backward_bf16", da, dx, dstate_in, dh, dstate_out, h, a, state_in, reset, B, T, D);
}

}  // extern "C"
