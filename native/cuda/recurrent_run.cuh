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
#include "recurrent_grid.cuh"

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

// Bytes of the counters of a group of blocks, and of all groups: at most eight blocks of 256 threads run on a
// multiprocessor.
constexpr size_t group_counters = GRID_WARPS * GRID_COUNTER * sizeof(unsigned);
inline size_t grid_counters(const RecurrentShape &s) {
  return group_counters * size_t(ceil_div(8 * multiprocessors(), s.DH / GRID_UNITS));
}

template <int N>
using Constant = std::integral_constant<int, N>;

// body(KB): blocks of a cluster.
template <class Body>
int with_cluster(const RecurrentShape &s, Body body) {
  if (s.DH <= 64) return body(Constant<2>());
  if (s.DH <= 128) return body(Constant<4>());
  if (s.DH <= 192) return body(Constant<6>());
  return body(Constant<8>());
}

// The matrix in the registers of the whole device: DH a multiple of 8, up to 1024, and a group of blocks that fits.
inline bool fits_grid(const RecurrentShape &s) {
  return s.DH % 8 == 0 && s.DH <= 1024 && s.DH / GRID_UNITS <= multiprocessors() && s.B > 0 && s.T > 0;
}

// body(KW, NB).
template <class Body>
int with_grid(const RecurrentShape &s, Body body) {
  auto with_tile = [&](auto KW) { return s.B <= 16 ? body(KW, Constant<2>()) : body(KW, Constant<4>()); };
  if (s.DH <= 256) return with_tile(Constant<1>());
  if (s.DH <= 512) return with_tile(Constant<2>());
  if (s.DH <= 768) return with_tile(Constant<3>());
  return with_tile(Constant<4>());
}

// As many groups of blocks as run at once take the jobs in turn; `counters` are for grid_counters().
template <class Kernel, class Arguments>
int launch_grid(const char *name, Kernel kernel, Arguments arguments, int NB, unsigned bytes, unsigned *counters) {
  const RecurrentShape &s = arguments.s;
  GridPlan plan = {int(s.DH / GRID_UNITS), 0, s.NH * ceil_div(s.B, 8 * NB)};
  int resident = 0;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, GRID_THREADS, bytes);
  const int64_t groups = int64_t(resident) * multiprocessors() / plan.blocks;
  plan.groups = int(groups < plan.jobs ? groups : plan.jobs);
  cudaMemsetAsync(counters, 0, group_counters * size_t(plan.groups), stream());
  void *list[] = {&arguments, &plan, &counters};
  cudaLaunchCooperativeKernel((const void *)kernel, dim3(unsigned(plan.groups * plan.blocks)), dim3(GRID_THREADS), list,
                              bytes, stream());
  return launched(name);
}

