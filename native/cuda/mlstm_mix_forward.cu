// The kernels for h of the mLSTM on tensor cores.
#include "mlstm_mix_launch.cuh"

namespace xl {
namespace mlstm {

XL_MLSTM_WIDTHS(FORWARD)

}  // namespace mlstm
}  // namespace xl
