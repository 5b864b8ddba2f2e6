// Positions within documents, the rotary embedding that turns by them, and the ring of keys or values that attention
// carries from call to call. Bytes: positions 5 per step; rope 8 per element forward and 12 backward in float32, half in
// bfloat16, and one sine and cosine in double per pair of a row, which all heads share; the ring 8 per element.
#include "fault.cuh"
#include "lanes.cuh"

using namespace xl;

namespace {

constexpr int SCAN = 1024;

// The largest x of this thread and those before it in the block.
__device__ int64_t running_max(int64_t x, int64_t *room) {
  for (int step = 1; step < 32; step *= 2) {
    const int64_t other = __shfl_up_sync(0xffffffffu, x, step);
    if (int(threadIdx.x % 32) >= step && other > x) x = other;
  }
  if (threadIdx.x % 32 == 31) room[threadIdx.x / 32] = x;
  __syncthreads();
  for (int w = 0; w < int(threadIdx.x / 32); w++) x = room[w] > x ? room[w] : x;
  __syncthreads();
  return x;
}

// A block has one sequence. The start of the document of step t is the last reset up to t; without one it lies as many
// steps before the call as position_in says.
__global__ void __launch_bounds__(SCAN)
    positions_kernel(int32_t *y, float *position_out, const float *position_in, const uint8_t *reset, int64_t T,
                     Fault *fault, const char *name) {
  __shared__ int64_t room[SCAN / 32];
  __shared__ int64_t carried;
  const int64_t b = blockIdx.x;
  const float before = position_in ? position_in[b] : 0.0f;
  const bool is_position = before >= 0 && before <= 16777216;
  if (threadIdx.x == 0 && !is_position) note_fault(fault, FaultKind::position, name, b, 0, before, 0);
  int64_t start = is_position ? -int64_t(before) : 0;
  for (int64_t first = 0; first < T; first += SCAN) {
    const int64_t t = first + threadIdx.x;
    const int64_t mine = t < T && reset && reset[b * T + t] ? t : start;
    const int64_t begun = running_max(mine, room);
    if (t < T) y[b * T + t] = int32_t(t - begun);
    if (threadIdx.x == SCAN - 1) carried = begun;
    __syncthreads();
    start = carried;
    __syncthreads();
  }
  if (threadIdx.x == 0 && position_out) position_out[b] = float(T - start);
}

// y (or what is added to it) = the pairs of x turned by their positions, backwards with sign -1.
template <class T, bool ADD>
__global__ void __launch_bounds__(128)
    rope_kernel(T *y, const T *x, const int32_t *positions, int64_t N, int64_t NH, int64_t DH, double theta,
                double sign) {
  const int64_t half = DH / 2, index = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (index >= N * half) return;
  const int64_t n = index / half, d = index % half;
  double sine, cosine;
  sincos(sign * positions[n] * pow(theta, -2.0 * double(d) / double(DH)), &sine, &cosine);
  const float s = float(sine), c = float(cosine);
  for (int64_t head = 0; head < NH; head++) {
    const int64_t at = (n * NH + head) * DH + d;
    const float a = load(x + at), b = load(x + at + half);
    const float first = a * c - b * s, second = b * c + a * s;
    store(y + at, ADD ? load(y + at) + first : first);
    store(y + at + half, ADD ? load(y + at + half) + second : second);
  }
}

template <bool ADD, class T>
int rope(const char *name, T *y, const T *x, const int32_t *positions, int64_t N, int64_t NH, int64_t DH, double theta,
         double sign) {
  if (DH % 2 != 0) return fail(XL_INVALID, "%s: DH must be even, got %lld", name, (long long)DH);
  if (N * DH <= 0) return XL_OK;
  rope_kernel<T, ADD>
      <<<unsigned(ceil_div(N * DH / 2, 128)), 128, 0, stream()>>>(y, x, positions, N, NH, DH, theta, sign);
  return launched(name);
}

// The steps of a sequence that stay in its ring: begin .. T-1, and whether what was in the ring goes on.
struct Ring {
  int64_t start, begin, T, W;
  bool goes_on;

  __device__ Ring(const int32_t *positions, int64_t b, int64_t steps, int64_t window) : T(steps), W(window) {
    start = T > 0 ? T - 1 - positions[b * T + T - 1] : -1;
    begin = start > 0 ? start : 0;
    if (begin < T - W) begin = T - W;
    goes_on = start < 0;
  }
  __device__ int64_t slot(int64_t t) const { return (t - start) % W; }
  // The step of this call that lies in the slot, -1 if none does.
  __device__ int64_t step_in(int64_t at) const {
    if (begin >= T) return -1;
    const int64_t after = (at - slot(begin) + W) % W;
    return after < T - begin ? begin + after : -1;
  }
};

template <class T>
__global__ void __launch_bounds__(256)
    ring_kernel(T *k_out, const T *k_in, const T *k, const int32_t *positions, int64_t count, int64_t steps, int64_t W,
                int64_t R) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= count) return;
  const int64_t row = index / R, b = row / W;
  const Ring ring(positions, b, steps, W);
  const int64_t t = ring.step_in(row % W);
  if (t >= 0)
    k_out[index] = k[(b * steps + t) * R + index % R];
  else if (!ring.goes_on || !k_in)
    store(k_out + index, 0.0f);
  else if (k_out != k_in)
    k_out[index] = k_in[index];
}

