// Kernels for dk of the mLSTM on tensor cores; mlstm_mix_mma.cuh says how. A file of its own so that modes compile side by side.
#include "mlstm_mix_mma.cuh"

namespace xl {
namespace mlstm {

XL_MLSTM_WIDTHS(KEY)

}  // namespace mlstm
}  // namespace xl
