// The kernels for dk of the mLSTM on tensor cores.
#include "mlstm_mix_launch.cuh"

namespace xl {
namespace mlstm {

XL_MLSTM_WIDTHS(KEY)

}  // namespace mlstm
}  // namespace xl
