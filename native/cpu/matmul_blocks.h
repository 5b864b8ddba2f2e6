// Blocks of a matrix product: how large they are, how they are packed and multiplied. The ways of working that share them
// are in matmul.cpp and matmul_apart.cpp.
#ifndef XL_CPU_MATMUL_BLOCKS_H
#define XL_CPU_MATMUL_BLOCKS_H
#include "matmul.h"
#include "pack.h"

namespace XL_NS {
namespace {

constexpr int64_t K_BLOCK = W == 16 ? 256 : 768;
// What of a strip of b stays in L1 while all rows of a block use it: half of it, since the other half may belong to
// another thread of the core. Where there are many columns this is worth another load and store of C; with narrower
// vectors it makes no difference.
constexpr int64_t K_STEPS = W == 16 ? 128 : K_BLOCK;
constexpr int64_t M_BLOCK = 96;
constexpr int64_t PACK_A_FROM = 384;     // columns from which it pays to pack the block of a
constexpr int64_t TASKS_PER_THREAD = 4;  // wanted, so that threads end together
constexpr int64_t TASK_FMAS = 1 << 19;   // the least that is worth a task (4 us)

// What a thread packs: a block of a, and these columns of b.
constexpr int64_t A_FLOATS = panels_floats(M_BLOCK, K_BLOCK);
constexpr int64_t IN_TASK_COLUMNS = W == 16 ? 768 : 384;
constexpr int64_t B_FLOATS = 1 << 19;  // 2 MB: in several blocks of k
static_assert(B_FLOATS >= IN_TASK_COLUMNS * K_BLOCK);
enum Slot { SLOT_A, SLOT_B };

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
  Range operator[](int64_t i) const { return {begin(i), length(i)}; }
};

inline Pieces depth_of(const Matmul &p) { return Pieces(p.K, K_BLOCK, p.blocks_of_b ? B_BLOCK : 4); }

// One block of k of a block of C, from packed b and from a where it lies.
inline Product block_of(const Matmul &p, Range rows, Range columns, Range k, const float *packed) {
  const int64_t m = rows.begin, n = columns.begin;
  const float *a = p.trans_a ? p.a + k.begin * p.lda + m : p.a + m * p.lda + k.begin;
  const bool first = k.begin == 0;
  return {a, p.lda, 1, packed, 0, p.c + m * p.ldc + n, p.ldc, rows.length, columns.length, k.length,
          p.accumulate || !first, p.bias && first ? p.bias + n : nullptr};
}

// The steps of k that are one sum. By the columns of all of C: the bits must not depend on the block.
inline int64_t steps_of(const Matmul &p, Range k) { return p.N < PACK_A_FROM ? k.length : K_STEPS; }

// A of a block in panels, which stay until the worker packs others.
inline const float *panels_of(const Matmul &p, const Product &block, int worker) {
  float *panels = xl::scratch(worker, A_FLOATS, SLOT_A);
  (p.trans_a ? pack_panels_of_columns : pack_panels_of_rows)(panels, block.a, p.lda, block.M, block.K);
  return panels;
}

// The block with a in panels, where there are columns enough that packing it pays.
inline void multiply_block(const Matmul &p, Range rows, Range columns, Range k, const float *packed, int worker) {
  Product block = block_of(p, rows, columns, k, packed);
  if (!p.trans_a && columns.length < PACK_A_FROM) return product_packed(block, steps_of(p, k));
  block.a = panels_of(p, block, worker);
  product_panels(block, steps_of(p, k));
}

inline const float *corner_of_b(const Matmul &p, int64_t n, int64_t k) {
  return p.trans_b ? p.b + n * p.ldb + k : p.b + k * p.ldb + n;
}

}  // namespace

// matmul_apart.cpp: products in which no thread waits for another.

// In one task, on this thread.
void matmul_blocked_in_task(const Matmul &p, int worker);

// Ranges of columns that a thread packs, and rows that it then multiplies at a time.
struct Apart {
  int64_t columns, rows;
};

// How products that run beside each other are cut so that each thread works by itself, on columns of its own while there
// are some; columns is 0 where that does not pay. Otherwise threads wait for each other at every block of k and fetch what
// the other packed; here op(a) is packed anew for each range of columns.
Apart cut_apart(const Matmul *products, int64_t count);
int matmul_apart(const Matmul *products, int64_t count, const Apart &cut);

// Few elements of many products each, as gradients of weights are: parts of k are products of their own, added up in
// their order. How many depends on sizes alone, so that the bits do not depend on the threads.
int64_t parts_of_k(const Matmul &p);
int matmul_by_depth(const Matmul &p, int64_t parts);

// With blocks_of_b. Columns are unpacked by the thread that multiplies with them: that is cheap, and they never leave
// its cache.
int matmul_of_blocks(const Matmul &p);

}  // namespace XL_NS
#endif
