// Layer norm and RMS norm over the last axis of [N,G,D], forward and backward, for one kind of storage: see norms.cu.
#ifndef XL_CUDA_NORMS_CUH
#define XL_CUDA_NORMS_CUH
#include <type_traits>

#include "activation.cuh"
#include "deferred.h"
#include "overlap.cuh"
#include "reduce.cuh"

namespace xl {

// The threads that share a row: a warp of a block of eight, or a block of 256. A thread has K vectors of V columns in
// registers; with K = 0 rows of any width are read again for each pass.
template <int TEAM>
struct Team {
  static constexpr int per_block = 256 / TEAM;
  static __device__ int rank() { return threadIdx.x % TEAM; }
  static __device__ int index() { return threadIdx.x / TEAM; }
  static __device__ float sum(float x, float *room) {
    if constexpr (TEAM == 32)
      return warp_sum(x);
    else
      return block_sum<TEAM>(x, room);
  }
};

template <class T, bool LAYER>
struct NormForward {
  T *y;
  float *mean, *rstd;
  const T *x;
  const float *weight, *bias;
  int64_t rows, G, D;
  float eps, offset;
  // Or null: gated = activation(gate) * y.
  T *gated = nullptr;
  const T *gate = nullptr;
  int activation = 0;
};

template <class T, bool LAYER, int TEAM, int V, int K>
__global__ void __launch_bounds__(256) norm_forward_kernel(const NormForward<T, LAYER> p) {
  __shared__ float room[8];
  using Group = Team<TEAM>;
  wait_for_previous();
  let_next_begin();
  const int64_t row = int64_t(blockIdx.x) * Group::per_block + Group::index();
  if (row >= p.rows) return;
  const T *x = p.x + row * p.D;
  T *y = p.y + row * p.D;
  const float *weight = p.weight + row % p.G * p.D;
  const float *bias = p.bias ? p.bias + row % p.G * p.D : nullptr;
  const float inverse = 1.0f / float(p.D);
  Lanes<V> kept[K > 0 ? K : 1];
  // f(vector, its column, its index) for the columns of this thread.
  auto columns = [&](auto f) {
    if constexpr (K > 0) {
#pragma unroll
      for (int k = 0; k < K; k++) {
        const int64_t d = (int64_t(k) * TEAM + Group::rank()) * V;
        if (d < p.D) f(kept[k], d);
      }
    } else {
      for (int64_t d = Group::rank() * V; d < p.D; d += TEAM * V) {
        kept[0] = load<V>(x + d);
        f(kept[0], d);
      }
    }
  };
  if constexpr (K > 0) columns([&](Lanes<V> &lanes, int64_t d) { lanes = load<V>(x + d); });
  float mean = 0;
  if constexpr (LAYER) {
    float sum = 0;
    columns([&](Lanes<V> &lanes, int64_t) {
#pragma unroll
      for (int l = 0; l < V; l++) sum += lanes[l];
    });
    mean = Group::sum(sum, room) * inverse;
  }
  float squares = 0;
  columns([&](Lanes<V> &lanes, int64_t) {
#pragma unroll
    for (int l = 0; l < V; l++) squares += (lanes[l] - mean) * (lanes[l] - mean);
  });
  const float rstd = 1.0f / sqrtf(Group::sum(squares, room) * inverse + p.eps);
  columns([&](Lanes<V> &lanes, int64_t d) {
    Lanes<V> out = (lanes - mean) * rstd * (p.offset + load<V>(weight + d));
    if (bias) out = out + load<V>(bias + d);
    store(y + d, out);
    if (p.gated) {
      const int64_t at = row * p.D + d;
      store(p.gated + at, activate<sizeof(T) == 2>(load<V>(p.gate + at), p.activation) * out);
    }
  });
  if (Group::rank() == 0) {
    if (LAYER) p.mean[row] = mean;
    p.rstd[row] = rstd;
  }
}

template <class T, bool LAYER>
struct NormBackward {
  T *dx;
  float *dweight, *dbias;  // partial sums: [parts, G, D] each
  const T *dy, *x;
  const float *weight, *mean, *rstd;
  int64_t N, G, D;
  float offset;
  bool is_zero = false;  // dx, so that it need not be read
};

// norm = (x - mean) * rstd;  y = norm * (offset + weight) + bias. A block has rows of one group g, its teams in turn, and
// keeps the sums over them of dy * norm and dy; K = 0 leaves these sums to another kernel.
template <class T, bool LAYER, int TEAM, int V, int K>
__global__ void __launch_bounds__(256, 2) norm_backward_kernel(const NormBackward<T, LAYER> p) {
  using Group = Team<TEAM>;
  __shared__ float room[8];
  const int64_t g = blockIdx.y, stride = int64_t(gridDim.x) * Group::per_block;
  const float *weight = p.weight + g * p.D;
  const float inverse = 1.0f / float(p.D);
  constexpr int REGISTERS = K > 0 ? K : 1;
  Lanes<V> dweight[REGISTERS], dbias[REGISTERS];
  Stored<V, T> inputs[REGISTERS], cotangents[REGISTERS];
#pragma unroll
  for (int k = 0; k < REGISTERS; k++) dweight[k] = dbias[k] = splat<V>(0);
  for (int64_t n = int64_t(blockIdx.x) * Group::per_block + Group::index(); n < p.N; n += stride) {
    const int64_t row = n * p.G + g;
    const T *x = p.x + row * p.D, *dy = p.dy + row * p.D;
    T *dx = p.dx + row * p.D;
    const float mean = LAYER ? p.mean[row] : 0.0f, rstd = p.rstd[row];
    // f(x, dy, column, index)
    auto columns = [&](auto f) {
      if constexpr (K > 0) {
#pragma unroll
        for (int k = 0; k < K; k++) {
          const int64_t d = (int64_t(k) * TEAM + Group::rank()) * V;
          if (d < p.D) f(inputs[k], cotangents[k], d, k);
        }
      } else {
        for (int64_t d = Group::rank() * V; d < p.D; d += TEAM * V) {
          inputs[0].read(x + d);
          cotangents[0].read(dy + d);
          f(inputs[0], cotangents[0], d, 0);
        }
      }
    };
    if constexpr (K > 0)
      columns([&](Stored<V, T> &input, Stored<V, T> &cotangent, int64_t d, int) {
        input.read(x + d);
        cotangent.read(dy + d);
      });
    float sum = 0, dot = 0;
    columns([&](const Stored<V, T> &input, const Stored<V, T> &cotangent, int64_t d, int) {
      const Lanes<V> norm = (input.lanes() - mean) * rstd;
      const Lanes<V> dnorm = cotangent.lanes() * (p.offset + load<V>(weight + d));
#pragma unroll
      for (int l = 0; l < V; l++) {
        sum += dnorm[l];
        dot += dnorm[l] * norm[l];
      }
    });
    const float mean_dnorm = LAYER ? Group::sum(sum, room) * inverse : 0.0f;
    const float mean_dot = Group::sum(dot, room) * inverse;
    columns([&](const Stored<V, T> &input, const Stored<V, T> &cotangent, int64_t d, int k) {
      const Lanes<V> g = cotangent.lanes(), norm = (input.lanes() - mean) * rstd;
      const Lanes<V> dnorm = g * (p.offset + load<V>(weight + d));
      add(dx + d, (dnorm - mean_dnorm - norm * mean_dot) * rstd, p.is_zero);
      if constexpr (K > 0) {
        dweight[k] = dweight[k] + g * norm;
        if (LAYER) dbias[k] = dbias[k] + g;
      }
    });
  }
  if constexpr (K > 0) {
    // The teams of a block add up in order, through shared memory.
    __shared__ alignas(16) float rows[Group::per_block == 1 ? 4 : 32 * V * K];
#pragma unroll
    for (int which = 0; which < (LAYER ? 2 : 1); which++) {
      float *to = (which == 0 ? p.dweight : p.dbias) + (blockIdx.x * p.G + g) * p.D;
      Lanes<V> *mine = which == 0 ? dweight : dbias;
      for (int team = 0; team < Group::per_block; team++) {
        if (Group::index() == team) {
#pragma unroll
          for (int k = 0; k < K; k++) {
            const int column = (k * TEAM + Group::rank()) * V;
            Lanes<V> sum = mine[k];
            if (team > 0) sum = load<V>(rows + column) + sum;
            if (team < Group::per_block - 1)
              store(rows + column, sum);
            else if (column < p.D)
              store(to + column, sum);
          }
        }
        if (Group::per_block > 1) __syncthreads();
      }
    }
  }
}

// The sums over rows of dy * norm and of dy for any width: a thread has one column (g, d) of some rows.
template <class T, bool LAYER>
__global__ void __launch_bounds__(128) norm_weight_kernel(const NormBackward<T, LAYER> p, int64_t rows) {
  const int64_t width = p.G * p.D, column = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (column >= width) return;
  const int64_t g = column / p.D, begin = blockIdx.y * rows, end = begin + rows < p.N ? begin + rows : p.N;
  float dweight = 0, dbias = 0;
  for (int64_t n = begin; n < end; n++) {
    const int64_t row = n * p.G + g;
    const float mean = LAYER ? p.mean[row] : 0.0f, dy = load(p.dy + n * width + column);
    dweight += dy * ((load(p.x + n * width + column) - mean) * p.rstd[row]);
    dbias += dy;
  }
  p.dweight[blockIdx.y * width + column] = dweight;
  if (LAYER) p.dbias[blockIdx.y * width + column] = dbias;
}

// Calls f with the team and the vectors per thread for rows of D: <32, 1|2|4> or <256, 1|2|4>, or <., 0> where columns
// do not come in vectors or the row is wider.
template <int V, class F>
int for_width(int64_t D, bool aligned, F f) {
  using std::integral_constant;
  constexpr integral_constant<int, 32> warp{};
  constexpr integral_constant<int, 256> block{};
  constexpr integral_constant<int, V> vector{};
  constexpr integral_constant<int, 1> single{};
  if (!aligned || D % V != 0) {
    if (D <= 512) return f(warp, single, integral_constant<int, 0>{});
    return f(block, single, integral_constant<int, 0>{});
  }
  const int64_t vectors = D / V;
  if (vectors <= 32) return f(warp, vector, integral_constant<int, 1>{});
  if (vectors <= 64) return f(warp, vector, integral_constant<int, 2>{});
  if (vectors <= 128) return f(warp, vector, integral_constant<int, 4>{});
  if (vectors <= 256) return f(block, vector, integral_constant<int, 1>{});
  if (vectors <= 512) return f(block, vector, integral_constant<int, 2>{});
  if (vectors <= 1024) return f(block, vector, integral_constant<int, 4>{});
  return f(block, vector, integral_constant<int, 0>{});
}

template <class T, bool LAYER>
int norm_forward(const char *name, const NormForward<T, LAYER> &p) {
  if (p.rows <= 0 || p.D <= 0) return XL_OK;
  return for_width<lanes_of<T>>(p.D, is_aligned(p.y, p.x, p.weight, p.bias, p.gated, p.gate), [&](auto team, auto v, auto k) {
    const int64_t blocks = ceil_div(p.rows, 256 / team);
    launch_overlapped(norm_forward_kernel<T, LAYER, team, v, k>, dim3(unsigned(blocks)), 256, 0, 1, p);
    return launched(name);
  });
}

template <class T, bool LAYER>
int norm_backward(const char *name, NormBackward<T, LAYER> p) {
  if (p.N <= 0 || p.G <= 0 || p.D <= 0) return XL_OK;
  float *const dweight = p.dweight, *const dbias = p.dbias;
  const int64_t width = p.G * p.D;
  p.is_zero = claim_zeros(p.dx, int64_t(sizeof(T)) * p.N * width);
  return for_width<lanes_of<T>>(p.D, is_aligned(p.dx, p.dy, p.x, p.weight), [&](auto team, auto v, auto k) {
    constexpr int rows_per_block = 256 / team;
    const int64_t wanted = ceil_div(1024, p.G), most = ceil_div(p.N, rows_per_block);
    const int64_t blocks = wanted < most ? wanted : most, rows = ceil_div(p.N, wanted);
    const int64_t parts = k > 0 ? blocks : ceil_div(p.N, rows);
    p.dweight = static_cast<float *>(scratch(8 * parts * width));
    if (!p.dweight) return int(XL_OUT_OF_MEMORY);
    p.dbias = p.dweight + parts * width;
    norm_backward_kernel<T, LAYER, team, v, k>
        <<<dim3(unsigned(blocks), unsigned(p.G)), 256, 0, stream()>>>(p);
    if constexpr (k == 0)
      norm_weight_kernel<T, LAYER>
          <<<dim3(unsigned(ceil_div(width, 128)), unsigned(parts)), 128, 0, stream()>>>(p, rows);
    if (int status = add_partials(name, dweight, p.dweight, parts, width)) return status;
    return LAYER && dbias ? add_partials(name, dbias, p.dbias, parts, width) : int(XL_OK);
  });
}

}  // namespace xl
#endif
