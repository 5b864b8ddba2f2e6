// Products of matrices that are recorded one after the other, such as the maps of a layer's input. Where none needs
// another's result they may run as one kernel: threads then wait for each other once and not at the end of each. So may
// maps by stored weights.
#ifndef XL_COMMON_PRODUCTS_H
#define XL_COMMON_PRODUCTS_H
#include <cstdint>

namespace xl {

// The arguments of xl_matmul.
struct MatmulCall {
  float *c;
  const float *a, *b, *bias;
  int64_t M, N, K;
  int32_t trans_a, trans_b;
  int64_t lda, ldb, ldc;
  int32_t accumulate, activation;
};

// The arguments of xl_linear_packed.
struct PackedCall {
  float *y;
  const float *x;
  const uint8_t *weight;
  const float *bias;
  int64_t N, O, I;
  int32_t format;
  int64_t group;
};

constexpr int64_t most_side_by_side = 8;

// Whether `next` may run beside `count` products that may run beside each other: it is as high and as deep, so that a
// column of one is as much work as a column of another, and nothing that one writes is read or written by another.
bool runs_beside(const MatmulCall *products, int64_t count, const MatmulCall &next);

// The same of maps of one x, by weights of one format.
bool runs_beside(const PackedCall *maps, int64_t count, const PackedCall &next);

// Runs calls that may run beside each other.
template <class Call>
using RunSideBySide = int (*)(const Call *calls, int64_t count);

}  // namespace xl
#endif
