// Matrix products in which a thread works by itself: on columns of its own, or on a part of k.
#include "lanes.h"
#include "matmul_blocks.h"
#include "reduce.h"

namespace XL_NS {
namespace {

constexpr int64_t LEAST_APART = 384;  // columns of C that a thread computes by itself
constexpr int64_t LEAST_K = 1024, MOST_PARTS = 4, MOST_OF_C = 1 << 19;  // where k is cut into parts
constexpr int64_t TASK_SUMS = 1 << 14;

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

// Products that run beside each other, equally high and deep, their columns side by side. The first column of each is a
// multiple of W, and so is that of a range: what is packed of a product begins with a vector of its own.
struct SideBySide {
  const Matmul *products;
  int64_t count;

  int64_t width() const {
    int64_t columns = 0;
    for (int64_t i = 0; i < count; i++) columns += round_up(products[i].N, W);
    return columns;
  }
  // body(p, columns of p, offset in the range) for the products within a range of columns.
  template <class Body>
  void within(Range range, const Body &body) const {
    int64_t begin = 0;
    for (int64_t i = 0; i < count; i++) {
      const Matmul &p = products[i];
      const int64_t from = max_of(range.begin, begin), to = min_of(range.begin + range.length, begin + p.N);
      if (from < to) body(p, Range{from - begin, to - from}, from - range.begin);
      begin += round_up(p.N, W);
    }
  }
};

// All rows of at most IN_TASK_COLUMNS columns; what is packed stays in the L2 cache of the thread. A block of op(a) is
// packed once for all products of one a.
void multiply_columns(const SideBySide &all, Range range, int worker) {
  const Matmul &first = all.products[0];
  const Pieces depth = depth_of(first), down(first.M, M_BLOCK, PRODUCT_ROWS);
  const bool packs_a = first.trans_a || range.length >= PACK_A_FROM;
  float *packed = xl::scratch(worker, B_FLOATS, SLOT_B);
  for (int64_t i = 0; i < depth.count; i++) {
    const Range k = depth[i];
    all.within(range, [&](const Matmul &p, Range columns, int64_t at) {
      float *to = packed + at * k.length;
      if (p.blocks_of_b) return pack_blocks(to, *p.blocks_of_b, columns, k);
      pack_columns(to, corner_of_b(p, columns.begin, k.begin), p.ldb, p.trans_b, columns.length, k.length);
    });
    for (int64_t r = 0; r < down.count; r++) {
      const Matmul *last = nullptr;
      const float *panels = nullptr;
      all.within(range, [&](const Matmul &p, Range columns, int64_t at) {
        Product block = block_of(p, down[r], columns, k, packed + at * k.length);
        if (!packs_a) return product_packed(block, steps_of(p, k));
        if (!last || last->a != p.a || last->lda != p.lda) panels = panels_of(p, block, worker);
        last = &p;
        block.a = panels;
        product_panels(block, steps_of(p, k));
      });
    }
  }
  all.within(range, [&](const Matmul &p, Range columns, int64_t) {
    apply_activation(p, 0, p.M, columns.begin, columns.length);
  });
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

}  // namespace

void matmul_blocked_in_task(const Matmul &p, int worker) {
  const Pieces across(p.N, IN_TASK_COLUMNS, PRODUCT_COLUMNS);
  for (int64_t c = 0; c < across.count; c++) multiply_columns({&p, 1}, across[c], worker);
}

int64_t columns_apart(const Matmul *products, int64_t count) {
  const SideBySide all{products, count};
  const int64_t threads = xl::threads(), width = all.width();
  if (threads == 1 || 2 * width < products[0].M) return 0;
  for (int64_t pieces = TASKS_PER_THREAD * threads; pieces >= threads; pieces /= 2) {
    if (width / pieces < LEAST_APART) continue;
    const Pieces across(width, min_of(ceil_div(width, pieces), IN_TASK_COLUMNS), W);
    if (8 * width >= 7 * ceil_div(across.count, threads) * threads * across.size) return across.size;
  }
  return 0;
}

int matmul_apart(const Matmul *products, int64_t count, int64_t columns) {
  const SideBySide all{products, count};
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const Pieces across(all.width(), columns, W);
  parallel_for(across.count, [&](int64_t task, int worker) { multiply_columns(all, across[task], worker); });
  return XL_OK;
}

int64_t parts_of_k(const Matmul &p) {
  if (p.bias || p.activation != XL_ACT_NONE || p.M * p.N > MOST_OF_C || p.K < 2 * LEAST_K) return 1;
  return min_of(p.K / LEAST_K, MOST_PARTS);
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

int matmul_of_blocks(const Matmul &p) {
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const int64_t wanted = ceil_div(p.N, TASKS_PER_THREAD * xl::threads());
  const Pieces across(p.N, max_of(96, min_of(wanted, IN_TASK_COLUMNS)), PRODUCT_COLUMNS);
  parallel_for(across.count, [&](int64_t task, int worker) { multiply_columns({&p, 1}, across[task], worker); });
  return XL_OK;
}

}  // namespace XL_NS