template <class T>
__global__ void __launch_bounds__(256) ring_backward_kernel(T *dk, T *dk_in, const T *dk_out, const int32_t *positions,
                                                            int64_t count, int64_t steps, int64_t W, int64_t R) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= count) return;
  const int64_t row = index / R, b = row / W;
  const Ring ring(positions, b, steps, W);
  const int64_t t = ring.step_in(row % W);
  T *to = t >= 0 ? (dk ? dk + (b * steps + t) * R + index % R : nullptr)
                 : (dk_in && ring.goes_on ? dk_in + index : nullptr);
  if (to) store(to, load(to) + load(dk_out + index));
}

int check_ring(const char *name, int64_t B, int64_t T, int64_t W, int64_t R) {
  if (B >= 0 && T >= 0 && W >= 1 && R >= 1) return XL_OK;
  return fail(XL_INVALID, "%s: B and T must not be negative and W, R be positive, got B=%lld T=%lld W=%lld R=%lld",
              name, (long long)B, (long long)T, (long long)W, (long long)R);
}

template <class T>
int ring_forward(const char *name, T *k_out, const T *k_in, const T *k, const int32_t *positions, int64_t B,
                 int64_t steps, int64_t W, int64_t R) {
  if (int status = check_ring(name, B, steps, W, R)) return status;
  if (B == 0) return XL_OK;
  ring_kernel<<<unsigned(ceil_div(B * W * R, 256)), 256, 0, stream()>>>(k_out, k_in, k, positions, B * W * R, steps, W,
                                                                       R);
  return launched(name);
}

template <class T>
int ring_backward(const char *name, T *dk, T *dk_in, const T *dk_out, const int32_t *positions, int64_t B,
                  int64_t steps, int64_t W, int64_t R) {
  if (int status = check_ring(name, B, steps, W, R)) return status;
  if (B == 0) return XL_OK;
  ring_backward_kernel<<<unsigned(ceil_div(B * W * R, 256)), 256, 0, stream()>>>(dk, dk_in, dk_out, positions,
                                                                                B * W * R, steps, W, R);
  return launched(name);
}

}  // namespace

extern "C" {

int xl_positions(int32_t *y, float *position_out, const float *position_in, const uint8_t *reset, int64_t B,
                 int64_t T) {
  if (B <= 0) return XL_OK;
  positions_kernel<<<unsigned(B), SCAN, 0, stream()>>>(y, position_out, position_in, reset, T, faults(), "positions");
  return launched("positions");
}

int xl_rope_forward(float *y, const float *x, const int32_t *positions, int64_t N, int64_t NH, int64_t DH,
                    double theta) {
  return rope<false>("rope_forward", y, x, positions, N, NH, DH, theta, 1);
}
XL_API int xl_rope_forward_bf16(bf16 *y, const bf16 *x, const int32_t *positions, int64_t N, int64_t NH, int64_t DH,
                                double theta) {
  return rope<false>("rope_forward_bf16", y, x, positions, N, NH, DH, theta, 1);
}
int xl_rope_backward(float *dx, const float *dy, const int32_t *positions, int64_t N, int64_t NH, int64_t DH,
                     double theta) {
  return rope<true>("rope_backward", dx, dy, positions, N, NH, DH, theta, -1);
}
XL_API int xl_rope_backward_bf16(bf16 *dx, const bf16 *dy, const int32_t *positions, int64_t N, int64_t NH, int64_t DH,
                                 double theta) {
  return rope<true>("rope_backward_bf16", dx, dy, positions, N, NH, DH, theta, -1);
}

int xl_attention_cache(float *k_out, const float *k_in, const float *k, const int32_t *positions, int64_t B, int64_t T,
                       int64_t W, int64_t R) {
  return ring_forward("attention_cache", k_out, k_in, k, positions, B, T, W, R);
}
XL_API int xl_attention_cache_bf16(bf16 *k_out, const bf16 *k_in, const bf16 *k, const int32_t *positions, int64_t B,
                                   int64_t T, int64_t W, int64_t R) {
  return ring_forward("attention_cache_bf16", k_out, k_in, k, positions, B, T, W, R);
}
int xl_attention_cache_backward(float *dk, float *dk_in, const float *dk_out, const int32_t *positions, int64_t B,
                                int64_t T, int64_t W, int64_t R) {
  return ring_backward("attention_cache_backward", dk, dk_in, dk_out, positions, B, T, W, R);
}
XL_API int xl_attention_cache_backward_bf16(bf16 *dk, bf16 *dk_in, const bf16 *dk_out, const int32_t *positions,
                                            int64_t B, int64_t T, int64_t W, int64_t R) {
  return ring_backward("attention_cache_backward_bf16", dk, dk_in, dk_out, positions, B, T, W, R);
}

}  // extern "C"
