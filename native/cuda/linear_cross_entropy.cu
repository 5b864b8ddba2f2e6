// Output layer and cross-entropy in one, by chunks of rows: the logits of a chunk lie in the workspace (at most 512 MiB),
// never [N,V] as a whole.
//
// Forward 2 N D V operations, and the logits written and read once (8 N V bytes). Backward 6 N D V: the logits are
// computed again, become their gradients in place (in bfloat16 beside them, for the tensor cores), and two products add
// to dx and dweight; dweight is read and written once per chunk.
#include "fault.cuh"
#include "product.h"
#include "reduce.cuh"

using namespace xl;

namespace {

constexpr int64_t BUDGET = int64_t(512) << 20;

__device__ inline float capped(float x, float cap) { return cap == 0 ? x : cap * tanhf(x / cap); }

// A block has a row. Each thread keeps the largest logit it saw and the sum of exp(logit - largest).
__global__ void __launch_bounds__(512) loss_kernel(float *loss, float *logsumexp, const float *logits,
                                                   const Tokens targets, int64_t first, int64_t V, float cap) {
  __shared__ float room[16];
  const int64_t n = first + blockIdx.x;
  const float *row = logits + int64_t(blockIdx.x) * V;
  float top = -INFINITY, sum = 0;
#pragma unroll 4
  for (int64_t v = threadIdx.x; v < V; v += 512) {
    const float x = capped(row[v], cap);
    if (x > top) {
      sum = sum * expf(top - x) + 1.0f;
      top = x;
    } else {
      sum += expf(x - top);
    }
  }
  const float most = warp_max(top);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = most;
  __syncthreads();
  float largest = room[0];
#pragma unroll
  for (int w = 1; w < 16; w++) largest = fmaxf(largest, room[w]);
  __syncthreads();
  sum = block_sum<512>(top == -INFINITY ? 0.0f : sum * expf(top - largest), room);
  if (threadIdx.x != 0) return;
  const float total = largest + logf(sum);
  const int64_t target = targets.at(n);
  logsumexp[n] = total;
  loss[n] = target < 0 ? 0.0f : total - capped(row[target], cap);
}

// dlogit = dloss (exp(logit - logsumexp) - [v = target]), through the cap; to may be logits.
template <class T>
__global__ void __launch_bounds__(256)
    dlogits_kernel(T *to, const float *logits, const float *dloss, const float *logsumexp, const Tokens targets,
                   int64_t first, int64_t V, float cap) {
  const int64_t n = first + blockIdx.x, target = targets.at(n);
  const float *row = logits + int64_t(blockIdx.x) * V;
  T *out = to + int64_t(blockIdx.x) * V;
  const float scale = target < 0 ? 0.0f : dloss[n], shift = logsumexp[n];
#pragma unroll 4
  for (int64_t v = blockIdx.y * 256 + threadIdx.x; v < V; v += 256 * gridDim.y) {
    const float x = row[v];
    float g = target < 0 ? 0.0f : scale * (expf(capped(x, cap) - shift) - (v == target ? 1.0f : 0.0f));
    if (cap != 0) {
      // 1 - tanh(x / cap)^2 without its cancellation
      const float e = expf(-2.0f * fabsf(x / cap)), s = 1.0f / (1.0f + e);
      g *= 4.0f * e * s * s;
    }
    store(out + v, g);
  }
}

// Rows of a chunk.
int64_t chunk_of(int64_t N, int64_t V, int64_t bytes_per_logit) {
  int64_t rows = BUDGET / (bytes_per_logit * V);
  if (rows > 128) rows = rows / 128 * 128;
  rows = rows < 1 ? 1 : rows;
  return rows < N ? rows : N;
}

template <class T>
int forward(const char *name, float *loss, float *logsumexp, const T *x, const T *weight, const int32_t *targets,
            int64_t N, int64_t D, int64_t V, float cap) {
  if (N <= 0) return XL_OK;
  const Tokens rows{targets, V, faults(), name, -1};
  const int64_t chunk = chunk_of(N, V, 4);
  auto *logits = static_cast<float *>(scratch(4 * chunk * V));
  if (!logits) return XL_OUT_OF_MEMORY;
  for (int64_t n = 0; n < N; n += chunk) {
    const int64_t count = n + chunk < N ? chunk : N - n;
    if (int status = product(name, logits, x + n * D, weight, {count, V, D, false, true, D, D, V, false}))
      return status;
    loss_kernel<<<unsigned(count), 512, 0, stream()>>>(loss, logsumexp, logits, rows, n, V, cap);
  }
  return launched(name);
}

template <class T>
int backward(const char *name, T *dx, float *dweight, const float *dloss, const T *x, const T *weight,
             const int32_t *targets, const float *logsumexp, int64_t N, int64_t D, int64_t V, float cap) {
  if (N <= 0) return XL_OK;
  const Tokens rows{targets, V, faults(), name, -1};
  constexpr bool in_place = sizeof(T) == 4;
  const int64_t chunk = chunk_of(N, V, in_place ? 4 : 6), elements = round_up(chunk * V, 8);
  auto *logits = static_cast<float *>(scratch((in_place ? 4 : 6) * elements));
  if (!logits) return XL_OUT_OF_MEMORY;
  T *dlogits = in_place ? reinterpret_cast<T *>(logits) : reinterpret_cast<T *>(logits + elements);
  for (int64_t n = 0; n < N; n += chunk) {
    const int64_t count = n + chunk < N ? chunk : N - n;
    if (int status = product(name, logits, x + n * D, weight, {count, V, D, false, true, D, D, V, false}))
      return status;
    const unsigned parts = unsigned(V < 8192 ? 1 : 4);
    dlogits_kernel<<<dim3(unsigned(count), parts), 256, 0, stream()>>>(dlogits, logits, dloss, logsumexp, rows, n, V,
                                                                      cap);
    if (int status = product(name, dx + n * D, dlogits, weight, {count, D, V, false, false, V, D, D, true}))
      return status;
    if (int status = product(name, dweight, static_cast<const T *>(dlogits), x + n * D,
                             {V, D, count, true, false, V, D, D, true}))
      return status;
  }
  return launched(name);
}

}  // namespace

