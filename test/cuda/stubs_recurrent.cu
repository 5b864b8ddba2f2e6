// Stand-ins for the rest of the CUDA library, so that the recurrent kernels build and run alone in check_recurrent.py
// and bench/cuda/recurrent.py: the stream, the workspace, errors. Only for tests.
#include <stdarg.h>
#include <stdio.h>

#include "kernel.cuh"

namespace xl {

static char sentence[512];
static cudaStream_t current = nullptr;
static void *workspace = nullptr;
static int64_t workspace_bytes = 0;

int fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  return code;
}
const char *last_error() { return sentence; }
cudaStream_t stream() { return current; }
void *scratch(int64_t bytes) {
  if (bytes <= workspace_bytes) return workspace;
  cudaDeviceSynchronize();
  cudaFree(workspace);
  workspace_bytes = bytes;
  if (cudaMalloc(&workspace, size_t(bytes)) == cudaSuccess) return workspace;
  workspace = nullptr, workspace_bytes = 0;
  fail(XL_OUT_OF_MEMORY, "no memory for a workspace of %lld bytes", (long long)bytes);
  return nullptr;
}
static int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, which, device);
  return value;
}
static int capability = 0;  // 0: what the device has
int compute_capability() {
  if (capability) return capability;
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor);
}
int multiprocessors() { return attribute(cudaDevAttrMultiProcessorCount); }
int launched(const char *kernel) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? XL_OK : fail(XL_INVALID, "%s: %s", kernel, cudaGetErrorString(error));
}

}  // namespace xl

extern "C" XL_API const char *stub_last_error() { return xl::last_error(); }
extern "C" XL_API void stub_stream(void *stream) { xl::current = static_cast<cudaStream_t>(stream); }
extern "C" XL_API void stub_compute_capability(int capability) { xl::capability = capability; }
