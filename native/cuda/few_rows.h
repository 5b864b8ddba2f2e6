// Products of a few rows with several matrices, with what comes before and after them, in one launch: few_rows.cu.
#ifndef XL_CUDA_FEW_ROWS_H
#define XL_CUDA_FEW_ROWS_H
#include "kernel.cuh"

namespace xl {

constexpr int FEW_ROWS = 16;         // rows of x at the most
constexpr int FEW_ROWS_STEP = 64;    // that the columns come in
constexpr int FEW_ROWS_MATRICES = 8;  // in one launch at the most

// y [N,O] = x weight^T + bias, and z made of it.
struct FewRowsMatrix {
  const void *weight;  // [O,K] of bfloat16, 16-byte aligned, or of float32
  bool is_float;
  const float *bias;  // or null
  float *y;
  int64_t O;
  float *z;            // null, or
  float cap;           // above 0: z = cap tanh(y / cap),
  const float *other;  // else z = y + other
  int first_unit;      // filled in by the launch
};

// Without `weight` there is no norm. y [N,K] = x rstd (offset + weight), which then is what the matrices multiply.
struct FewRowsNorm {
  float *y, *rstd;
  const float *weight;
  float eps, offset;
};

struct FewRows {
  const float *x;  // [N,K], 16-byte aligned
  int64_t N, K;
  FewRowsNorm norm;
  int count;
  FewRowsMatrix matrices[FEW_ROWS_MATRICES];
  // Or null: gated [N,O] = activation(y of matrix 0) * y of matrix 1, the only ones and of one size.
  float *gated;
  int activation;
  int units, float_units, unit_rows;  // filled in by the launch
};

// At least one matrix is bfloat16.
int few_rows(FewRows &p);

}  // namespace xl
#endif