extern "C" {

int xl_linear_cross_entropy_forward(float *loss, float *logsumexp, const float *x, const float *weight,
                                    const int32_t *targets, int64_t N, int64_t D, int64_t V, float soft_cap) {
  return forward("linear_cross_entropy_forward", loss, logsumexp, x, weight, targets, N, D, V, soft_cap);
}
XL_API int xl_linear_cross_entropy_forward_bf16(float *loss, float *logsumexp, const bf16 *x, const bf16 *weight,
                                                const int32_t *targets, int64_t N, int64_t D, int64_t V,
                                                float soft_cap) {
  return forward("linear_cross_entropy_forward_bf16", loss, logsumexp, x, weight, targets, N, D, V, soft_cap);
}
int xl_linear_cross_entropy_backward(float *dx, float *dweight, const float *dloss, const float *x,
                                     const float *weight, const int32_t *targets, const float *logsumexp, int64_t N,
                                     int64_t D, int64_t V, float soft_cap) {
  return backward("linear_cross_entropy_backward", dx, dweight, dloss, x, weight, targets, logsumexp, N, D, V,
                  soft_cap);
}
XL_API int xl_linear_cross_entropy_backward_bf16(bf16 *dx, float *dweight, const float *dloss, const bf16 *x,
                                                 const bf16 *weight, const int32_t *targets, const float *logsumexp,
                                                 int64_t N, int64_t D, int64_t V, float soft_cap) {
  return backward("linear_cross_entropy_backward_bf16", dx, dweight, dloss, x, weight, targets, logsumexp, N, D, V,
                  soft_cap);
}

}  // extern "C"
