// Launches of the two kernels for the product of the mLSTM (mlstm_mix_mma.cuh, mlstm_mix_wgmma.cuh). The modes are
// compiled in files of their own, side by side.
#ifndef XL_CUDA_MLSTM_MIX_LAUNCH_CUH
#define XL_CUDA_MLSTM_MIX_LAUNCH_CUH
#include "mlstm_mix_mma.cuh"
#include "mlstm_mix_wgmma.cuh"

namespace xl {
namespace mlstm {

// Columns of a block for results of D columns, and the mode's kernel for so many.
int mix_width(int64_t D);
template <Mode mode>
int launch_width(int width, bool hopper, const Shape &s, const Gates &g, const Mix<bf16> &mix, int limit);

template <Mode mode, int BN>
int launch_mix(const Shape &s, const Gates &g, const Mix<bf16> &mix, int limit) {
  constexpr bool transposed = mode == QUERY || mode == KEY;
  const MixLayout layout(int(transposed ? s.DV : s.DK), mode == SUMS ? 0 : BN, transposed, limit);
  cudaFuncSetAttribute(mix_kernel<mode, BN>, cudaFuncAttributeMaxDynamicSharedMemorySize, layout.bytes());
  const int64_t DO = transposed ? s.DK : s.DV;
  const dim3 grid(mode == SUMS ? 1 : unsigned(ceil_div(DO, BN)), unsigned(s.Tp / mix_rows), unsigned(s.heads));
  mix_kernel<mode, BN><<<grid, mma_threads, layout.bytes(), stream()>>>(s, g, mix, limit);
  return launched("mlstm products (tensor cores)");
}

template <Mode mode, int BN>
int launch_wgmma(const Shape &s, const Gates &g, const Mix<bf16> &mix, int limit) {
  constexpr bool transposed = mode == QUERY || mode == KEY;
  const WgmmaLayout layout(int(transposed ? s.DV : s.DK), BN, transposed, limit);
  cudaFuncSetAttribute(mix_wgmma_kernel<mode, BN>, cudaFuncAttributeMaxDynamicSharedMemorySize, layout.bytes());
  const dim3 grid(unsigned(ceil_div(transposed ? s.DK : s.DV, BN)), unsigned(s.Tp / mix_rows), unsigned(s.heads));
  mix_wgmma_kernel<mode, BN><<<grid, mma_threads, layout.bytes(), stream()>>>(s, g, mix, limit);
  return launched("mlstm products (warpgroups)");
}

template <Mode mode, int BN>
int launch_either(bool hopper, const Shape &s, const Gates &g, const Mix<bf16> &mix, int limit) {
  return hopper ? launch_wgmma<mode, BN>(s, g, mix, limit) : launch_mix<mode, BN>(s, g, mix, limit);
}

#define XL_MLSTM_WIDTHS(MODE)                                                                                       \
  template <>                                                                                                       \
  int launch_width<MODE>(int width, bool hopper, const Shape &s, const Gates &g, const Mix<bf16> &mix, int limit) { \
    if (width == 256) return launch_either<MODE, 256>(hopper, s, g, mix, limit);                                    \
    if (width == 192) return launch_either<MODE, 192>(hopper, s, g, mix, limit);                                    \
    if (width == 128) return launch_either<MODE, 128>(hopper, s, g, mix, limit);                                    \
    if (width == 96) return launch_either<MODE, 96>(hopper, s, g, mix, limit);                                      \
    return launch_either<MODE, 64>(hopper, s, g, mix, limit);                                                       \
  }

}  // namespace mlstm
}  // namespace xl
#endif
