// The matrix product: choice of the path by shape, blocking for the caches, packing, threads.
// The arithmetic is in product.cpp and dot.cpp.
//
// Blocking: op(b) is packed once, by all threads, into strips that the inner product reads front to back. Then each
// task computes a block of C, [M_BLOCK, N_BLOCK], which stays in L2 while k runs in blocks of K_BLOCK: a strip of b
// (K_BLOCK by two vectors) stays in L1, the block of a (M_BLOCK by K_BLOCK) in L2.
#include "matmul.h"

#include "activation.h"
#include "lanes.h"
#include "pack.h"
#include "reduce.h"

namespace XL_NS {
namespace {

constexpr int64_t K_BLOCK = 256;
constexpr int64_t M_BLOCK = 96;
constexpr int64_t N_BLOCK = 768;
constexpr int64_t PACKED_FLOATS = int64_t(1) << 22;  // of b at a time: half of an L3 cache or less
constexpr int64_t A_PAD = 16;                        // keeps rows of packed a out of each other's cache sets
constexpr int64_t COPY_A_FROM = 128;                 // columns from which it pays to copy the block of a
constexpr int64_t FEW_ROWS = 16;                     // below, packing b costs more than it saves

// 0..total-1 in pieces of at most `most`, equal up to rounding to `multiple`.
struct Pieces {
  int64_t total, size, count;
  Pieces(int64_t total, int64_t most, int64_t multiple) : total(total) {
    const int64_t pieces = ceil_div(total, most);
    size = pieces ? ceil_div(ceil_div(total, pieces), multiple) * multiple : multiple;
    count = ceil_div(total, size);
  }
  int64_t begin(int64_t i) const { return i * size; }
  int64_t length(int64_t i) const { return min_of(size, total - i * size); }
};

// op(b) with few rows of op(a): b is read once, in place.
int matmul_few_rows(const Matmul &p) {
  const Pieces columns(p.N, 256, PRODUCT_COLUMNS);
  parallel_for(columns.count, [&](int64_t i, int) {
    const int64_t n = columns.begin(i), width = columns.length(i);
    // In blocks of k so that one page per row of b stays in the translation cache for all strips.
    for (int64_t k = 0; k == 0 || k < p.K; k += 64) {
      product({p.a + (p.trans_a ? k * p.lda : k), p.trans_a ? 1 : p.lda, p.trans_a ? p.lda : 1, p.b + k * p.ldb + n,
               p.ldb, p.c + n, p.ldc, p.M, width, min_of(64, p.K - k), 1, p.accumulate || k > 0,
               p.bias && k == 0 ? p.bias + n : nullptr});
    }
    apply_activation(p, 0, p.M, n, width);
  });
  return XL_OK;
}

// A block of C from packed b; `packed` holds the columns from n_first on, `padded` of them with the padding.
struct BlockedProduct {
  const Matmul &p;
  const float *packed;
  int64_t n_first, padded;
  const Pieces &k_pieces;

  void block(int64_t m, int64_t rows, int64_t n, int64_t columns, int worker) const {
    const bool copy = p.trans_a || columns >= COPY_A_FROM;
    float *a_copy = copy ? xl::scratch(worker, a_floats()) : nullptr;
    for (int64_t i = 0; i < k_pieces.count; i++) {
      const int64_t k = k_pieces.begin(i), K = k_pieces.length(i);
      const float *a = p.trans_a ? p.a + k * p.lda + m : p.a + m * p.lda + k;
      int64_t step = p.lda;
      if (copy) {
        step = (p.trans_a ? M_BLOCK : K_BLOCK) + A_PAD;
        copy_block(a_copy, step, a, p.lda, p.trans_a ? K : rows, p.trans_a ? rows : K);
        a = a_copy;
      }
      product_packed({a, p.trans_a ? 1 : step, p.trans_a ? step : 1, packed + k * padded + (n - n_first) * K, 0,
                      p.c + m * p.ldc + n, p.ldc, rows, columns, K, 1, p.accumulate || i > 0,
                      p.bias && i == 0 ? p.bias + n : nullptr});
    }
    apply_activation(p, m, rows, n, columns);
  }

