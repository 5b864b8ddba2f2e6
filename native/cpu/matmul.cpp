// The matrix product: choice of the path by shape, blocking for the caches, packing, threads.
// The arithmetic is in product.cpp and dot.cpp.
//
// Blocking: k runs in blocks of K_BLOCK. Of each, op(b) is packed by all threads into strips that the inner product
// reads front to back; then each task adds to a block of C, up to [M_BLOCK, N_BLOCK], from a block of op(a) that it
// packs into panels, one per tile of rows. That block and the strip that is at work (M_BLOCK and a few vectors by K_BLOCK)
// stay in L2. K_BLOCK is large because each block of k loads and stores C once more, which costs more than reading the
// strip from L2 instead of L1; with vectors of 16 it is the other way round, by a twentieth of the time [a Xeon with AMX].
// Several threads do so only where it does not pay that each packs for itself (matmul_apart.cpp).
#include "activation.h"
#include "lanes.h"
#include "matmul_blocks.h"
#include "reduce.h"

namespace XL_NS {
namespace {

constexpr int64_t N_BLOCK = 1056;      // whole strips
constexpr int64_t PACK_COLUMNS = 256;  // of b at a time, at most
constexpr int64_t IN_PLACE_DEPTH = 256;
constexpr int64_t IN_PLACE_ROWS = 32, IN_PLACE_FLOATS = 8192;  // of c, of b
constexpr int64_t TASK_FLOATS = 1 << 18;  // so much of b to read is worth a task, too

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

bool is_empty(const Matmul &p) { return p.M <= 0 || p.N <= 0; }

// Whether packing b would cost more than it saves: few rows of C, or all of b in L1. Few columns fill no vector; they are summed along k.
// Measured; the borders are flat.
bool best_in_place(const Matmul &p) {
  if (p.K <= 0) return true;
  if (p.trans_b || (!p.trans_a && p.N <= DOT_COLUMNS && p.M > 16)) return false;
  return p.M <= IN_PLACE_ROWS || (p.M <= 256 && p.N * p.K <= IN_PLACE_FLOATS);
}

int check_matmul(const xl::MatmulCall &p) {
  const auto wrong = [](const char *name, int64_t value, const char *least_name, int64_t least) {
    return xl::fail(XL_INVALID, "matmul: %s must be at least %s = %lld, got %lld", name, least_name, (long long)least,
                    (long long)value);
  };
  if (p.M < 0 || p.N < 0 || p.K < 0)
    return xl::fail(XL_INVALID, "matmul: M, N and K must not be negative, got %lld, %lld and %lld", (long long)p.M,
                    (long long)p.N, (long long)p.K);
  if (p.lda < (p.trans_a ? p.M : p.K)) return wrong("lda", p.lda, p.trans_a ? "M" : "K", p.trans_a ? p.M : p.K);
  if (p.ldb < (p.trans_b ? p.K : p.N)) return wrong("ldb", p.ldb, p.trans_b ? "K" : "N", p.trans_b ? p.K : p.N);
  if (p.ldc < p.N) return wrong("ldc", p.ldc, "N", p.N);
  if (p.activation < XL_ACT_NONE || p.activation > XL_ACT_SINE) return no_such_activation("matmul", p.activation);
  if (p.accumulate && p.activation != XL_ACT_NONE)
    return xl::fail(XL_INVALID, "matmul: with accumulate the activation must be none (0), got %d", (int)p.activation);
  return XL_OK;
}

bool best_as_dots(const Matmul &p) {
  return (p.trans_b && p.M <= DOT_ROWS) || (!p.trans_a && p.N <= DOT_COLUMNS);
}

// How a product is computed.
enum class Way { NOTHING, OF_BLOCKS, IN_PLACE, DOTS, BY_DEPTH, BLOCKS };

Way way_of(const Matmul &p) {
  if (is_empty(p)) return Way::NOTHING;
  if (p.blocks_of_b) return Way::OF_BLOCKS;
  if (best_in_place(p)) return Way::IN_PLACE;
  if (best_as_dots(p)) return Way::DOTS;
  return parts_of_k(p) > 1 ? Way::BY_DEPTH : Way::BLOCKS;
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
  switch (way_of(p)) {
    case Way::NOTHING: return XL_OK;
    case Way::OF_BLOCKS: return matmul_of_blocks(p);
    case Way::IN_PLACE: return matmul_in_place(p);
    case Way::DOTS: return matmul_dot(p);
    case Way::BY_DEPTH: return matmul_by_depth(p, parts_of_k(p));
    case Way::BLOCKS: break;
  }
  const Apart cut = cut_apart(&p, 1);
  return cut.columns > 0 ? matmul_apart(&p, 1, cut) : matmul_blocked(p);
}

int matmul_side_by_side(const Matmul *products, int64_t count) {
  Matmul together[xl::most_side_by_side];
  int64_t joined = 0;
  for (int64_t i = 0; i < count; i++) {
    if (way_of(products[i]) == Way::BLOCKS) {
      together[joined++] = products[i];
    } else if (const int status = matmul(products[i])) {
      return status;
    }
  }
  const Apart cut = joined > 1 ? cut_apart(together, joined) : Apart{};
  if (cut.columns > 0) return matmul_apart(together, joined, cut);
  for (int64_t i = 0; i < joined; i++)
    if (const int status = matmul(together[i])) return status;
  return XL_OK;
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

extern "C" int XL_KERNEL(xl_matmul_side_by_side)(const xl::MatmulCall *calls, int64_t count) {
  Matmul products[xl::most_side_by_side];
  for (int64_t i = 0; i < count; i++) {
    const xl::MatmulCall &p = calls[i];
    if (const int status = check_matmul(p)) return status;
    products[i] = {p.c, p.a, p.b, p.bias, p.M, p.N, p.K, p.trans_a != 0, p.trans_b != 0, p.lda, p.ldb, p.ldc,
                   p.accumulate != 0, p.activation};
  }
  return matmul_side_by_side(products, count);
}

extern "C" int XL_KERNEL(xl_matmul)(float *c, const float *a, const float *b, const float *bias, int64_t M, int64_t N,
                                    int64_t K, int32_t trans_a, int32_t trans_b, int64_t lda, int64_t ldb, int64_t ldc,
                                    int32_t accumulate, int32_t activation) {
  const xl::MatmulCall call = {c, a, b, bias, M, N, K, trans_a, trans_b, lda, ldb, ldc, accumulate, activation};
  return XL_KERNEL(xl_matmul_side_by_side)(&call, 1);
}
