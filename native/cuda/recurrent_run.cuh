// Which kernels a call of sLSTM or LSTM takes, and their workspace. Clusters: bf16, DH a multiple of 8 up to 256,
// compute capability 9.0 and up; anything else is general.
#ifndef XL_CUDA_RECURRENT_RUN_CUH
#define XL_CUDA_RECURRENT_RUN_CUH
#include <initializer_list>
#include <type_traits>

#include "recurrent_cluster.cuh"
#include "recurrent_cluster_backward.cuh"
#include "recurrent_general.cuh"
#include "recurrent_gradient.cuh"

namespace xl {

// Workspace in pieces of 256 bytes.
struct Pieces {
  int64_t bytes = 0;
  char *base = nullptr;
  int64_t add(int64_t size) {
    const int64_t at = bytes;
    bytes += round_up(size, 256);
    return at;
  }
  bool take() { return (base = static_cast<char *>(scratch(bytes))) != nullptr; }
  template <class T>
  T *at(int64_t offset) const {
    return reinterpret_cast<T *>(base + offset);
  }
};

inline bool aligned(std::initializer_list<const void *> pointers) {
  for (const void *p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16) return false;
  return true;
}

inline bool fits_cluster(const RecurrentShape &s) {
  return compute_capability() >= 90 && s.DH % 8 == 0 && s.DH <= 256 && s.B > 0 && s.T > 0;
}

// Tiles of 8 sequences are fastest while all their clusters run at once; else tiles of 16.
inline int cluster_tile(const RecurrentShape &s, int KB) {
  return s.B <= 8 || s.NH * ceil_div(s.B, 8) * KB <= multiprocessors() * 4 / 5 ? 1 : 2;
}

template <class Body>
int with_cluster(const RecurrentShape &s, Body body) {
  auto with_tile = [&](auto KB) {
    return cluster_tile(s, KB()) == 1 ? body(KB, std::integral_constant<int, 1>()) : body(KB, std::integral_constant<int, 2>());
  };
  if (s.DH <= 64) return with_tile(std::integral_constant<int, 2>());
  if (s.DH <= 128) return with_tile(std::integral_constant<int, 4>());
  if (s.DH <= 192) return with_tile(std::integral_constant<int, 6>());
  return with_tile(std::integral_constant<int, 8>());
}

template <class Cell, class Storage>
int run_forward(const char *name, const RecurrentForward<Storage> &a) {
  const RecurrentShape &s = a.s;
  if (const int status = check_recurrent(name, s)) return status;
  if (s.B == 0) return XL_OK;
  if constexpr (std::is_same_v<Storage, bf16>)
    if (fits_cluster(s) && aligned({a.h, a.gates[0], a.gates[1], a.gates[2], a.gates[3], a.recurrent}))
      return with_cluster(s, [&](auto KB, auto NB) {
        return launch_cluster(name, cluster_forward<Cell, KB(), NB()>, a, KB(), s.NH * ceil_div(s.B, 8 * NB()),
                              ForwardMemory<KB(), NB()>::bytes);
      });
  int64_t bytes;
  GeneralPlan plan = plan_general(s, GATES + Cell::STATES, bytes);
  plan.groups = general_groups(general_forward<Cell, Storage>, plan, bytes);
  if (plan.groups < 1) return fail(XL_INVALID, "%s: DH=%lld is too large for this device", name, (long long)s.DH);
  Pieces pieces;
  const int64_t exchange = pieces.add(4 * 2 * TILE * plan.padded * plan.groups), counters = pieces.add(4 * plan.groups);
  if (!pieces.take()) return XL_OUT_OF_MEMORY;
  cudaMemsetAsync(pieces.at<void>(counters), 0, size_t(4 * plan.groups), stream());
  return launch_general(name, general_forward<Cell, Storage>, a, plan, bytes, pieces.at<float>(exchange),
                        pieces.at<unsigned>(counters));
}

template <class Cell, class Storage>
int run_backward(const char *name, RecurrentBackward<Storage> a) {
  const RecurrentShape &s = a.s;
  if (const int status = check_recurrent(name, s)) return status;
  if (s.B == 0) return XL_OK;
  bool cluster = false;
  if constexpr (std::is_same_v<Storage, bf16>)
    cluster = fits_cluster(s) && aligned({a.dgates[0], a.dgates[1], a.dgates[2], a.dgates[3], a.dh, a.h, a.saved});
  int64_t tiles = ceil_div(s.B, TILE), bytes = 0;
  GeneralPlan plan = {};
  if (!cluster) {
    plan = plan_general(s, 2 * GATES + Cell::CARRIED, bytes);
    plan.groups = general_groups(general_backward<Cell, Storage>, plan, bytes);
    if (plan.groups < 1) return fail(XL_INVALID, "%s: DH=%lld is too large for this device", name, (long long)s.DH);
  }
  const GradientPlan product = cluster ? plan_gradient(s, GRADIENT_SIDE, GRADIENT_STEP) : plan_gradient(s, 64, 16);
  Pieces pieces;
  const int64_t heads = s.NH * s.DH;
  const int64_t rows = pieces.add(s.B * s.T * GATES * heads * int64_t(sizeof(Storage)));
  const int64_t first = pieces.add(s.B * heads * int64_t(sizeof(Storage))), bias = pieces.add(4 * tiles * GATES * heads);
  const int64_t parts = pieces.add(4 * product.splits * s.NH * s.matrix_floats());
  const int64_t exchange = pieces.add(4 * 2 * TILE * plan.padded * plan.blocks * plan.groups);
  const int64_t counters = pieces.add(4 * plan.groups);
  if (!pieces.take()) return XL_OUT_OF_MEMORY;
  a.rows = pieces.at<Storage>(rows);
  a.first = pieces.at<Storage>(first);
  a.bias_parts = pieces.at<float>(bias);
  int status;
  if constexpr (std::is_same_v<Storage, bf16>)
    if (cluster) {
      status = with_cluster(s, [&](auto KB, auto NB) {
        tiles = ceil_div(s.B, 8 * NB());
        return launch_cluster(name, cluster_backward<Cell, KB(), NB()>, a, KB(), s.NH * tiles,
                              BackwardMemory<Cell, KB(), NB()>::bytes);
      });
      if (status) return status;
      cudaFuncSetAttribute(gradient_product_tensor, cudaFuncAttributeMaxDynamicSharedMemorySize, int(gradient_bytes));
      const dim3 grid(unsigned(ceil_div(GATES * s.DH, GRADIENT_SIDE)), unsigned(ceil_div(s.DH, GRADIENT_SIDE)),
                      unsigned(s.NH * product.splits));
      gradient_product_tensor<<<grid, 256, gradient_bytes, stream()>>>(a, product, pieces.at<float>(parts));
      if ((status = launched(name))) return status;
      return add_parts<true>(name, a.drecurrent, a.dbias, pieces.at<float>(parts), a.bias_parts, s, product.splits, tiles);
    }
  cudaMemsetAsync(pieces.at<void>(counters), 0, size_t(4 * plan.groups), stream());
  status = launch_general(name, general_backward<Cell, Storage>, a, plan, bytes, pieces.at<float>(exchange),
                          pieces.at<unsigned>(counters));
  if (status || s.T == 0) return status;
  const dim3 grid(unsigned(ceil_div(GATES * s.DH, 64)), unsigned(ceil_div(s.DH, 64)), unsigned(s.NH * product.splits));
  gradient_product<Storage><<<grid, 256, 0, stream()>>>(a, product, pieces.at<float>(parts));
  if ((status = launched(name))) return status;
  return add_parts<false>(name, a.drecurrent, a.dbias, pieces.at<float>(parts), a.bias_parts, s, product.splits, tiles);
}

}  // namespace xl
#endif
