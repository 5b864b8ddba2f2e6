// Matrix products in which a thread works by itself: on columns of its own, or on a part of k.
#include <optional>

#include "lanes.h"
#include "matmul_blocks.h"
#include "reduce.h"

namespace XL_NS {
namespace {

// Columns that a thread packs by itself, more where op(a), packed anew for each range of them, takes longer; rows that it
// multiplies with them, so that it pays though other threads pack them too; and rows of a piece of work.
constexpr int64_t LEAST_APART = 128, LEAST_OF_COLUMNS = 256, LEAST_ROWS = 128, LEAST_IN_PIECE = 24;
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

// Some blocks of k of a range of columns, packed by the thread that multiplies with them; what is packed stays in its
// caches. A block of rows takes up all of these blocks while it is in the cache, and is not fetched once more for each:
// another thread may have written there before, whose cache is far. On an EPYC that took up to a fifth of the time.
class PackedRange {
 public:
  // Blocks begin .. end - 1 of `depth` in B_FLOATS of `worker`.
  PackedRange(const SideBySide &all, Range range, const Pieces &depth, int64_t begin, int64_t end, int worker)
      : all(all), range(range), depth(depth), begin(begin), end(end), worker(worker),
        packed(xl::scratch(worker, B_FLOATS, SLOT_B)) {
    for (int64_t i = begin; i < end; i++) pack(block(i), depth[i]);
  }

  void multiply(Range rows) const {
    for (int64_t i = begin; i < end; i++) multiply(rows, depth[i], block(i));
    if (end < depth.count) return;
    all.within(range, [&](const Matmul &p, Range columns, int64_t) {
      apply_activation(p, rows.begin, rows.length, columns.begin, columns.length);
    });
  }

 private:
  float *block(int64_t i) const { return packed + (i - begin) * round_up(range.length, W) * depth.size; }

  void pack(float *to, Range k) const {
    all.within(range, [&](const Matmul &p, Range columns, int64_t at) {
      if (p.blocks_of_b) return pack_blocks(to + at * k.length, *p.blocks_of_b, columns, k);
      pack_columns(to + at * k.length, corner_of_b(p, columns.begin, k.begin), p.ldb, p.trans_b, columns.length,
                   k.length);
    });
  }

  // A block of op(a) is packed once for all products of one a.
  void multiply(Range rows, Range k, const float *b) const {
    const bool packs_a = all.products[0].trans_a || range.length >= PACK_A_FROM;
    const Matmul *last = nullptr;
    const float *panels = nullptr;
    all.within(range, [&](const Matmul &p, Range columns, int64_t at) {
      Product block = block_of(p, rows, columns, k, b + at * k.length);
      if (!packs_a) return product_packed(block, steps_of(p, k));
      if (!last || last->a != p.a || last->lda != p.lda) panels = panels_of(p, block, worker);
      last = &p;
      block.a = panels;
      product_panels(block, steps_of(p, k));
    });
  }

  const SideBySide &all;
  const Range range;
  const Pieces &depth;
  const int64_t begin, end;
  const int worker;
  float *const packed;
};

// All rows of at most IN_TASK_COLUMNS columns: as many blocks of k at a time as there is memory for.
void multiply_columns(const SideBySide &all, Range range, int worker) {
  const Matmul &first = all.products[0];
  const Pieces depth = depth_of(first), down(first.M, M_BLOCK, PRODUCT_ROWS);
  const int64_t at_once = max_of(1, B_FLOATS / (round_up(range.length, W) * depth.size));
  for (int64_t begin = 0; begin < depth.count; begin += at_once) {
    const PackedRange packed(all, range, depth, begin, min_of(begin + at_once, depth.count), worker);
    for (int64_t r = 0; r < down.count; r++) packed.multiply(down[r]);
  }
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

Apart cut_apart(const Matmul *products, int64_t count) {
  const int64_t threads = xl::threads(), width = SideBySide{products, count}.width();
  const Matmul &first = products[0];
  const Pieces depth = depth_of(first);
  const int64_t most = min_of(IN_TASK_COLUMNS, B_FLOATS / (depth.count * depth.size) / W * W);
  const int64_t least = first.trans_a ? LEAST_OF_COLUMNS : LEAST_APART;
  if (threads == 1 || first.M * first.K * width < threads * TASK_FMAS || most < least) return {0, 0};
  int64_t ranges = round_up(ceil_div(width, most), threads);
  if (width < ranges * least) ranges = max_of(ceil_div(width, most), width / least);
  if (first.M * ranges < threads * LEAST_ROWS && ranges < threads) return {0, 0};
  int64_t rows = M_BLOCK;
  while (rows > LEAST_IN_PIECE && ranges * ceil_div(first.M, rows) < TASKS_PER_THREAD * threads) rows /= 2;
  return {ceil_div(width, ranges), rows};
}

int matmul_apart(const Matmul *products, int64_t count, const Apart &cut) {
  const SideBySide all{products, count};
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const Pieces depth = depth_of(products[0]);
  const Pieces across(all.width(), cut.columns, W), down(products[0].M, cut.rows, PRODUCT_ROWS);
  const auto work = [&](const auto &next, int worker) {
    std::optional<PackedRange> packed;
    int64_t range = -1;
    for (int64_t piece; (piece = next()) >= 0;) {
      if (piece / down.count != range) {
        range = piece / down.count;
        packed.emplace(all, across[range], depth, 0, depth.count, worker);
      }
      packed->multiply(down[piece % down.count]);
    }
  };
  parallel_spans(across.count * down.count, work, [](int, int64_t) {});
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
