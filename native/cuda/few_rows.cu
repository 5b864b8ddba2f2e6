// y = x weight^T for up to 16 rows of float32 and several bfloat16 matrices of one input, with the RMS norm before and
// soft caps, residuals or the gated activation behind: the products of a decoding step.
//
// Bound by reading the weights once, 2 bytes each. Operations per weight: three bfloat16 parts of x (8 of its 24 bits
// each) go through the tensor cores, 6 N, with mma.sync at a quarter of its rate for N = 16. Splitting x takes about 5.5
// instructions per number and warp, x comes from the caches: 2 N / 64 bytes per byte of weights.
//
// A cluster of blocks has 64 rows of the weights and a share of the columns each; within a block two groups of four warps
// have 32 rows, and the warps of a group take 64 columns in turn: 16 bytes per lane and row, two whole lines per warp and
// row. So the order of columns within a product's 16 is that in which a lane reads them, the same for x. The factor rstd
// of the norm is taken out of the sum: squares are summed on the way. At the end the blocks add up what the others have, in
// a fixed order. Before it waits for the kernel before, a block asks for the beginning of its weights, so that the memory
// does not rest between kernels.
#include "few_rows.h"

#include <algorithm>

#include "activation.cuh"
#include "overlap.cuh"
#include "ptx.cuh"
#include "reduce.cuh"

