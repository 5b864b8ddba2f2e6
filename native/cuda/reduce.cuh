// Sums in a fixed order: within a warp and a block, and of partial results that blocks left in the workspace.
#ifndef XL_CUDA_REDUCE_CUH
#define XL_CUDA_REDUCE_CUH
#include "lanes.cuh"

namespace xl {

template <class T>
__device__ inline T warp_sum(T x) {
#pragma unroll
  for (int half = 16; half > 0; half /= 2) x += __shfl_xor_sync(0xffffffffu, x, half);
  return x;
}

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int half = 16; half > 0; half /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, half));
  return x;
}

// The sum over all threads of a block of THREADS, in every thread. `room` has one number per warp and may be used again.
template <int THREADS, class T>
__device__ inline T block_sum(T x, T *room) {
  x = warp_sum(x);
  if constexpr (THREADS == 32) return x;
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = room[0];
#pragma unroll
  for (int w = 1; w < THREADS / 32; w++) sum += room[w];
  __syncthreads();
  return sum;
}

// Blocks of 128 threads with V columns each and some rows of [N,D]: columns over blockIdx.x, pieces of rows over blockIdx.y: enough blocks to fill any GPU, the same on each.
struct RowSplit {
  int64_t across, rows, parts;
  RowSplit(int64_t N, int64_t D, int V) {
    across = ceil_div(D, 128 * V);
    const int64_t wanted = 2048 / across + 1;
    rows = ceil_div(N, wanted);
    parts = ceil_div(N, rows);
  }
  dim3 grid() const { return {unsigned(across), unsigned(parts)}; }
};

// to[d] += sum over p of partials[p, d], d < D.
__global__ void __launch_bounds__(256) add_partials_kernel(float *to, const float *partials, int P, int64_t D);
int add_partials(const char *name, float *to, const float *partials, int64_t P, int64_t D);

}  // namespace xl
#endif