  static int64_t a_floats() { return (M_BLOCK + A_PAD) * (K_BLOCK + A_PAD); }
};

int matmul_blocked(const Matmul &p) {
  const Pieces k_pieces(p.K, K_BLOCK, 4);
  const Pieces outer(p.N, max_of(N_BLOCK, PACKED_FLOATS / p.K), N_BLOCK);
  const int64_t floats = packed_floats(outer.size, p.K);
  float *packed = xl::shared_scratch(floats);
  bool memory = packed != nullptr;
  for (int worker = 0; worker < xl::threads(); worker++)
    memory = memory && xl::scratch(worker, BlockedProduct::a_floats());
  if (!memory) return out_of_scratch("matmul", floats);

  for (int64_t o = 0; o < outer.count; o++) {
    const int64_t n_first = outer.begin(o), width = outer.length(o), padded = ceil_div(width, W) * W;
    const Pieces strips(width, 64, PRODUCT_COLUMNS);
    parallel_for(k_pieces.count * strips.count, [&](int64_t task, int) {
      const int64_t i = task / strips.count, s = task % strips.count, n = strips.begin(s);
      const int64_t k = k_pieces.begin(i), K = k_pieces.length(i);
      const float *b = p.trans_b ? p.b + (n_first + n) * p.ldb + k : p.b + k * p.ldb + n_first + n;
      pack_columns(packed + k * padded + n * K, b, p.ldb, p.trans_b, strips.length(s), K);
    });
    const Pieces rows(p.M, M_BLOCK, PRODUCT_ROWS), columns(width, N_BLOCK, PRODUCT_COLUMNS);
    const BlockedProduct blocks = {p, packed, n_first, padded, k_pieces};
    parallel_for(rows.count * columns.count, [&](int64_t task, int worker) {
      const int64_t r = task / columns.count, c = task % columns.count;
      blocks.block(rows.begin(r), rows.length(r), n_first + columns.begin(c), columns.length(c), worker);
    });
  }
  return XL_OK;
}

}  // namespace

void apply_activation(const Matmul &p, int64_t m0, int64_t rows, int64_t n0, int64_t columns) {
  if (p.activation == XL_ACT_NONE) return;
  with_activation(p.activation, [&](auto tag) {
    for (int64_t m = m0; m < m0 + rows; m++) {
      float *c = p.c + m * p.ldc;
      for_lanes(n0, n0 + columns,
                [&](int64_t n, auto lanes) { lanes.store(c + n, activate<decltype(tag)::value>(lanes.load(c + n))); });
    }
  });
}

int matmul(const Matmul &p) {
  if (p.M <= 0 || p.N <= 0) return XL_OK;
  if (p.K <= 0 || (!p.trans_b && p.M < FEW_ROWS)) return matmul_few_rows(p);
  if ((p.trans_b && p.M <= SKINNY) || (!p.trans_a && p.N <= SKINNY)) return matmul_dot(p);
  return matmul_blocked(p);
}

}  // namespace XL_NS

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_matmul)(float *c, const float *a, const float *b, const float *bias, int64_t M, int64_t N,
                                    int64_t K, int32_t trans_a, int32_t trans_b, int64_t lda, int64_t ldb, int64_t ldc,
                                    int32_t accumulate, int32_t activation) {
  const auto wrong = [](const char *name, int64_t value, const char *least_name, int64_t least) {
    return xl::fail(XL_INVALID, "matmul: %s must be at least %s = %lld, got %lld", name, least_name, (long long)least,
                    (long long)value);
  };
  if (M < 0 || N < 0 || K < 0)
    return xl::fail(XL_INVALID, "matmul: M, N and K must not be negative, got %lld, %lld and %lld", (long long)M,
                    (long long)N, (long long)K);
  if (lda < (trans_a ? M : K)) return wrong("lda", lda, trans_a ? "M" : "K", trans_a ? M : K);
  if (ldb < (trans_b ? K : N)) return wrong("ldb", ldb, trans_b ? "K" : "N", trans_b ? K : N);
  if (ldc < N) return wrong("ldc", ldc, "N", N);
  if (activation < XL_ACT_NONE || activation > XL_ACT_RELU) return no_such_activation("matmul", activation);
  if (accumulate && activation != XL_ACT_NONE)
    return xl::fail(XL_INVALID, "matmul: with accumulate the activation must be none (0), got %d", (int)activation);
  return matmul({c, a, b, bias, M, N, K, trans_a != 0, trans_b != 0, lda, ldb, ldc, accumulate != 0, activation});
}
