// The record in which kernels note what is wrong with their data, and the sentences for it.
#include "fault.cuh"

#include "deferred.h"
#include "device.h"
#include "status.h"
#include "xl.h"

namespace xl {
namespace {
Fault *record = nullptr;

int describe(const Fault &fault) {
  if (FaultKind(fault.kind) == FaultKind::token)
    return fail(XL_INVALID, "%s: token %.0f at position %lld lies outside of the vocabulary 0..%d", fault.name,
                fault.value, fault.where, fault.limit - 1);
  if (FaultKind(fault.kind) == FaultKind::position)
    return fail(XL_INVALID, "%s: position %g of sequence %lld lies outside of 0..2^24", fault.name, fault.value,
                fault.where);
  const bool is_finite = fault.value - fault.value == 0;
  const char *rule = !is_finite              ? "; only finite numbers can be packed"
                     : fault.limit == XL_F16 ? ", beyond what f16 can hold (65504); use bf16"
                                             : ", beyond what bf16 can hold (3.39e38)";
  return fail(XL_INVALID, "%s: row %lld holds %g at column %lld%s", fault.name, fault.where, fault.value, fault.column,
              rule);
}

}  // namespace

Fault *faults() { return record; }

int open_faults() {
  if (int status = check("open_device", cudaMalloc(&record, sizeof(Fault)))) return status;
  return check("open_device", cudaMemsetAsync(record, 0, sizeof(Fault), device().stream));
}

int report_fault() {
  Fault found{};
  const cudaError_t copied = cudaMemcpyAsync(&found, record, sizeof found, cudaMemcpyDeviceToHost, stream());
  if (int status = deferred_failure()) return status;
  if (int status = check("synchronize", copied)) return status;
  if (int status = check("synchronize", cudaStreamSynchronize(stream()))) return status;
  if (found.kind == 0) return XL_OK;
  if (int status = check("synchronize", cudaMemsetAsync(record, 0, sizeof found, stream()))) return status;
  return describe(found);
}

}  // namespace xl
