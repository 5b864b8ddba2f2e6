// Kernels that begin while the one before them ends (programmatic dependent launch, sm_90): blocks come as soon as all
// blocks of the kernel before have called let_next_begin or are through, and wait_for_previous returns once it is
// complete and its results can be read. Every thread waits before it reads what another such kernel may write, or writes
// anything, so whoever has waited knows that all kernels before are complete. A kernel begins early only where the one
// before is of this kind too: none of them writes weights, so these may be read before the wait. On older GPUs all this
// does nothing.
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

// Launches a kernel that calls wait_for_previous, with so many bytes of dynamic shared memory, in clusters of so many
// blocks (1 before sm_90).
template <class... Parameters, class... Arguments>
void launch_overlapped(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, int cluster,
                       const Arguments &...arguments) {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.attrs = attributes;
  bool can_overlap = false;
  config.stream = stream_of_overlapped(can_overlap);
  auto add = [&](cudaLaunchAttributeID id) -> cudaLaunchAttributeValue & {
    attributes[config.numAttrs].id = id;
    return attributes[config.numAttrs++].val;
  };
  if (can_overlap && compute_capability() >= 90)
    add(cudaLaunchAttributeProgrammaticStreamSerialization).programmaticStreamSerializationAllowed = 1;
  if (cluster > 1) {
    auto &dimension = add(cudaLaunchAttributeClusterDimension).clusterDim;
    dimension.x = unsigned(cluster);
    dimension.y = dimension.z = 1;
  }
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace xl
#endif