template <class Cell, class Storage>
int run_forward(const char *name, const RecurrentForward<Storage> &a) {
  const RecurrentShape &s = a.s;
  if (const int status = check_recurrent(name, s)) return status;
  if (s.B == 0) return XL_OK;
  if constexpr (std::is_same_v<Storage, bf16>)
    if (aligned({a.h, a.gates[0], a.gates[1], a.gates[2], a.gates[3], a.recurrent})) {
      if (fits_cluster(s))
        return with_cluster(s, [&](auto KB) {
          return launch_cluster(name, cluster_forward<Cell, KB()>, a, KB(), s.NH * ceil_div(s.B, CLUSTER_TILE),
                                ForwardMemory<KB()>::bytes);
        });
      if (fits_grid(s)) {
        auto *counters = static_cast<unsigned *>(scratch(int64_t(grid_counters(s))));
        if (!counters) return XL_OUT_OF_MEMORY;
        return with_grid(s, [&](auto KW, auto NB) {
          return launch_grid(name, grid_forward<Cell, KW(), NB()>, a, NB(), grid_forward_bytes<NB()>, counters);
        });
      }
    }
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
  bool fast = false;
  if constexpr (std::is_same_v<Storage, bf16>)
    fast = (fits_cluster(s) || fits_grid(s)) &&
           aligned({a.dgates[0], a.dgates[1], a.dgates[2], a.dgates[3], a.dh, a.h, a.saved});
  int64_t tiles = ceil_div(s.B, TILE), bytes = 0;
  GeneralPlan plan = {};
  if (!fast) {
    plan = plan_general(s, 2 * GATES + Cell::CARRIED, bytes);
    plan.groups = general_groups(general_backward<Cell, Storage>, plan, bytes);
    if (plan.groups < 1) return fail(XL_INVALID, "%s: DH=%lld is too large for this device", name, (long long)s.DH);
  }
  const GradientPlan product = fast ? plan_gradient(s, GRADIENT_SIDE, GRADIENT_STEP) : plan_gradient(s, 64, 16);
  Pieces pieces;
  const int64_t heads = s.NH * s.DH;
  const int64_t rows = pieces.add(s.B * s.T * GATES * heads * int64_t(sizeof(Storage)));
  const int64_t first = pieces.add(s.B * heads * int64_t(sizeof(Storage))),
                bias = pieces.add(4 * tiles * GATES * heads);
  const int64_t parts = pieces.add(4 * product.splits * s.NH * s.matrix_floats());
  const int64_t exchange = pieces.add(4 * 2 * TILE * plan.padded * plan.blocks * plan.groups);
  const int64_t counts = pieces.add(fast ? int64_t(grid_counters(s)) : 4 * plan.groups);
  if (!pieces.take()) return XL_OUT_OF_MEMORY;
  a.rows = pieces.at<Storage>(rows);
  a.first = pieces.at<Storage>(first);
  a.bias_parts = pieces.at<float>(bias);
  float *const sums = pieces.at<float>(parts);
  unsigned *const counters = pieces.at<unsigned>(counts);
  int status;
  if constexpr (std::is_same_v<Storage, bf16>)
    if (fast) {
      if (fits_cluster(s))
        status = with_cluster(s, [&](auto KB) {
          return launch_cluster(name, cluster_backward<Cell, KB()>, a, KB(), s.NH * tiles,
                                BackwardMemory<Cell, KB()>::bytes);
        });
      else
        status = with_grid(s, [&](auto KW, auto NB) {
          tiles = ceil_div(s.B, 8 * NB());
          return launch_grid(name, grid_backward<Cell, KW(), NB()>, a, NB(), grid_backward_bytes<NB()>, counters);
        });
      if (status) return status;
      cudaFuncSetAttribute(gradient_product_tensor, cudaFuncAttributeMaxDynamicSharedMemorySize, int(gradient_bytes));
      const dim3 grid(unsigned(ceil_div(GATES * s.DH, GRADIENT_SIDE)), unsigned(ceil_div(s.DH, GRADIENT_SIDE)),
                      unsigned(s.NH * product.splits));
      gradient_product_tensor<<<grid, 256, gradient_bytes, stream()>>>(a, product, sums);
      if ((status = launched(name))) return status;
      return add_parts<true>(name, a.drecurrent, a.dbias, sums, a.bias_parts, s, product.splits, tiles);
    }
  cudaMemsetAsync(counters, 0, size_t(4 * plan.groups), stream());
  status = launch_general(name, general_backward<Cell, Storage>, a, plan, bytes, pieces.at<float>(exchange), counters);
  if (status || s.T == 0) return status;
  const dim3 grid(unsigned(ceil_div(GATES * s.DH, 64)), unsigned(ceil_div(s.DH, 64)), unsigned(s.NH * product.splits));
  gradient_product<Storage><<<grid, 256, 0, stream()>>>(a, product, sums);
  if ((status = launched(name))) return status;
  return add_parts<false>(name, a.drecurrent, a.dbias, sums, a.bias_parts, s, product.splits, tiles);
}

}  // namespace xl
#endif
