// Opens a GPU: its stream, what it is, events, and waiting for it.
#include "device.h"

#include <stdio.h>
#include <string.h>

#include "deferred.h"
#include "fault.cuh"
#include "kernel.cuh"
#include "xl_cuda.h"

namespace xl {
namespace {

Device state;
int capability_limit = 0;        // for tests; 0 for none
bool last_is_overlapped = false;  // the kernel enqueued last: see overlap.cuh
thread_local int current = -1;  // the device that CUDA uses on this thread

int no_driver(cudaError_t error) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0)
    return fail(XL_INTERNAL, "no NVIDIA driver is loaded here (libcuda.so.1), so no GPU can be used; install the driver "
                             "for your GPU, or use --device cpu");
  return fail(XL_INTERNAL,
              "no NVIDIA GPU can be used here: %s (driver for CUDA %d.%d, this library was built with %d.%d); see "
              "nvidia-smi, or use --device cpu",
              cudaGetErrorString(error), driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

}  // namespace

const Device &device() { return state; }

int check(const char *call, cudaError_t error) {
  if (error == cudaSuccess) return XL_OK;
  cudaGetLastError();
  return fail(error == cudaErrorMemoryAllocation ? XL_OUT_OF_MEMORY : XL_INTERNAL, "%s: %s", call,
              cudaGetErrorString(error));
}

int need_device(const char *call) {
  if (state.index < 0) return fail(XL_INVALID, "%s: no device is open; call xl_open_device first", call);
  if (current == state.index) return XL_OK;
  if (int status = check(call, cudaSetDevice(state.index))) return status;
  current = state.index;
  return XL_OK;
}

cudaStream_t stream() {
  need_device("stream");
  launch_deferred();
  last_is_overlapped = false;
  return state.stream;
}

cudaStream_t stream_of_overlapped(bool &follows_overlapped) {
  need_device("stream");
  launch_deferred();
  follows_overlapped = last_is_overlapped;
  last_is_overlapped = true;
  return state.stream;
}

int compute_capability() {
  const int own = 10 * state.properties.major + state.properties.minor;
  return capability_limit > 0 && capability_limit < own ? capability_limit : own;
}

int multiprocessors() { return state.properties.multiProcessorCount; }

int launched(const char *kernel) {
  const int earlier = deferred_failure(), status = check(kernel, cudaGetLastError());
  return status != XL_OK ? status : earlier;
}

}  // namespace xl

using namespace xl;

extern "C" {

const char *xl_last_error(void) { return last_error(); }

const char *xl_isa(void) {
  static char name[16];
  snprintf(name, sizeof name, "sm_%d", compute_capability());
  return name;
}

int xl_limit_capability(int32_t capability) {
  capability_limit = capability;
  return XL_OK;
}

int xl_open_device(int32_t index) {
  if (state.index == index && index >= 0) return need_device("open_device");
  if (state.index >= 0)
    return fail(XL_INVALID, "open_device: GPU %d is open already; a process uses one GPU, not %d as well", state.index,
                index);
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count)) {
    cudaGetLastError();
    return no_driver(error);
  }
  if (index < 0 || index >= count)
    return fail(XL_INVALID, "open_device: there is no GPU %d; this machine has %d, numbered from 0", index, count);
  cudaDeviceProp properties;
  if (int status = check("open_device", cudaGetDeviceProperties(&properties, index))) return status;
  if (properties.major < 8)
    return fail(XL_INVALID, "open_device: GPU %d (%s) has compute capability %d.%d; 8.0 (Ampere) or newer is needed",
                index, properties.name, properties.major, properties.minor);
  if (int status = check("open_device", cudaSetDevice(index))) return status;
  cudaStream_t made;
  if (int status = check("open_device", cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking))) return status;
  state.properties = properties;
  state.stream = made;
  state.index = current = index;
  return open_faults();
}

const char *xl_device_name(void) { return state.properties.name; }

int xl_device_info(double *info) {
  if (int status = need_device("device_info")) return status;
  int driver = 0, runtime = 0, count = 0;
  size_t free = 0, total = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  cudaGetDeviceCount(&count);
  if (int status = check("device_info", cudaMemGetInfo(&free, &total))) return status;
  const double values[] = {double(state.index), double(compute_capability()), double(multiprocessors()),
                           double(driver),      double(runtime),              double(total),
                           double(free),        double(count)};
  memcpy(info, values, sizeof values);
  return XL_OK;
}

int xl_synchronize(void) {
  if (int status = need_device("synchronize")) return status;
  return report_fault();
}

int xl_event_create(double *event) {
  if (int status = need_device("event_create")) return status;
  cudaEvent_t made;
  if (int status = check("event_create", cudaEventCreate(&made))) return status;
  event[0] = double(reinterpret_cast<uintptr_t>(made));
  return XL_OK;
}

int xl_event_record(uintptr_t event) {
  if (int status = need_device("event_record")) return status;
  return check("event_record", cudaEventRecord(reinterpret_cast<cudaEvent_t>(event), stream()));
}

int xl_event_elapsed(double *milliseconds, uintptr_t start, uintptr_t end) {
  if (int status = need_device("event_elapsed")) return status;
  float elapsed = 0;
  if (int status = check("event_elapsed", cudaEventSynchronize(reinterpret_cast<cudaEvent_t>(end)))) return status;
  if (int status = check("event_elapsed", cudaEventElapsedTime(&elapsed, reinterpret_cast<cudaEvent_t>(start),
                                                               reinterpret_cast<cudaEvent_t>(end))))
    return status;
  milliseconds[0] = elapsed;
  return report_fault();
}

int xl_event_destroy(uintptr_t event) {
  return check("event_destroy", cudaEventDestroy(reinterpret_cast<cudaEvent_t>(event)));
}

}  // extern "C"
