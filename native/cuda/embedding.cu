// Rows of a table by token, and their gradient. Forward: 8 bytes per element in float32, 6 in bfloat16 (the table is
// float32). Backward without atomics, so that the order is fixed: the first position of each token adds the rows of all
// of its positions; it finds the others by reading the tokens after it, 4 bytes each from the L2 cache.
#include "fault.cuh"
#include "lanes.cuh"

using namespace xl;

namespace {

template <class T, int V>
__global__ void __launch_bounds__(256) forward_kernel(T *y, const float *table, const Tokens tokens, int64_t N, int64_t D) {
  const int64_t vectors = D / V, index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= N * vectors) return;
  const int64_t n = index / vectors, d = index % vectors * V, row = tokens.at(n);
  store(y + n * D + d, row < 0 ? splat<V>(0) : load<V>(table + row * D + d));
}

__global__ void first_kernel(int *first, const Tokens tokens, int64_t N) {
  const int64_t n = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (n >= N) return;
  const int64_t row = tokens.at(n);
  if (row >= 0) atomicMin(first + row, int(n));  // of whole numbers: the result has no order
}

constexpr int CHUNK = 1024;

// Block n works if its token has its first position there. A thread has V columns.
template <class T, int V>
__global__ void __launch_bounds__(256)
    backward_kernel(float *dtable, const T *dy, const int *first, const Tokens tokens, int64_t N, int64_t D) {
  __shared__ int found[CHUNK];
  __shared__ int counts[8];
  const int64_t n = blockIdx.x;
  const int32_t token = tokens.tokens[n];
  if (token < 0 || token >= tokens.V || first[token] != n) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float *row = dtable + token * D;
  for (int64_t begin = n; begin < N; begin += CHUNK) {
    // Positions of this chunk with the same token, in order: a warp looks through 128 of them.
    unsigned matches[4];
    int mine = 0;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const int64_t at = begin + warp * 128 + k * 32 + lane;
      matches[k] = __ballot_sync(0xffffffffu, at < N && tokens.tokens[at] == token);
      mine += __popc(matches[k]);
    }
    if (lane == 0) counts[warp] = mine;
    __syncthreads();
    int offset = 0, total = 0;
#pragma unroll
    for (int w = 0; w < 8; w++) {
      offset += w < warp ? counts[w] : 0;
      total += counts[w];
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
      if (matches[k] >> lane & 1) found[offset + __popc(matches[k] & ((1u << lane) - 1))] = warp * 128 + k * 32 + lane;
      offset += __popc(matches[k]);
    }
    __syncthreads();
    if (total > 0)
      for (int64_t d = V * threadIdx.x; d < D; d += V * 256) {
        Lanes<V> sum = load<V>(row + d);
#pragma unroll 8
        for (int m = 0; m < total; m++) sum = sum + load<V>(dy + (begin + found[m]) * D + d);
        store(row + d, sum);
      }
    __syncthreads();
  }
}

template <class T>
int forward(const char *name, T *y, const int32_t *tokens, const float *table, int64_t N, int64_t D, int64_t V) {
  if (N <= 0 || D <= 0) return XL_OK;
  const Tokens rows{tokens, V, faults(), name, 0};
  constexpr int lanes = lanes_of<T>;
  if (is_aligned(y, table) && D % lanes == 0)
    forward_kernel<T, lanes><<<unsigned(ceil_div(N * D / lanes, 256)), 256, 0, stream()>>>(y, table, rows, N, D);
  else
    forward_kernel<T, 1><<<unsigned(ceil_div(N * D, 256)), 256, 0, stream()>>>(y, table, rows, N, D);
  return launched(name);
}

template <class T>
int backward(const char *name, float *dtable, const T *dy, const int32_t *tokens, int64_t N, int64_t D, int64_t V) {
  if (N <= 0 || D <= 0) return XL_OK;
  const Tokens rows{tokens, V, faults(), name, 0};
  auto *first = static_cast<int *>(scratch(4 * V));
  if (!first) return XL_OUT_OF_MEMORY;
  cudaMemsetAsync(first, 0x7f, size_t(4 * V), stream());
  first_kernel<<<unsigned(ceil_div(N, 256)), 256, 0, stream()>>>(first, rows, N);
  if (is_aligned(dtable, dy) && D % 4 == 0)
    backward_kernel<T, 4><<<unsigned(N), 256, 0, stream()>>>(dtable, dy, first, rows, N, D);
  else
    backward_kernel<T, 1><<<unsigned(N), 256, 0, stream()>>>(dtable, dy, first, rows, N, D);
  return launched(name);
}

}  // namespace

extern "C" {

int xl_embedding_forward(float *y, const int32_t *tokens, const float *table, int64_t N, int64_t D, int64_t V) {
  return forward("embedding_forward", y, tokens, table, N, D, V);
}
XL_API int xl_embedding_forward_bf16(bf16 *y, const int32_t *tokens, const float *table, int64_t N, int64_t D,
                                     int64_t V) {
  return forward("embedding_forward_bf16", y, tokens, table, N, D, V);
}
int xl_embedding_backward(float *dtable, const float *dy, const int32_t *tokens, int64_t N, int64_t D, int64_t V) {
  return backward("embedding_backward", dtable, dy, tokens, N, D, V);
}
XL_API int xl_embedding_backward_bf16(float *dtable, const bf16 *dy, const int32_t *tokens, int64_t N, int64_t D,
                                      int64_t V) {
  return backward("embedding_backward_bf16", dtable, dy, tokens, N, D, V);
}

}  // extern "C"
