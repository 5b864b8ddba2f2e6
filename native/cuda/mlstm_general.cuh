// A 64 x 64 tile of a matrix product in plain float32 arithmetic, 4 x 4 numbers in each of 256 threads, for the general
// kernels of the mLSTM. Operands come from functions of their indices, so that any layout, weight and edge will do.
#ifndef XL_CUDA_MLSTM_GENERAL_CUH
#define XL_CUDA_MLSTM_GENERAL_CUH
#include "mlstm.cuh"

namespace xl {
namespace mlstm {

constexpr int tile = 64, tile_k = 16, tile_threads = 256;

struct TileMemory {
  float a[tile_k][tile + 4], b[tile_k][tile + 4];
};

// A thread has rows 4 (thread / 16) + 0..3 and columns 4 (thread % 16) + 0..3.
__device__ inline int tile_row() { return int(threadIdx.x) / 16 * 4; }
__device__ inline int tile_column() { return int(threadIdx.x) % 16 * 4; }

// acc[r][c] += sum over k < K of a(r, k) b(k, c). Neighbouring threads ask for neighbouring k of a, and of b if
// `b_by_k`, otherwise for neighbouring c.
template <bool a_by_k, bool b_by_k, class A, class B>
__device__ inline void tile_product(float (&acc)[4][4], TileMemory &memory, int64_t K, A a, B b) {
  for (int64_t k0 = 0; k0 < K; k0 += tile_k) {
    __syncthreads();
    for (int j = threadIdx.x; j < tile * tile_k; j += tile_threads) {
      const int ka = a_by_k ? j % tile_k : j / tile, r = a_by_k ? j / tile_k : j % tile;
      const int kb = b_by_k ? j % tile_k : j / tile, c = b_by_k ? j / tile_k : j % tile;
      memory.a[ka][r] = k0 + ka < K ? a(r, k0 + ka) : 0.0f;
      memory.b[kb][c] = k0 + kb < K ? b(k0 + kb, c) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < tile_k; k++) {
      float x[4], y[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        x[e] = memory.a[k][tile_row() + e];
        y[e] = memory.b[k][tile_column() + e];
      }
#pragma unroll
      for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) acc[r][c] = fmaf(x[r], y[c], acc[r][c]);
    }
  }
}

// Sum over the 16 threads that share rows.
__device__ inline float row_sum(float x) {
  for (int o = 8; o > 0; o /= 2) x += __shfl_xor_sync(~0u, x, o);
  return x;
}

// W[t,s] of two steps of one chunk, for s <= t in one document.
__device__ inline float decay(float4 t, float2 s) { return exp2f((t.x + s.x) + (t.y + s.y)); }

}  // namespace mlstm
}  // namespace xl
#endif
