// Which products may run beside each other: products.h.
#include "products.h"

#include "packed_rows.h"

namespace xl {
namespace {

// Memory from its first byte to its last, with the gaps between rows.
struct Extent {
  uintptr_t begin, end;
};

template <class T>
Extent extent_of(const T *p, int64_t rows, int64_t step, int64_t columns) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p);
  if (p == nullptr || rows <= 0 || columns <= 0) return {begin, begin};
  return {begin, begin + uintptr_t((rows - 1) * step + columns) * sizeof(T)};
}

bool overlap(Extent x, Extent y) { return x.begin < y.end && y.begin < x.end; }

Extent written(const MatmulCall &p) { return extent_of(p.c, p.M, p.ldc, p.N); }

bool reads(const MatmulCall &p, Extent memory) {
  const Extent a = p.trans_a ? extent_of(p.a, p.K, p.lda, p.M) : extent_of(p.a, p.M, p.lda, p.K);
  const Extent b = p.trans_b ? extent_of(p.b, p.N, p.ldb, p.K) : extent_of(p.b, p.K, p.ldb, p.N);
  return overlap(a, memory) || overlap(b, memory) || overlap(extent_of(p.bias, 1, 0, p.N), memory);
}

bool is_alike(const MatmulCall &p, const MatmulCall &q) {
  return p.M == q.M && p.K == q.K && p.trans_a == q.trans_a;
}

Extent written(const PackedCall &p) { return extent_of(p.y, p.N, p.O, p.O); }

bool reads(const PackedCall &p, Extent memory) {
  const int64_t row_bytes = layout_of_row(p.format, p.I, p.group).bytes;
  return overlap(extent_of(p.x, p.N, p.I, p.I), memory) ||
         overlap(extent_of(p.weight, p.O, row_bytes, row_bytes), memory) ||
         overlap(extent_of(p.bias, 1, 0, p.O), memory);
}

bool is_alike(const PackedCall &p, const PackedCall &q) {
  return p.x == q.x && p.N == q.N && p.I == q.I && p.format == q.format && p.group == q.group;
}

template <class Call>
bool may_run_beside(const Call *calls, int64_t count, const Call &next) {
  if (count >= most_side_by_side) return false;
  const Extent memory = written(next);
  for (int64_t i = 0; i < count; i++) {
    const Call &p = calls[i];
    if (!is_alike(p, next)) return false;
    if (overlap(written(p), memory) || reads(p, memory) || reads(next, written(p))) return false;
  }
  return true;
}

}  // namespace

bool runs_beside(const MatmulCall *products, int64_t count, const MatmulCall &next) {
  return may_run_beside(products, count, next);
}

bool runs_beside(const PackedCall *maps, int64_t count, const PackedCall &next) {
  return may_run_beside(maps, count, next);
}

}  // namespace xl
