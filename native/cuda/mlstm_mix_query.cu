// The kernels for dq of the mLSTM on tensor cores.
#include "mlstm_mix_launch.cuh"

namespace xl {
namespace mlstm {

XL_MLSTM_WIDTHS(QUERY)

}  // namespace mlstm
}  // namespace xl
