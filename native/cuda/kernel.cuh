// What every CUDA kernel file includes: storage types, launches, errors, the stream and the workspace.
#ifndef XL_CUDA_KERNEL_CUH
#define XL_CUDA_KERNEL_CUH
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "status.h"
#include "xl.h"

namespace xl {

using bf16 = __nv_bfloat16;

// The stream of all kernels of this process.
cudaStream_t stream();
// The same for a kernel of overlap.cuh; and whether the one enqueued before is such a kernel.
cudaStream_t stream_of_overlapped(bool &follows_overlapped);
// Workspace of the kernel that is being enqueued, at least so many bytes, 256-byte aligned; the next kernel may reuse it.
// NULL when memory is exhausted, with the error set.
void *scratch(int64_t bytes);
// 10 * major + minor compute capability of the device in use; its number of multiprocessors.
int compute_capability();
int multiprocessors();

// XL_OK, or the error that the last launch left, with a sentence that names the kernel.
int launched(const char *kernel);

__host__ __device__ inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
__host__ __device__ inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Values in storage, as float32.
__device__ inline float load(const float *p) { return *p; }
__device__ inline float load(const bf16 *p) { return __bfloat162float(*p); }
__device__ inline void store(float *p, float x) { *p = x; }
__device__ inline void store(bf16 *p, float x) { *p = __float2bfloat16_rn(x); }

}  // namespace xl
#endif
