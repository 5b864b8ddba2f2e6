// What the host files of the CUDA library share: the open device and what its memory is held for.
#ifndef XL_CUDA_DEVICE_H
#define XL_CUDA_DEVICE_H
#include <cuda_runtime.h>
#include <stdint.h>

namespace xl {

struct Device {
  int index = -1;
  cudaDeviceProp properties{};
  cudaStream_t stream = nullptr;
};

// The device that xl_open_device opened.
const Device &device();
// XL_OK once a device is open, and makes it the current one of this thread.
int need_device(const char *call);
// XL_OK, or the status and sentence of a CUDA error in `call`.
int check(const char *call, cudaError_t error);

// Memory of the pool for the library's own use; NULL with the error set.
void *pool_alloc(const char *what, int64_t bytes);
void pool_free(void *address);

// The graph that is being recorded, 0 if none. Graphs are numbered from 1 on.
int recorded_graph();
// Graphs that were recorded and not destroyed.
int graphs_alive();
// The free blocks of a recording stay with its graph.
void end_recording();
// Blocks of a destroyed graph become free memory again.
void release_graph_memory(int graph);

// Reports what kernels found wrong since the last call. Waits for the stream.
int report_fault();

}  // namespace xl
#endif
