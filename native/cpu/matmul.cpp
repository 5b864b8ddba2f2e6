// The matrix product: choice of the path by shape, blocking for the caches, packing, threads.
// The arithmetic is in product.cpp and dot.cpp.
//
// Blocking: k runs in blocks of K_BLOCK. Of each, op(b) is packed by all threads into strips that the inner product
// reads front to back; then each task adds to a block of C, up to [M_BLOCK, N_BLOCK], from a block of op(a) that it
// packs into panels, one per tile of rows. That block and the strip that is at work (M_BLOCK and a few vectors by K_BLOCK)
// stay in L2. K_BLOCK is large because each block of k loads and stores C once more, which costs more than reading the
// strip from L2 instead of L1; with vectors of 16 it is the other way round, by a twentieth of the time [a Xeon with AMX].
#include "matmul.h"

#include "activation.h"
#include "lanes.h"
#include "pack.h"
#include "reduce.h"

namespace XL_NS {
namespace {

constexpr int64_t K_BLOCK = W == 16 ? 256 : 768;
// What of a strip of b stays in L1 while all rows of a block use it: half of it, since the other half may belong to
// another thread of the core. Where there are many columns this is worth another load and store of C; with narrower
// vectors it makes no difference.
constexpr int64_t K_STEPS = W == 16 ? 128 : K_BLOCK;
constexpr int64_t M_BLOCK = 96;
constexpr int64_t N_BLOCK = 1056;  // whole strips
constexpr int64_t PACK_A_FROM = 384;                 // columns from which it pays to pack the block of a
constexpr int64_t PACK_COLUMNS = 256;                // of b at a time, at most
constexpr int64_t IN_PLACE_DEPTH = 256;
constexpr int64_t IN_PLACE_ROWS = 32, IN_PLACE_FLOATS = 8192;  // of c, of b
constexpr int64_t TASKS_PER_THREAD = 4;   // wanted, so that threads end together
constexpr int64_t TASK_FMAS = 1 << 19;    // the least that is worth a task (4 us),
constexpr int64_t TASK_FLOATS = 1 << 18;  // or so much of b to read

constexpr int64_t A_FLOATS = panels_floats(M_BLOCK, K_BLOCK);
constexpr int64_t IN_TASK_COLUMNS = W == 16 ? 768 : 384;
constexpr int64_t B_FLOATS = IN_TASK_COLUMNS * K_BLOCK;
enum Slot { SLOT_A, SLOT_B };

constexpr int64_t LEAST_APART = 384;  // columns of C that a thread computes by itself
constexpr int64_t LEAST_K = 1024, MOST_PARTS = 4, MOST_OF_C = 1 << 19;  // where k is cut into parts
constexpr int64_t TASK_SUMS = 1 << 14;

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

// How C is cut into tasks.
struct Blocks {
  Pieces rows, columns;
  int64_t count() const { return rows.count * columns.count; }
  Range rows_of(int64_t task) const { return rows[task / columns.count]; }
  Range columns_of(int64_t task) const { return columns[task % columns.count]; }
};

// Smaller blocks where there would be too few for the threads. Each element of C is the same sum in any block, so here
// the number of threads may count.
Blocks blocks_of(int64_t M, int64_t N, int64_t K) {
  constexpr int64_t sizes[][2] = {{M_BLOCK, N_BLOCK}, {48, N_BLOCK}, {48, 384}, {48, 192}, {24, 192}, {24, 96}};
  const int64_t wanted = xl::threads() == 1 ? 1 : TASKS_PER_THREAD * xl::threads();
  const int64_t worth = max_of(M * N * K / TASK_FMAS, N * K / TASK_FLOATS);
  int i = 0;
  while (i < 5 && ceil_div(M, sizes[i][0]) * ceil_div(N, sizes[i][1]) < min_of(wanted, worth)) i++;
  return {Pieces(M, sizes[i][0], PRODUCT_ROWS), Pieces(N, sizes[i][1], PRODUCT_COLUMNS)};
}

// Both operands read in place.
int matmul_in_place(const Matmul &p) {
  const Blocks blocks = blocks_of(p.M, p.N, p.K);
  parallel_for(blocks.count(), [&](int64_t task, int) {
    const Range m = blocks.rows_of(task), n = blocks.columns_of(task);
    for (int64_t k = 0; k == 0 || k < p.K; k += IN_PLACE_DEPTH) {
      product({p.trans_a ? p.a + k * p.lda + m.begin : p.a + m.begin * p.lda + k, p.trans_a ? 1 : p.lda,
               p.trans_a ? p.lda : 1, p.b + k * p.ldb + n.begin, p.ldb, p.c + m.begin * p.ldc + n.begin, p.ldc,
               m.length, n.length, min_of(IN_PLACE_DEPTH, p.K - k), p.accumulate || k > 0,
               p.bias && k == 0 ? p.bias + n.begin : nullptr});
    }
    apply_activation(p, m.begin, m.length, n.begin, n.length);
  });
  return XL_OK;
}

// One block of k of a block of C, from packed b.
void multiply_block(const Matmul &p, Range rows, Range columns, Range k, const float *packed, int worker) {
  const int64_t m = rows.begin, n = columns.begin;
  const float *a = p.trans_a ? p.a + k.begin * p.lda + m : p.a + m * p.lda + k.begin;
  const bool first = k.begin == 0;
  Product block = {a, p.lda, 1, packed, 0, p.c + m * p.ldc + n, p.ldc, rows.length, columns.length, k.length,
                   p.accumulate || !first, p.bias && first ? p.bias + n : nullptr};
  // By the columns of all of C: the bits must not depend on the block.
  const int64_t steps = p.N < PACK_A_FROM ? k.length : K_STEPS;
  if (!p.trans_a && columns.length < PACK_A_FROM) return product_packed(block, steps);
  float *panels = xl::scratch(worker, A_FLOATS, SLOT_A);
  (p.trans_a ? pack_panels_of_columns : pack_panels_of_rows)(panels, a, p.lda, rows.length, k.length);
  block.a = panels;
  product_panels(block, steps);
}

const float *corner_of_b(const Matmul &p, int64_t n, int64_t k) {
  return p.trans_b ? p.b + n * p.ldb + k : p.b + k * p.ldb + n;
}

// Blocks of k lie one after the other, each in strips over the whole width.
int64_t packed_offset(int64_t width, int64_t n, Range k) { return k.begin * (ceil_div(width, W) * W) + n * k.length; }

// Packs one block of k of some columns of op(b), on all threads.
void pack_strips(float *packed, const Matmul &p, Range columns, Range k) {
  const int64_t share = ceil_div(columns.length, xl::threads());
  const Pieces strips(columns.length, max_of(min_of(PACK_COLUMNS, share), PRODUCT_COLUMNS), PRODUCT_COLUMNS);
  parallel_for(strips.count, [&](int64_t task, int) {
    const Range n = strips[task];
    pack_columns(packed + n.begin * k.length, corner_of_b(p, columns.begin + n.begin, k.begin), p.ldb, p.trans_b,
                 n.length, k.length);
  });
}

Pieces depth_of(const Matmul &p) { return Pieces(p.K, K_BLOCK, p.blocks_of_b ? B_BLOCK : 4); }

int matmul_blocked(const Matmul &p) {
  // Columns that are packed at a time: one block, which stays in the cache of a thread that is alone; two for several.
  const Pieces outer(p.N, xl::threads() == 1 ? N_BLOCK : 2 * N_BLOCK, PRODUCT_COLUMNS), depth = depth_of(p);
  const int64_t floats = packed_floats(outer.size, depth.size);
  float *packed = xl::shared_scratch(floats);
  if (!packed) return out_of_scratch("matmul", floats);
  const int status = matmul_reserve(false);
  if (status != XL_OK) return status;
  for (int64_t o = 0; o < outer.count; o++) {
    const Range part = outer[o];
    const Blocks blocks = blocks_of(p.M, part.length, p.K);
    for (int64_t d = 0; d < depth.count; d++) {
      const Range k = depth[d];
      pack_strips(packed, p, part, k);
      parallel_for(blocks.count(), [&](int64_t task, int worker) {
        const Range rows = blocks.rows_of(task), columns = blocks.columns_of(task);
        multiply_block(p, rows, {part.begin + columns.begin, columns.length}, k, packed + columns.begin * k.length,
                       worker);
        if (d == depth.count - 1)
          apply_activation(p, rows.begin, rows.length, part.begin + columns.begin, columns.length);
      });
    }
  }
  return XL_OK;
}

// pack_columns() of columns that are rows of blocks; k begins at a block.
void pack_blocks(float *to, const BlocksOfB &b, Range columns, Range k) {
  alignas(64) float rows[PRODUCT_COLUMNS * B_BLOCK];
  for (int64_t n = 0; n < columns.length; n += PRODUCT_COLUMNS) {
    const int64_t count = min_of(PRODUCT_COLUMNS, columns.length - n), width = strip_width(count);
    for (int64_t at = 0; at < k.length; at += B_BLOCK) {
      const int64_t block = (k.begin + at) / B_BLOCK;
      for (int64_t i = 0; i < count; i++) b.block(b.source, rows + i * B_BLOCK, columns.begin + n + i, block);
      pack_columns(to + n * k.length + at * width, rows, B_BLOCK, true, count, min_of(B_BLOCK, k.length - at));
    }
  }
}

// All rows of at most IN_TASK_COLUMNS columns of C; what is packed stays in the L2 cache of the thread.
void multiply_columns(const Matmul &p, Range columns, int worker) {
  const Pieces depth = depth_of(p), down(p.M, M_BLOCK, PRODUCT_ROWS);
  float *packed = xl::scratch(worker, B_FLOATS, SLOT_B);
  for (int64_t i = 0; i < depth.count; i++) {
    const Range k = depth[i];
    if (p.blocks_of_b) {
      pack_blocks(packed, *p.blocks_of_b, columns, k);
    } else {
      pack_columns(packed, corner_of_b(p, columns.begin, k.begin), p.ldb, p.trans_b, columns.length, k.length);
    }
    for (int64_t r = 0; r < down.count; r++) multiply_block(p, down[r], columns, k, packed, worker);
  }
  apply_activation(p, 0, p.M, columns.begin, columns.length);
}

void matmul_blocked_in_task(const Matmul &p, int worker) {
  const Pieces across(p.N, IN_TASK_COLUMNS, PRODUCT_COLUMNS);
  for (int64_t c = 0; c < across.count; c++) multiply_columns(p, across[c], worker);
}

// In how many pieces columns of C are cut so that each thread computes some by itself; 1 where that does not pay.
// Otherwise threads wait for each other at every block of k and fetch what the other packed; here each packs all of op(a).
int64_t pieces_apart(const Matmul &p) {
  const int64_t threads = xl::threads();
  if (threads == 1 || p.N < p.M) return 1;
  for (int64_t pieces = TASKS_PER_THREAD * threads; pieces >= threads; pieces /= 2)
    if (p.N / pieces >= LEAST_APART) return pieces;
  return 1;
}

// At most so many columns to a task, which packs or unpacks what it needs of both operands.
int matmul_apart(const Matmul &p, int64_t columns) {
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const Pieces across(p.N, min_of(columns, IN_TASK_COLUMNS), PRODUCT_COLUMNS);
  parallel_for(across.count, [&](int64_t task, int worker) { multiply_columns(p, across[task], worker); });
  return XL_OK;
}

// Few elements of many products each, as gradients of weights are: parts of k are products of their own, added up in
// their order. How many depends on sizes alone, so that the bits do not depend on the threads.
int64_t parts_of_k(const Matmul &p) {
  if (p.bias || p.activation != XL_ACT_NONE || p.M * p.N > MOST_OF_C || p.K < 2 * LEAST_K) return 1;
  return min_of(p.K / LEAST_K, MOST_PARTS);
}

// Rows of C in one part of k as a product of its own, whose c is not set.
Matmul part_of(const Matmul &p, Range rows, Range k) {
  Matmul part = p;
  part.a += p.trans_a ? k.begin * p.lda + rows.begin : rows.begin * p.lda + k.begin;
  part.b = corner_of_b(p, 0, k.begin);
  part.M = rows.length;
  part.K = k.length;
  return part;
}

int matmul_by_depth(const Matmul &p, int64_t parts) {
  const Pieces depth(p.K, ceil_div(p.K, parts), 4);
  const int64_t size = p.M * p.N;
  float *sums = xl::shared_scratch((depth.count - 1) * size);
  if (!sums) return out_of_scratch("matmul", (depth.count - 1) * size);
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const Pieces rows(p.M, ceil_div(p.M, ceil_div(xl::threads(), depth.count)), PRODUCT_ROWS);
  parallel_for(depth.count * rows.count, [&](int64_t task, int worker) {
    const int64_t part = task / rows.count, m = rows.begin(task % rows.count);
    Matmul one = part_of(p, rows[task % rows.count], depth[part]);
    if (part == 0) {
      one.c += m * p.ldc;
    } else {
      one.c = sums + (part - 1) * size + m * p.N;
      one.ldc = p.N;
      one.accumulate = false;
    }
    matmul_blocked_in_task(one, worker);
  });
  parallel_range(p.M, max_of(1, TASK_SUMS / p.N), [&](int64_t begin, int64_t end, int) {
    for (int64_t m = begin; m < end; m++)
      for_lanes(0, p.N, [&](int64_t n, auto lanes) {
        float *c = p.c + m * p.ldc + n;
        vf sum = lanes.load(c);
        for (int64_t part = 0; part + 1 < depth.count; part++) sum += lanes.load(sums + part * size + m * p.N + n);
        lanes.store(c, sum);
      });
  });
  return XL_OK;
}

// Columns are unpacked by the thread that multiplies with them: that is cheap, and they never leave its cache.
int matmul_of_blocks(const Matmul &p) {
  const int64_t wanted = ceil_div(p.N, TASKS_PER_THREAD * xl::threads());
  return matmul_apart(p, max_of(96, wanted));
}

bool is_empty(const Matmul &p) { return p.M <= 0 || p.N <= 0; }

// Whether packing b would cost more than it saves: few rows of C, or all of b in L1. Few columns fill no vector; they are summed along k.
// Measured; the borders are flat.
bool best_in_place(const Matmul &p) {
  if (p.K <= 0) return true;
  if (p.trans_b || (!p.trans_a && p.N <= DOT_COLUMNS && p.M > 16)) return false;
  return p.M <= IN_PLACE_ROWS || (p.M <= 256 && p.N * p.K <= IN_PLACE_FLOATS);
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

int matmul_reserve(bool for_whole_products) {
  for (int worker = 0; worker < xl::threads(); worker++)
    if (!xl::scratch(worker, A_FLOATS, SLOT_A) || (for_whole_products && !xl::scratch(worker, B_FLOATS, SLOT_B)))
      return out_of_scratch("matmul", A_FLOATS + B_FLOATS);
  return XL_OK;
}

int64_t matmul_packed_floats(int64_t width, int64_t K) { return packed_floats(width, K); }

void matmul_pack(float *packed, const Matmul &p, Range columns) {
  const Pieces depth = depth_of(p);
  for (int64_t i = 0; i < depth.count; i++)
    pack_strips(packed + packed_offset(columns.length, 0, depth[i]), p, columns, depth[i]);
}

void matmul_packed(const Matmul &p, const float *packed, Range packed_columns, Range rows, Range columns, int worker) {
  const Pieces depth = depth_of(p);
  for (int64_t i = 0; i < depth.count; i++)
    multiply_block(p, rows, columns, depth[i],
                   packed + packed_offset(packed_columns.length, columns.begin - packed_columns.begin, depth[i]),
                   worker);
  apply_activation(p, rows.begin, rows.length, columns.begin, columns.length);
}

int matmul(const Matmul &p) {
  if (is_empty(p)) return XL_OK;
  if (p.blocks_of_b) return matmul_of_blocks(p);
  if (best_in_place(p)) return matmul_in_place(p);
  if ((p.trans_b && p.M <= DOT_ROWS) || (!p.trans_a && p.N <= DOT_COLUMNS)) return matmul_dot(p);
  const int64_t parts = parts_of_k(p);
  if (parts > 1) return matmul_by_depth(p, parts);
  const int64_t pieces = pieces_apart(p);
  if (pieces > 1) return matmul_apart(p, ceil_div(p.N, pieces));
  return matmul_blocked(p);
}

void matmul_in_task(const Matmul &p, int worker) {
  if (is_empty(p)) return;
  if (best_in_place(p)) {
    matmul_in_place(p);
  } else if (!p.trans_a && p.trans_b && p.M <= DOT_ROWS) {
    matmul_dot(p);
  } else {
    matmul_blocked_in_task(p, worker);
  }
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
  if (activation < XL_ACT_NONE || activation > XL_ACT_SINE) return no_such_activation("matmul", activation);
  if (accumulate && activation != XL_ACT_NONE)
    return xl::fail(XL_INVALID, "matmul: with accumulate the activation must be none (0), got %d", (int)activation);
  return matmul({c, a, b, bias, M, N, K, trans_a != 0, trans_b != 0, lda, ldb, ldc, accumulate != 0, activation});
}
