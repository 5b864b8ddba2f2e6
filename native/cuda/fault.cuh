// What a kernel found wrong in its data. Kernels do not wait, so they note the first fault in device memory and go on
// without it; the host reports it when it next waits.
#ifndef XL_CUDA_FAULT_CUH
#define XL_CUDA_FAULT_CUH
#include <cuda_runtime.h>
#include <stdint.h>

namespace xl {

enum class FaultKind : int { none = 0, token, position, misfit };

struct Fault {
  int kind;
  int limit;         // vocabulary or format
  const char *name;  // host address of the kernel's name
  long long where, column;
  double value;
};

// The device's one fault record.
Fault *faults();
int open_faults();

#ifdef __CUDACC__
__device__ inline void note_fault(Fault *fault, FaultKind kind, const char *name, long long where, long long column,
                                  double value, int limit) {
  if (atomicCAS(&fault->kind, 0, int(kind)) != 0) return;
  fault->name = name;
  fault->where = where;
  fault->column = column;
  fault->value = value;
  fault->limit = limit;
}

// A token as a row of a table of V rows; -1, and a fault noted, where there is none. Tokens from `lowest` on are passed.
struct Tokens {
  const int32_t *tokens;
  int64_t V;
  Fault *fault;
  const char *name;
  int lowest;

  __device__ int64_t at(int64_t n) const {
    const int32_t token = tokens[n];
    if (token >= lowest && token < V) return token;
    note_fault(fault, FaultKind::token, name, n, 0, token, int(V));
    return -1;
  }
};
#endif

}  // namespace xl
#endif
