// What the elementwise scans share: a task takes a block of channels of one row of the batch through the whole sequence,
// with vectors along the channels. What a step does is in selective_scan.cpp, wkv.cpp and scan.cpp.
#ifndef XL_CPU_CHANNELS_H
#define XL_CPU_CHANNELS_H
#include "reduce.h"
#include "tile.h"

namespace XL_NS {
namespace {

constexpr int VECTORS = 4;  // of channels, worked on together: their chains of operations are independent
constexpr int64_t BLOCK = int64_t(VECTORS) * W;  // channels
constexpr int64_t STEPS = 32;                    // between two states that are kept: SCAN_STEPS of the contract

// Channels d .. d+BLOCK-1 of D, in row b of the batch.
struct Channels {
  int64_t b, d, D;

  // Vector v of a row of D channels; lanes beyond D are zero and not stored.
  XL_INLINE vf load(const float *row, int v) const {
    const int64_t at = d + v * W;
    return at + W <= D ? XL_NS::load(row + at) : load_part(row + min_of(at, D), max_of(D - at, 0));
  }
  XL_INLINE void store(float *row, int v, vf x) const {
    const int64_t at = d + v * W;
    if (at + W <= D) return XL_NS::store(row + at, x);
    if (at < D) store_part(row + at, x, D - at);
  }
  XL_INLINE void add(float *row, int v, vf x) const { store(row, v, load(row, v) + x); }
};

inline int64_t channel_blocks(int64_t D) { return ceil_div(D, BLOCK); }

inline int check_channels(const char *kernel, int64_t B, int64_t T, int64_t D) {
  if (B >= 0 && T >= 0 && D >= 1) return XL_OK;
  return xl::fail(XL_INVALID, "%s: B and T must not be negative and D must be positive, got B=%lld T=%lld D=%lld",
                  kernel, (long long)B, (long long)T, (long long)D);
}

// Whether each worker has `floats` of working memory.
inline bool reserve_scratch(int64_t floats) {
  for (int worker = 0; worker < xl::threads(); worker++)
    if (!xl::scratch(worker, floats)) return false;
  return true;
}

}  // namespace
}  // namespace XL_NS
#endif
