// The few functions and numbers of cuBLASLt that matmul.cu uses, declared here so that the build needs no cuBLAS and the
// library is loaded only when a matrix product is asked for. The names and values are those of its documentation.
#ifndef XL_CUDA_CUBLASLT_H
#define XL_CUDA_CUBLASLT_H
#include <cuda_runtime.h>
#include <library_types.h>
#include <stddef.h>
#include <stdint.h>

namespace xl {

enum { COMPUTE_32F = 68 };                                          // cublasComputeType_t
enum { DESC_TRANSA = 3, DESC_TRANSB = 4 };                          // cublasLtMatmulDescAttributes_t
enum { LAYOUT_BATCH_COUNT = 5, LAYOUT_STRIDED_BATCH_OFFSET = 6 };   // cublasLtMatrixLayoutAttribute_t
enum { PREF_MAX_WORKSPACE_BYTES = 1, PREF_MIN_ALIGNMENT_A = 5 };    // and B, C, D after it

struct LtAlgorithm {
  uint64_t data[8];
};
struct LtHeuristicResult {
  LtAlgorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

struct CublasLt {
  void *handle;
  size_t (*get_version)();
  int (*create)(void **handle);
  int (*desc_create)(void **desc, int compute, cudaDataType_t scale);
  int (*desc_set)(void *desc, int attribute, const void *value, size_t size);
  int (*layout_create)(void **layout, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t ld);
  int (*layout_set)(void *layout, int attribute, const void *value, size_t size);
  int (*preference_create)(void **preference);
  int (*preference_set)(void *preference, int attribute, const void *value, size_t size);
  int (*preference_destroy)(void *preference);
  int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference, int wanted,
                   LtHeuristicResult *results, int *found);
  int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b,
                void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                const LtAlgorithm *algorithm, void *workspace, size_t workspace_bytes, cudaStream_t stream);
};

// The library, loaded at the first call; NULL with the error set, which says where it was looked for.
const CublasLt *cublaslt();

}  // namespace xl
#endif