namespace xl {
namespace {

constexpr int ROWS = 64, THREADS = 256, GROUPS = 4, STEP = FEW_ROWS_STEP;
constexpr int PITCH = ROWS + 4;        // of partial sums, so that the stores of a warp lie in different banks
constexpr unsigned AHEAD = 1024;       // bytes of each row that are asked for ahead
constexpr int64_t SHARE = 128 * 1024;  // bytes of weights per block that the columns are cut for
constexpr int FLOAT_ROWS = 8;          // rows of a float32 matrix that a cluster has

// The three parts of two numbers.
__device__ inline void split(float a, float b, unsigned (&parts)[3]) {
#pragma unroll
  for (int p = 0; p < 3; p++) {
    parts[p] = pack(a, b);
    a -= low_half(parts[p]);
    b -= high_half(parts[p]);
  }
}

// What the blocks of a cluster leave for each other.
template <int NT>
struct Partial {
  float sums[GROUPS][8 * NT][PITCH];
  float squares[GROUPS][8 * NT];
};

__device__ inline unsigned rank_in_cluster() {
#if __CUDA_ARCH__ >= 900
  return cluster_rank();
#else
  return 0;
#endif
}
__device__ inline void join_cluster() {
#if __CUDA_ARCH__ >= 900
  cluster_barrier();
#else
  __syncthreads();
#endif
}

// The sum over all groups of all blocks of what they have at `mine`, STRIDE numbers apart.
__device__ inline float sum_of_cluster(const float *mine, int stride, int cluster) {
  float sum = 0;
  for (int c = 0; c < cluster; c++)
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
#if __CUDA_ARCH__ >= 900
      sum += load_remote(remote_address(shared_address(mine + g * stride), unsigned(c)));
#else
      sum += mine[g * stride];
#endif
    }
  return sum;
}

__device__ inline uint4 load_weights(const bf16 *p) { return __ldcs(reinterpret_cast<const uint4 *>(p)); }

// The columns of one warp's share: acc += 32 rows of weights times x, squares += those of x.
template <int NT, bool NORM>
__device__ inline void accumulate(float (&acc)[2][NT][4], float (&squares)[NT], const FewRows &p,
                                  const bf16 *const (&rows)[4], int step, int end) {
  const int n = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 8;
  uint4 bits[2][4], next[2][4];
  auto read = [&](uint4 (&to)[2][4], int at) {
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int r = 0; r < 4; r++) to[half][r] = load_weights(rows[r] + int64_t(at) * STEP + 32 * half + column);
  };
  if (step < end) read(bits, step);
  for (; step < end; step += GROUPS) {
    if (step + GROUPS < end) read(next, step + GROUPS);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int64_t k = int64_t(step) * STEP + 32 * half + column;
      Lanes<8> weight;
      if constexpr (NORM) weight = p.norm.offset + load<8>(p.norm.weight + k);
#pragma unroll
      for (int t = 0; t < NT; t++) {
        Lanes<8> x = splat<8>(0);
        if (8 * t + n < p.N) x = load<8>(p.x + (8 * t + n) * p.K + k);
        if constexpr (NORM) {
#pragma unroll
          for (int l = 0; l < 8; l++) squares[t] += x[l] * x[l];
          x = x * weight;
        }
#pragma unroll
        for (int pair = 0; pair < 2; pair++) {
          unsigned first[3], second[3];
          split(x[4 * pair], x[4 * pair + 1], first);
          split(x[4 * pair + 2], x[4 * pair + 3], second);
#pragma unroll
          for (int m = 0; m < 2; m++) {
            const uint4 &low = bits[half][2 * m], &high = bits[half][2 * m + 1];
            const unsigned a[4] = {pair ? low.z : low.x, pair ? high.z : high.x, pair ? low.w : low.y,
                                   pair ? high.w : high.y};
#pragma unroll
            for (int part = 2; part >= 0; part--) multiply_add(acc[m][t], a, first[part], second[part]);
          }
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int r = 0; r < 4; r++) bits[half][r] = next[half][r];
  }
}

// What follows y[n,o].
__device__ inline void finish(const FewRowsMatrix &m, int64_t at, float y) {
  m.y[at] = y;
  if (m.z) m.z[at] = m.cap > 0 ? m.cap * tanhf(y / m.cap) : y + m.other[at];
}

// FLOAT_ROWS rows of a float32 matrix: a warp has one output at a time.
template <bool NORM>
__device__ inline void float_rows(const FewRows &p, const FewRowsMatrix &m, int64_t first, int rank, int cluster) {
  const int lane = threadIdx.x % 32;
  const int count = int((m.O - first < FLOAT_ROWS ? m.O - first : FLOAT_ROWS) * p.N);
  for (int index = rank * (THREADS / 32) + threadIdx.x / 32; index < count; index += cluster * (THREADS / 32)) {
    const int64_t n = index % p.N, o = first + index / p.N;
    const float *x = p.x + n * p.K, *weight = static_cast<const float *>(m.weight) + o * p.K;
    float sum = 0, squares = 0;
#pragma unroll 4
    for (int64_t k = 4 * lane; k < p.K; k += 128) {
      const Lanes<4> a = load<4>(x + k), w = load<4>(weight + k);
      const Lanes<4> b = NORM ? a * (p.norm.offset + load<4>(p.norm.weight + k)) : a;
#pragma unroll
      for (int l = 0; l < 4; l++) {
        sum += w[l] * b[l];
        squares += a[l] * a[l];
      }
    }
    sum = warp_sum(sum);
    if constexpr (NORM) sum *= 1.0f / sqrtf(warp_sum(squares) / float(p.K) + p.norm.eps);
    if (lane == 0) finish(m, n * m.O + o, sum + (m.bias ? m.bias[o] : 0.0f));
  }
}

// A unit of work is a cluster: 64 rows of a matrix, or 32 of two with a gate, or FLOAT_ROWS of a float32 one.
template <int NT, bool NORM>
__global__ void __launch_bounds__(THREADS, 2) few_rows_kernel(const FewRows p, int cluster) {
  __shared__ Partial<NT> partial;
  const int rank = int(rank_in_cluster()), unit = int(blockIdx.x) / cluster;
  int index = 0;
  while (index + 1 < p.count && unit >= p.matrices[index + 1].first_unit) index++;
  const FewRowsMatrix &matrix = p.matrices[index];
  if (matrix.is_float) {
    wait_for_previous();
    let_next_begin();
    return float_rows<NORM>(p, matrix, int64_t(unit - matrix.first_unit) * FLOAT_ROWS, rank, cluster);
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, half = warp % 2, group = warp / 2;
  // With a gate both halves have the same rows of two matrices.
  const FewRowsMatrix &own = p.gated ? p.matrices[half] : matrix;
  const int rows_of_half = p.gated ? ROWS / 2 : ROWS;
  const int64_t base = int64_t(unit - matrix.first_unit) * rows_of_half;
  const int steps = int(p.K / STEP), begin = int(int64_t(steps) * rank / cluster),
            end = int(int64_t(steps) * (rank + 1) / cluster);
  auto row = [&](const FewRowsMatrix &of, int64_t r) {
    return static_cast<const bf16 *>(of.weight) + (r < of.O ? r : of.O - 1) * p.K;
  };
  if (threadIdx.x < ROWS && begin < end) {
    const int r = threadIdx.x;
    const bf16 *of = p.gated ? row(p.matrices[r / 32], base + r % 32) : row(matrix, base + r);
    const unsigned bytes = unsigned(end - begin) * STEP * 2;
    prefetch(of + int64_t(begin) * STEP, bytes < AHEAD ? bytes : AHEAD);
  }
  wait_for_previous();
  let_next_begin();

  const bf16 *rows[4];
#pragma unroll
  for (int r = 0; r < 4; r++) rows[r] = row(own, base + (p.gated ? 0 : 32 * half) + 8 * r + lane / 4);
  float acc[2][NT][4] = {}, squares[NT] = {};
  accumulate<NT, NORM>(acc, squares, p, rows, begin + group, end);
#pragma unroll
  for (int t = 0; t < NT; t++) {
    const int n = 8 * t + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        partial.sums[group][n + e % 2][32 * half + 16 * m + 8 * (e / 2) + lane / 4] = acc[m][t][e];
    if constexpr (NORM) {
      float sum = squares[t];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (half == 0 && lane % 4 == 0) partial.squares[group][8 * t + lane / 4] = sum;
    }
  }
  join_cluster();

  auto rstd_of = [&](int n) {
    if constexpr (!NORM) return 1.0f;
    return 1.0f / sqrtf(sum_of_cluster(&partial.squares[0][n], 8 * NT, cluster) / float(p.K) + p.norm.eps);
  };
  auto sum_at = [&](int n, int r) { return sum_of_cluster(&partial.sums[0][n][r], 8 * NT * PITCH, cluster); };
  const int mine = rows_of_half / cluster;
  for (int i = threadIdx.x; i < mine * int(p.N); i += THREADS) {
    const int n = i / mine, r = rank * mine + i % mine;
    const int64_t o = base + r;
    if (o >= matrix.O) continue;
    const float rstd = rstd_of(n), y = sum_at(n, r) * rstd + (matrix.bias ? matrix.bias[o] : 0.0f);
    const int64_t at = n * matrix.O + o;
    finish(matrix, at, y);
    if (p.gated) {
      const FewRowsMatrix &other = p.matrices[1];
      const float up = sum_at(n, 32 + r) * rstd + (other.bias ? other.bias[o] : 0.0f);
      finish(other, at, up);
      p.gated[at] = activate(Lanes<1>{y}, p.activation)[0] * up;
    }
  }
  // The first unit keeps what the norm is.
  if constexpr (NORM) {
    if (base == 0 && index == p.norm_matrix) {
      const int width = (end - begin) * STEP;
      for (int n = 0; n < p.N; n++) {
        const float rstd = rstd_of(n);
        for (int i = threadIdx.x; i < width; i += THREADS) {
          const int64_t k = int64_t(begin) * STEP + i;
          p.norm.y[n * p.K + k] = p.x[n * p.K + k] * rstd * (p.norm.offset + p.norm.weight[k]);
        }
        if (threadIdx.x == 0 && rank == 0) p.norm.rstd[n] = rstd;
      }
    }
  }
  join_cluster();  // nobody leaves while others read here
}

// How many blocks share the columns.
int cluster_of(const FewRows &p, int units) {
  if (compute_capability() < 90) return 1;
  int cluster = 1;
  while (cluster < 8 && (units * cluster < 2 * multiprocessors() || ROWS * 2 * p.K / cluster > SHARE)) cluster *= 2;
  return cluster;
}

}  // namespace

int few_rows(FewRows &p) {
  // What is small comes first, so that nothing waits for it at the end.
  std::stable_partition(p.matrices, p.matrices + p.count, [](const FewRowsMatrix &m) { return m.is_float; });
  int units = 0;
  for (int m = 0; m < p.count; m++) {
    FewRowsMatrix &matrix = p.matrices[m];
    matrix.first_unit = units;
    // With a gate the units of matrix 0 have both.
    if (p.gated && m == 1) break;
    units += int(ceil_div(matrix.O, matrix.is_float ? FLOAT_ROWS : p.gated ? ROWS / 2 : ROWS));
  }
  p.norm_matrix = 0;
  while (p.matrices[p.norm_matrix].is_float) p.norm_matrix++;
  const int cluster = cluster_of(p, units);
  auto run = [&](auto kernel) { launch_overlapped(kernel, dim3(unsigned(units * cluster)), THREADS, cluster, p, cluster); };
  if (p.N <= 8)
    p.norm.weight ? run(few_rows_kernel<1, true>) : run(few_rows_kernel<1, false>);
  else
    p.norm.weight ? run(few_rows_kernel<2, true>) : run(few_rows_kernel<2, false>);
  return launched("linear_packed");
}

}  // namespace xl
