// Kernels for dv of the mLSTM on tensor cores; mlstm_mix_mma.cuh and mlstm_mix_wgmma.cuh say how. A file of its own so that modes compile side by side.
#include "mlstm_mix_wgmma.cuh"

namespace xl {
namespace mlstm {

XL_MLSTM_WIDTHS(VALUE)

}  // namespace mlstm
}  // namespace xl
