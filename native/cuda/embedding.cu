// Rows of a table by token, and their gradient. Forward: 8 bytes per element in float32, 6 in bfloat16 (the table is
// float32). Backward without atomics on floats, so that the order is fixed: positions are grouped by token and ordered,
// then each token's block adds its rows of dy (4 or 2 bytes per element) to its row of the table (8 bytes per element of
// the rows that occur).
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

__global__ void __launch_bounds__(256) count_kernel(int *counts, const Tokens tokens, int64_t N) {
  const int64_t n = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (n >= N) return;
  const int64_t row = tokens.at(n);
  if (row >= 0) atomicAdd(counts + row, 1);  // of whole numbers: the result has no order
}

constexpr int SCAN = 1024;

// offsets[v] = the sum of counts before v, for v from 0 to V; counts become 0. One block.
__global__ void __launch_bounds__(SCAN) offsets_kernel(int *offsets, int *counts, int64_t V) {
  __shared__ int sums[SCAN / 32];
  int before = 0;
  for (int64_t begin = 0; begin < V; begin += SCAN) {
    const int64_t v = begin + threadIdx.x;
    const int mine = v < V ? counts[v] : 0;
    int sum = mine;
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, sum, step);
      if (int(threadIdx.x % 32) >= step) sum += other;
    }
    if (threadIdx.x % 32 == 31) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    int all = 0, warps_before = 0;
    for (int w = 0; w < SCAN / 32; w++) {
      warps_before += w < int(threadIdx.x / 32) ? sums[w] : 0;
      all += sums[w];
    }
    __syncthreads();
    if (v < V) {
      offsets[v] = before + warps_before + sum - mine;
      counts[v] = 0;
    }
    before += all;
  }
  if (threadIdx.x == 0) offsets[V] = before;
}

// The positions of each token, in any order.
__global__ void __launch_bounds__(256)
    group_kernel(int *grouped, int *counts, const int *offsets, const Tokens tokens, int64_t N) {
  const int64_t n = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (n >= N) return;
  const int32_t token = tokens.tokens[n];
  if (token >= 0 && token < tokens.V) grouped[offsets[token] + atomicAdd(counts + token, 1)] = int(n);
}

// The same in their order: a position comes after as many as there are smaller ones.
__global__ void __launch_bounds__(256)
    order_kernel(int *ordered, const int *grouped, const int *offsets, const Tokens tokens) {
  const int index = int(blockIdx.x * 256 + threadIdx.x);
  if (index >= offsets[tokens.V]) return;
  const int n = grouped[index];
  const int32_t token = tokens.tokens[n];
  const int begin = offsets[token], end = offsets[token + 1];
  int rank = 0;
#pragma unroll 8
  for (int other = begin; other < end; other++) rank += grouped[other] < n;
  ordered[begin + rank] = n;
}

constexpr int GROUPS = 4;

// Block (token, columns): GROUPS groups of threads take its rows in turn and add up in order.
template <class T, int V>
__global__ void __launch_bounds__(256)
    backward_kernel(float *dtable, const T *dy, const int *ordered, const int *offsets, int64_t D) {
  __shared__ Lanes<V> sums[256];
  const int begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
  if (begin == end) return;
  constexpr int LANES = 256 / GROUPS;
  const int group = threadIdx.x / LANES;
  const int64_t d = (int64_t(blockIdx.y) * LANES + threadIdx.x % LANES) * V;
  Lanes<V> sum = splat<V>(0);
  if (d < D) {
#pragma unroll 8
    for (int m = begin + group; m < end; m += GROUPS) sum = sum + load<V>(dy + ordered[m] * D + d);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (group != 0 || d >= D) return;
#pragma unroll
  for (int g = 1; g < GROUPS; g++) sum = sum + sums[threadIdx.x + g * LANES];
  add(dtable + blockIdx.x * D + d, sum);
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
  auto *offsets = static_cast<int *>(scratch(4 * (2 * V + 2 + 2 * N)));
  if (!offsets) return XL_OUT_OF_MEMORY;
  int *counts = offsets + V + 1, *grouped = counts + V, *ordered = grouped + N;
  const unsigned blocks = unsigned(ceil_div(N, 256));
  cudaMemsetAsync(counts, 0, size_t(4 * V), stream());
  count_kernel<<<blocks, 256, 0, stream()>>>(counts, rows, N);
  offsets_kernel<<<1, SCAN, 0, stream()>>>(offsets, counts, V);
  group_kernel<<<blocks, 256, 0, stream()>>>(grouped, counts, offsets, rows, N);
  order_kernel<<<blocks, 256, 0, stream()>>>(ordered, grouped, offsets, rows);
  constexpr int64_t columns = 256 / GROUPS;
  if (is_aligned(dtable, dy) && D % 4 == 0)
    backward_kernel<T, 4><<<dim3(unsigned(V), unsigned(ceil_div(D, 4 * columns))), 256, 0, stream()>>>(
        dtable, dy, ordered, offsets, D);
  else
    backward_kernel<T, 1>
        <<<dim3(unsigned(V), unsigned(ceil_div(D, columns))), 256, 0, stream()>>>(dtable, dy, ordered, offsets, D);
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
