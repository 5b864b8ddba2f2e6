// Kernels that begin while the one before them ends (programmatic dependent launch, sm_90): blocks come as soon as all
// blocks of the kernel before have called let_next_begin or are through, and wait_for_previous returns once it is
// complete and its results can be read. Every thread waits before it reads or writes what another kernel may touch, so
// whoever has waited knows that all kernels before are complete. On older GPUs all this does nothing.
#ifndef XL_CUDA_OVERLAP_CUH
#define XL_CUDA_OVERLAP_CUH
#include "kernel.cuh"

namespace xl {

__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Asks for memory to be in the L2 cache soon. It is no read: whatever is written there meanwhile will be seen.
__device__ inline void prefetch(const void *address, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(bytes) : "memory");
#endif
}

// Launches a kernel that calls wait_for_previous, in clusters of `cluster` blocks (1 before sm_90).
template <class... Parameters, class... Arguments>
void launch_overlapped(void (*kernel)(Parameters...), dim3 grid, int threads, int cluster, const Arguments &...arguments) {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(unsigned(threads));
  config.stream = stream();
  config.attrs = attributes;
  if (compute_capability() >= 90) {
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = unsigned(cluster);
    attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
    config.numAttrs = cluster > 1 ? 2 : 1;
  }
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace xl
#endif
