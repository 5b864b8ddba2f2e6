// Matrix products of operands that lie in L1 or L2, on one thread: the inner part of every larger product.
// Blocking for larger operands, packing and threads are in matmul.cpp.
#ifndef XL_CPU_PRODUCT_H
#define XL_CPU_PRODUCT_H
#include "kernel.h"

namespace XL_NS {

// The tile of C that stays in registers: PRODUCT_ROWS rows of PRODUCT_VECTORS vectors. With 32 registers that is 24
// accumulators, with 16 it is 12, besides vectors of B and one broadcast value of A. A step of k loads the vectors and
// one value a row: 8 x 3 loads least, which counts where two threads share the ports of a core.
#if defined(__AVX512F__)
constexpr int PRODUCT_ROWS = 8, PRODUCT_VECTORS = 3;
#elif defined(__aarch64__)
constexpr int PRODUCT_ROWS = 12, PRODUCT_VECTORS = 2;
#else
constexpr int PRODUCT_ROWS = 6, PRODUCT_VECTORS = 2;
#endif
constexpr bool MANY_REGISTERS = PRODUCT_ROWS * PRODUCT_VECTORS == 24;
constexpr int PRODUCT_COLUMNS = PRODUCT_VECTORS * W;
constexpr int PANEL_GAP = 16;  // floats behind each panel of A

// Rows of C in tiles whose heights differ by at most one, so that none is low; and where the rows of A that a tile
// needs lie when A is in panels.
struct TileRows {
  int64_t count, height, taller;  // the first `taller` are one row higher
  explicit TileRows(int64_t M)
      : count((M + PRODUCT_ROWS - 1) / PRODUCT_ROWS), height(count ? M / count : 0), taller(count ? M % count : 0) {}
  int64_t rows(int64_t i) const { return height + (i < taller); }
  int64_t begin(int64_t i) const { return i * height + (i < taller ? i : taller); }
  int64_t panel(int64_t i, int64_t K) const { return begin(i) * K + i * PANEL_GAP; }
};

// C = A B, or C += A B. A is read one float at a time through two strides, so it may be transposed.
struct Product {
  const float *a;
  int64_t a_row, a_k;  // A[m,k] = a[m * a_row + k * a_k]
  const float *b;
  int64_t b_k;  // B[k,n] = b[k * b_k + n]
  float *c;
  int64_t c_row;  // C[m,n] = c[m * c_row + n]
  int64_t M, N, K;
  bool accumulate = false;
  const float *bias = nullptr;  // [N], added to each row of C
};

// Any sizes; K = 0 gives zeros (and the bias). Nothing outside the matrices is touched. Each element of C is one sum in
// the order of k, whatever M and N are: a product of some of the rows or columns gives the same bits.
void product(const Product &p);

// The same with B in strips of PRODUCT_COLUMNS, as pack_columns() makes them: strip s at b + s * K * PRODUCT_COLUMNS,
// [K, PRODUCT_COLUMNS] (the last one [K, strip_width(columns)]), padded with zeros; a_k is 1. a_k and b_k are not used.
// At most `steps` of k, one or more, are one sum that is then added to C: in each element the sums of equal parts of k.
void product_packed(const Product &p, int64_t steps);
inline int64_t strip_width(int64_t columns) { return min_of(ceil_div(columns, W), PRODUCT_VECTORS) * W; }

// The same with A in panels too, as pack.h makes them: the rows of tile i at a + TileRows(M).panel(i, K), as
// [K, rows], so that a tile reads both operands front to back. a_row and a_k are not used.
void product_panels(const Product &p, int64_t steps);
constexpr int64_t panels_floats(int64_t M, int64_t K) { return M * K + (M / PRODUCT_ROWS + 1) * PANEL_GAP; }

}  // namespace XL_NS
#endif
