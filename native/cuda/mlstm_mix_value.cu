// The kernels for dv of the mLSTM on tensor cores.
#include "mlstm_mix_launch.cuh"

namespace xl {
namespace mlstm {

XL_MLSTM_WIDTHS(VALUE)

}  // namespace mlstm
}  // namespace xl
