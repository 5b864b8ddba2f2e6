// The matrix product of the library (xl_matmul) as its own kernel files call it, and its parts by shape.
#ifndef XL_CPU_MATMUL_H
#define XL_CPU_MATMUL_H
#include "product.h"

namespace XL_NS {

// Rows of op(b)^T that are not stored as floats: block(source, to, n, i) writes columns i * B_BLOCK.. of row n, B_BLOCK
// floats of which those beyond K are ignored.
constexpr int64_t B_BLOCK = 128;
struct BlocksOfB {
  void (*block)(const void *source, float *to, int64_t n, int64_t i);
  const void *source;
};

// c = activation(op(a) op(b) + bias), or c += op(a) op(b) + bias: the arguments of xl_matmul.
struct Matmul {
  float *c;
  const float *a, *b;
  const float *bias;  // [N] or NULL
  int64_t M, N, K;
  bool trans_a, trans_b;  // op(a)[m,k] = a[k * lda + m], op(b)[k,n] = b[n * ldb + k]
  int64_t lda, ldb, ldc;
  bool accumulate;
  int32_t activation;
  const BlocksOfB *blocks_of_b = nullptr;  // instead of b, with trans_b
};

// On all threads; not inside a task. Returns a status; the sizes have been checked.
int matmul(const Matmul &p);

// Several that may run beside each other (native/common/products.h), with the bits of one after the other.
int matmul_side_by_side(const Matmul *products, int64_t count);

// On this thread, inside the task that runs as `worker`, after matmul_reserve(true). The bits are not those of matmul()
// where the shape takes it another way.
void matmul_in_task(const Matmul &p, int worker);

// Working memory for all workers, outside of tasks: for matmul_in_task(), or only for matmul_packed(). Returns a
// status.
int matmul_reserve(bool for_whole_products);

// The two halves of a product whose op(b) serves many blocks of rows: columns `first` .. `first + width` are packed
// once, then blocks of C within them are computed in tasks, after matmul_reserve(false). Blocks give the bits of the
// whole.
struct Range {
  int64_t begin, length;
};
int64_t matmul_packed_floats(int64_t width, int64_t K);
void matmul_pack(float *packed, const Matmul &p, Range columns);  // on all threads
void matmul_packed(const Matmul &p, const float *packed, Range packed_columns, Range rows, Range columns, int worker);

// Applies the activation, if any, to a block of C that is otherwise complete.
void apply_activation(const Matmul &p, int64_t m0, int64_t rows, int64_t n0, int64_t columns);

// Few rows or few columns: sums along k, where op(a) and op(b) are contiguous or are copied to be. Up to these sizes it
// is faster than tiles, which want whole vectors of columns and packed b.
constexpr int64_t DOT_ROWS = 32, DOT_COLUMNS = W > 4 ? 3 * W / 4 : 4;
int matmul_dot(const Matmul &p);

}  // namespace XL_NS
#endif
