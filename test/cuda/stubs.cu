// The device's foundation, as little of it as the kernels need, so that they build and run alone under test/cuda:
// the default stream, a growing workspace that can be poisoned with NaN before each kernel, errors.
#include <stdarg.h>
#include <stdio.h>

#include "kernel.cuh"

namespace xl {
namespace {
thread_local char sentence[512];
void *workspace = nullptr;
int64_t size = 0;
bool poisoned = false;
}  // namespace

int fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  return code;
}

cudaStream_t stream() { return nullptr; }

void *scratch(int64_t bytes) {
  if (bytes > size) {
    cudaFree(workspace);
    size = bytes;
    if (cudaMalloc(&workspace, size_t(bytes)) != cudaSuccess) return size = 0, workspace = nullptr;
  }
  if (poisoned) cudaMemsetAsync(workspace, 0xff, size_t(bytes), stream());
  return workspace;
}

int compute_capability() {
  int device = 0, major = 0, minor = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  return 10 * major + minor;
}

int multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

int launched(const char *kernel) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? XL_OK : fail(XL_INTERNAL, "%s: %s", kernel, cudaGetErrorString(error));
}
}  // namespace xl

extern "C" XL_API const char *xl_last_error(void) { return xl::sentence; }
extern "C" XL_API void xl_test_poison(int on) { xl::poisoned = on != 0; }
