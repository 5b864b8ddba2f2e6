// Sums over the lanes of a warp, and the two functions of the gates, for the gates of the mLSTM and their gradients.
#ifndef XL_CUDA_MLSTM_SCAN_CUH
#define XL_CUDA_MLSTM_SCAN_CUH
#include <cuda_runtime.h>

namespace xl {
namespace mlstm {

__device__ inline float log_sigmoid(float x) { return fminf(x, 0.0f) - log1pf(expf(-fabsf(x))); }
__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Sum over this lane and those before it.
__device__ inline double scan_up(double x) {
  const int lane = threadIdx.x % 32;
  for (int o = 1; o < 32; o *= 2) {
    const double y = __shfl_up_sync(~0u, x, o);
    if (lane >= o) x += y;
  }
  return x;
}

// Sum over this lane and those after it.
__device__ inline double scan_down(double x) {
  const int lane = threadIdx.x % 32;
  for (int o = 1; o < 32; o *= 2) {
    const double y = __shfl_down_sync(~0u, x, o);
    if (lane + o < 32) x += y;
  }
  return x;
}

template <class F>
__device__ inline F warp_sum(F x) {
  for (int o = 16; o > 0; o /= 2) x += __shfl_xor_sync(~0u, x, o);
  return x;
}

}  // namespace mlstm
}  // namespace xl
#endif
