// Sums over rows that are the same bits for any number of threads: the rows are cut into blocks by their number alone,
// each block has its own partial sums, and these are added in the order of the blocks.
#ifndef XL_CPU_REDUCE_H
#define XL_CPU_REDUCE_H
#include "lanes.h"

namespace XL_NS {
namespace {

struct RowBlocks {
  int64_t rows;    // all of them
  int64_t height;  // rows of a block; the last may be shorter
  int64_t count;

  int64_t begin(int64_t block) const { return block * height; }
  int64_t end(int64_t block) const { return min_of(rows, (block + 1) * height); }
};

// At most 64 blocks, none of them below `least` rows unless it is the only one.
inline RowBlocks row_blocks(int64_t rows, int64_t least) {
  int64_t height = max_of(max_of(least, 1), ceil_div(rows, 64));
  return {rows, height, ceil_div(rows, height)};
}

// out[d] += sum over blocks of partials[block * stride + d], for d in 0..D-1.
inline void add_partials(float *out, const float *partials, int64_t blocks, int64_t stride, int64_t D) {
  parallel_lanes(D, compute_grain, [&](int64_t d, auto lanes) {
    vf sum = lanes.load(partials + d);
    for (int64_t block = 1; block < blocks; block++) sum += lanes.load(partials + block * stride + d);
    lanes.store(out + d, lanes.load(out + d) + sum);
  });
}

inline int out_of_scratch(const char *kernel, int64_t floats) {
  return xl::fail(XL_OUT_OF_MEMORY, "%s: no memory for %lld floats of working space; use a smaller batch", kernel,
                  (long long)floats);
}

}  // namespace
}  // namespace XL_NS
#endif
