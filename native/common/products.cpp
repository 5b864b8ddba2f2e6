// Which products may run beside each other: products.h.
#include "products.h"

namespace xl {
namespace {

// Memory from its first float to its last, with the gaps between rows.
struct Extent {
  uintptr_t begin, end;
};

Extent extent_of(const float *p, int64_t rows, int64_t step, int64_t columns) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p);
  if (p == nullptr || rows <= 0 || columns <= 0) return {begin, begin};
  return {begin, begin + uintptr_t((rows - 1) * step + columns) * sizeof(float)};
}

bool overlap(Extent x, Extent y) { return x.begin < y.end && y.begin < x.end; }

Extent written(const MatmulCall &p) { return extent_of(p.c, p.M, p.ldc, p.N); }

bool reads(const MatmulCall &p, Extent memory) {
  const Extent a = p.trans_a ? extent_of(p.a, p.K, p.lda, p.M) : extent_of(p.a, p.M, p.lda, p.K);
  const Extent b = p.trans_b ? extent_of(p.b, p.N, p.ldb, p.K) : extent_of(p.b, p.K, p.ldb, p.N);
  return overlap(a, memory) || overlap(b, memory) || overlap(extent_of(p.bias, 1, 0, p.N), memory);
}

}  // namespace

bool runs_beside(const MatmulCall *products, int64_t count, const MatmulCall &next) {
  if (count >= most_side_by_side) return false;
  const Extent c = written(next);
  for (int64_t i = 0; i < count; i++) {
    const MatmulCall &p = products[i];
    if (p.M != next.M || p.K != next.K || p.trans_a != next.trans_a) return false;
    if (overlap(written(p), c) || reads(p, c) || reads(next, written(p))) return false;
  }
  return true;
}

}  // namespace xl
