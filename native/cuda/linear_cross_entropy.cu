// Output layer and cross-entropy in one, by chunks of rows: the logits of a chunk lie in the workspace, never [N,V] as a whole.
//
// Forward 2 N D V operations, and the logits written and read once (8 N V bytes). Backward 6 N D V: the logits are computed
// again, their gradients lie beside them in the type of x, and two products add to dx and dweight; dweight is read and
// written once per chunk. Both passes at once are 6 N D V, and the logits are read from memory once and from the L2 cache a
// second time. Chunks so small that their logits stay in the cache were tried: products of so few rows cost more than that
// saves.
#include "deferred.h"
#include "fault.cuh"
#include "product.h"
#include "reduce.cuh"

using namespace xl;

namespace {

// Bytes of a chunk.
constexpr int64_t BUDGET = int64_t(512) << 20;

// Functions of a logit: exact for float32, a few units in the last place of float32 for bfloat16.
template <class T>
struct Logit {
  static constexpr bool exact = sizeof(T) == 4;
  float cap;

  __device__ static float exponential(float x) { return exact ? expf(x) : __expf(x); }
  __device__ float capped(float x) const {
    if (cap == 0) return x;
    if (exact) return cap * tanhf(x / cap);
    const float e = __expf(-2.0f * fabsf(x) / cap);
    return copysignf(cap * __fdividef(1.0f - e, 1.0f + e), x);
  }
  // 1 - tanh(x / cap)^2 without its cancellation.
  __device__ float slope(float x) const {
    if (cap == 0) return 1;
    const float e = exponential(-2.0f * fabsf(x) / cap), s = exact ? 1.0f / (1.0f + e) : __fdividef(1.0f, 1.0f + e);
    return 4.0f * e * s * s;
  }
};

constexpr int ROW_THREADS = 512;

// log sum over a row of exp(logit), in every thread of the block that has the row. Each thread keeps the largest logit it
// saw and the sum of exp(logit - largest).
template <class T, int W>
__device__ float row_logsumexp(const float *row, int64_t V, const Logit<T> &logit) {
  constexpr int WARPS = ROW_THREADS / 32;
  __shared__ float room[WARPS];
  float top = -INFINITY, sum = 0;
#pragma unroll 2
  for (int64_t v = threadIdx.x * W; v < V; v += ROW_THREADS * W) {
    const Lanes<W> x = map(load<W>(row + v), [&](float raw) { return logit.capped(raw); });
    float most = top;
#pragma unroll
    for (int l = 0; l < W; l++) most = fmaxf(most, x[l]);
    if (most > top) {
      sum *= logit.exponential(top - most);
      top = most;
    }
    // Where all are -infinity so is `top`, and the sum stays 0.
#pragma unroll
    for (int l = 0; l < W; l++) sum += top == -INFINITY ? 0.0f : logit.exponential(x[l] - top);
  }
  const float most = warp_max(top);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = most;
  __syncthreads();
  float largest = room[0];
#pragma unroll
  for (int w = 1; w < WARPS; w++) largest = fmaxf(largest, room[w]);
  __syncthreads();
  sum = block_sum<ROW_THREADS>(top == -INFINITY ? 0.0f : sum * expf(top - largest), room);
  return largest + logf(sum);
}

template <class T, int W>
__global__ void __launch_bounds__(ROW_THREADS) loss_kernel(float *loss, float *logsumexp, const float *logits,
                                                           const Tokens targets, int64_t first, int64_t V,
                                                           Logit<T> logit) {
  const int64_t n = first + blockIdx.x;
  const float *row = logits + int64_t(blockIdx.x) * V;
  const float total = row_logsumexp<T, W>(row, V, logit);
  if (threadIdx.x != 0) return;
  const int64_t target = targets.at(n);
  logsumexp[n] = total;
  loss[n] = target < 0 ? 0.0f : total - logit.capped(row[target]);
}

// dlogit = dloss (exp(logit - logsumexp) - [v = target]), through the cap; columns begin, begin + step, ... of a row.
template <class T, int W>
__device__ void row_gradient(T *out, const float *row, int64_t target, float scale, float shift, int64_t begin,
                             int64_t step, int64_t V, const Logit<T> &logit) {
  for (int64_t v = begin; v < V; v += step) {
    Lanes<W> g = map(load<W>(row + v), [&](float x) {
      return target < 0 ? 0.0f : scale * logit.exponential(logit.capped(x) - shift) * logit.slope(x);
    });
#pragma unroll
    for (int l = 0; l < W; l++)
      if (v + l == target) g[l] -= scale * logit.slope(row[target]);
    store(out + v, g);
  }
}

template <class T, int W>
__global__ void __launch_bounds__(256)
    dlogits_kernel(T *to, const float *logits, const float *dloss, const float *logsumexp, const Tokens targets,
                   int64_t first, int64_t V, Logit<T> logit) {
  const int64_t n = first + blockIdx.x, target = targets.at(n);
  row_gradient<T, W>(to + int64_t(blockIdx.x) * V, logits + int64_t(blockIdx.x) * V, target, target < 0 ? 0.0f : dloss[n],
                     logsumexp[n], (blockIdx.y * 256 + threadIdx.x) * W, 256 * W * gridDim.y, V, logit);
}

// Both.
template <class T, int W>
__global__ void __launch_bounds__(ROW_THREADS)
    loss_and_dlogits_kernel(float *loss, T *to, const float *logits, const float *dloss,
                            const Tokens targets, int64_t first, int64_t V, Logit<T> logit) {
  const int64_t n = first + blockIdx.x, target = targets.at(n);
  const float *row = logits + int64_t(blockIdx.x) * V;
  const float total = row_logsumexp<T, W>(row, V, logit);
  if (threadIdx.x == 0) loss[n] = target < 0 ? 0.0f : total - logit.capped(row[target]);
  row_gradient<T, W>(to + int64_t(blockIdx.x) * V, row, target, target < 0 ? 0.0f : dloss[n], total, threadIdx.x * W,
                     ROW_THREADS * W, V, logit);
}

// Rows of a chunk, a multiple of the rows of a product's tile.
int64_t chunk_of(int64_t N, int64_t bytes_per_row) {
  int64_t rows = BUDGET / bytes_per_row;
  if (rows > 128) rows = rows / 128 * 128;
  rows = rows < 1 ? 1 : rows;
  return rows < N ? rows : N;
}

template <class T>
int forward(const char *name, float *loss, float *logsumexp, const T *x, const T *weight, const int32_t *targets,
            int64_t N, int64_t D, int64_t V, float cap) {
  if (N <= 0) return XL_OK;
  const Tokens rows{targets, V, faults(), name, -1};
  const int64_t chunk = chunk_of(N, 4 * V);
  auto *logits = static_cast<float *>(scratch(4 * chunk * V));
  if (!logits) return XL_OUT_OF_MEMORY;
  const auto kernel = V % 4 == 0 ? loss_kernel<T, 4> : loss_kernel<T, 1>;
  for (int64_t n = 0; n < N; n += chunk) {
    const int64_t count = n + chunk < N ? chunk : N - n;
    if (int status = product(name, logits, x + n * D, weight, {count, V, D, false, true, D, D, V, false}))
      return status;
    kernel<<<unsigned(count), ROW_THREADS, 0, stream()>>>(loss, logsumexp, logits, rows, n, V, Logit<T>{cap});
  }
  return launched(name);
}

// With `loss` both passes, else logsumexp is that of the forward pass.
template <class T>
int backward(const char *name, T *dx, float *dweight, float *loss, const float *dloss, const T *x, const T *weight,
             const int32_t *targets, const float *logsumexp, int64_t N, int64_t D, int64_t V, float cap) {
  if (N <= 0) return XL_OK;
  const bool dx_is_zero = claim_zeros(dx, int64_t(sizeof(T)) * N * D);
  const Tokens rows{targets, V, faults(), name, -1};
  constexpr int64_t size = sizeof(T);
  const int64_t chunk = chunk_of(N, (4 + size) * V), elements = round_up(chunk * V, 8);
  auto *logits = static_cast<float *>(scratch((4 + size) * elements));
  if (!logits) return XL_OUT_OF_MEMORY;
  T *dlogits = reinterpret_cast<T *>(logits + elements);
  const auto gradient = V % 8 == 0 ? dlogits_kernel<T, 8> : dlogits_kernel<T, 1>;
  const auto both = V % 8 == 0 ? loss_and_dlogits_kernel<T, 8> : loss_and_dlogits_kernel<T, 1>;
  const unsigned parts = unsigned(V < 8192 ? 1 : 4);
  for (int64_t n = 0; n < N; n += chunk) {
    const int64_t count = n + chunk < N ? chunk : N - n;
    if (int status = product(name, logits, x + n * D, weight, {count, V, D, false, true, D, D, V, false}))
      return status;
    const Logit<T> logit{cap};
    if (loss)
      both<<<unsigned(count), ROW_THREADS, 0, stream()>>>(loss, dlogits, logits, dloss, rows, n, V, logit);
    else
      gradient<<<dim3(unsigned(count), parts), 256, 0, stream()>>>(dlogits, logits, dloss, logsumexp, rows, n, V, logit);
    if (int status = product(name, dx + n * D, dlogits, weight, {count, D, V, false, false, V, D, D, !dx_is_zero}))
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
  return backward("linear_cross_entropy_backward", dx, dweight, nullptr, dloss, x, weight, targets, logsumexp, N, D, V,
                  soft_cap);
}
XL_API int xl_linear_cross_entropy_backward_bf16(bf16 *dx, float *dweight, const float *dloss, const bf16 *x,
                                                 const bf16 *weight, const int32_t *targets, const float *logsumexp,
                                                 int64_t N, int64_t D, int64_t V, float soft_cap) {
  return backward("linear_cross_entropy_backward_bf16", dx, dweight, nullptr, dloss, x, weight, targets, logsumexp, N,
                  D, V, soft_cap);
}
int xl_linear_cross_entropy_forward_backward(float *dx, float *dweight, float *loss, const float *dloss, const float *x,
                                             const float *weight, const int32_t *targets, int64_t N, int64_t D,
                                             int64_t V, float soft_cap) {
  return backward("linear_cross_entropy_forward_backward", dx, dweight, loss, dloss, x, weight, targets, nullptr, N, D,
                  V, soft_cap);
}
XL_API int xl_linear_cross_entropy_forward_backward_bf16(bf16 *dx, float *dweight, float *loss, const float *dloss,
                                                         const bf16 *x, const bf16 *weight, const int32_t *targets,
                                                         int64_t N, int64_t D, int64_t V, float soft_cap) {
  return backward("linear_cross_entropy_forward_backward_bf16", dx, dweight, loss, dloss, x, weight, targets, nullptr,
                  N, D, V, soft_cap);
}

}  // extern "C"
