// Which kernel of mlstm_mix_launch.cuh a product of the mLSTM takes, and for which sizes there is one.
#include "mlstm_mix_launch.cuh"

namespace xl {
namespace mlstm {

template <>
int launch_width<FORWARD>(int, bool, const Shape &, const Gates &, const Mix<bf16> &, int);
template <>
int launch_width<QUERY>(int, bool, const Shape &, const Gates &, const Mix<bf16> &, int);
template <>
int launch_width<KEY>(int, bool, const Shape &, const Gates &, const Mix<bf16> &, int);
template <>
int launch_width<VALUE>(int, bool, const Shape &, const Gates &, const Mix<bf16> &, int);

namespace {

// Shared memory that a block may have.
int shared_limit() {
  static const int limit = [] {
    int device = 0, bytes = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return bytes;
  }();
  return limit;
}

// Warpgroup products exist on compute capability 9.x alone.
bool hopper() { return compute_capability() / 10 == 9; }

int slots(bool warpgroups, int64_t DA, int width, bool transposed, int limit) {
  return warpgroups ? WgmmaLayout(int(DA), width, transposed, limit).slots
                    : MixLayout(int(DA), width, transposed, limit).slots;
}

// What a block takes, so that two fit a multiprocessor where the registers allow it and two slots are left to each.
int block_limit(bool warpgroups, int64_t DA, int width, bool transposed) {
  const int half = (shared_limit() - 1024) / 2;
  return width <= 64 && slots(warpgroups, DA, width, transposed, half) >= 2 ? half : shared_limit();
}

bool fits(int64_t DA, int64_t DO, bool transposed) {
  return slots(hopper(), DA, mix_width(DO), transposed, shared_limit()) >= 2;
}

template <Mode mode>
int run(const Shape &s, const Gates &g, const Mix<bf16> &mix) {
  constexpr bool transposed = mode == QUERY || mode == KEY;
  const int width = mix_width(transposed ? s.DK : s.DV);
  const int limit = block_limit(hopper(), transposed ? s.DV : s.DK, width, transposed);
  return launch_width<mode>(width, hopper(), s, g, mix, limit);
}

}  // namespace

// Least work: a slice of columns costs its own width and the scores.
int mix_width(int64_t D) {
  int best = 64;
  for (const int width : {96, 128, 192, 256})
    if (ceil_div(D, width) * (width + 64) < ceil_div(D, best) * (best + 64)) best = width;
  return best;
}

int mma_slices(int64_t D) { return int(ceil_div(D, mix_width(D))); }

bool mma_fits(const Shape &s) {
  return s.T > 0 && compute_capability() >= 80 && s.DK % 16 == 0 && s.DV % 16 == 0 && fits(s.DK, s.DV, false) &&
         fits(s.DV, s.DK, true);
}

// Longer chunks leave fewer states to memory, shorter ones fewer scores to compute.
int mma_chunk(const Shape &s) { return s.DK * s.DV >= 32768 && s.T > 128 ? 256 : 128; }

int run_mix_mma(Mode mode, const Shape &s, const Gates &g, const Mix<bf16> &mix) {
  switch (mode) {
    case FORWARD:
      return run<FORWARD>(s, g, mix);
    case SUMS:
      return launch_mix<SUMS, 64>(s, g, mix, block_limit(false, s.DK, 64, false));
    case QUERY:
      return run<QUERY>(s, g, mix);
    case KEY:
      return run<KEY>(s, g, mix);
    default:
      return run<VALUE>(s, g, mix);
  }
}

}  // namespace mlstm
}  // namespace xl
