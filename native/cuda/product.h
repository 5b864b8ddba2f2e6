// The matrix product that matmul.cu gives to other kernels: row-major, strided, batched, float32 or bfloat16.
#ifndef XL_CUDA_PRODUCT_H
#define XL_CUDA_PRODUCT_H
#include "kernel.cuh"

namespace xl {

struct Product {
  int64_t M, N, K;
  bool trans_a, trans_b;
  int64_t lda, ldb, ldc;
  bool accumulate;
  int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0;
};

// c = op(a) op(b), or c += it; summed in float32. TC and T are <float, float>, <bf16, bf16> or <float, bf16>.
template <class TC, class T>
int product(const char *name, TC *c, const T *a, const T *b, const Product &shape);

// c[m,n] = activation(c[m,n] + bias[n]); bias may be null.
template <class TC>
int epilogue(const char *name, TC *c, const float *bias, int64_t M, int64_t N, int64_t ldc, int activation);

}  // namespace xl
#endif
