// y = x weight^T for up to 16 rows of float32 and several bfloat16 matrices of one input, with the RMS norm before and
// soft caps, residuals or the gated activation behind: the products of a decoding step.
//
// Bound by reading the weights once, 2 bytes each. Operations per weight: three bfloat16 parts of x (8 of its 24 bits
// each) go through the tensor cores, 6 N, a quarter of the rate of mma.sync for N = 16. Splitting x takes about 5.5
// instructions per number and warp; x comes from the L2 cache, N / 16 bytes per byte of weights.
//
// A unit of work is 16 rows of a matrix for up to 8 rows of x, else 32, so that x is read less often; half as many of each
// of two matrices with a gate. Two blocks per multiprocessor take units in turn; each warp has some columns of each row,
// and a ring of stages of 4 KB of its own, filled by asynchronous copies across the borders of units, so that warps wait
// for nobody until they sum up, and the weights keep coming meanwhile. A lane reads 16 bytes of a row, so the order of
// columns within a product's 16 is that in which it reads them, the same for x. The factor rstd of the norm is taken out
// of the sum: squares are summed on the way. The warps' sums are added in a fixed order. A block fills its rings before
// it waits for the kernel before (which never writes weights: overlap.cuh), so that the memory does not rest between
// kernels. (Asking the L2 cache for more than that was slower: 5.7 to 6.0 ms a token of xLSTM-7B instead of 5.6.)
#include "few_rows.h"

#include <algorithm>

#include "activation.cuh"
#include "overlap.cuh"
#include "ptx.cuh"
#include "reduce.cuh"

namespace xl {
namespace {

constexpr int THREADS = 256, WARPS = THREADS / 32, PER_MULTIPROCESSOR = 2;
constexpr int STAGE = 4096;       // bytes
constexpr int SLOTS = WARPS / 2;  // of sums
constexpr int FLOAT_ROWS = 2;     // rows of a float32 matrix that a block has

// What a unit is for NT times 8 rows of x.
template <int NT>
struct Form {
  static constexpr int ROWS = 16 * NT, HALF = ROWS / 2, COLUMNS = STAGE / 2 / ROWS;  // of a warp's stage
  static constexpr int WIDTH = COLUMNS * WARPS, PITCH = 2 * COLUMNS;                 // PITCH in bytes
  static constexpr int STAGES = NT == 1 ? 3 : 2;  // with less shared memory more of x stays in the L1 cache
  static constexpr int PARTS = COLUMNS / 32;  // 32 columns, of which a lane has 8
  static constexpr bool MAY_END = COLUMNS > FEW_ROWS_STEP;  // whether the last columns of a stage may not be there
  static constexpr int CHAINS = 3 - NT;       // of products that are added to one another, which takes time
  using Sums = float[CHAINS][NT][NT][4];
  // Where 16 bytes of a row lie in a stage: in odd rows neighbouring groups of four change places, so that the two rows
  // that eight lanes read at once lie in all banks.
  static __device__ int place_of(int row, int chunk) { return row * PITCH + (chunk ^ (row & 1) << 2) * 16; }
};

template <int NT>
struct Shared {
  unsigned char ring[WARPS][Form<NT>::STAGES][STAGE];
  float sums[SLOTS][8 * NT][Form<NT>::ROWS + 4];  // so that the stores of a warp take all banks
  float squares[WARPS][8 * NT];
};

// Where a unit lies.
struct Unit {
  int matrix;
  int64_t base;  // its first row
};

__device__ inline Unit unit_at(const FewRows &p, int unit) {
  int m = 0;
  while (m + 1 < p.count && unit >= p.matrices[m + 1].first_unit) m++;
  return {m, int64_t(unit - p.matrices[m].first_unit) * p.unit_rows};
}

// The three parts of two numbers.
__device__ inline void split(float a, float b, unsigned (&parts)[3]) {
#pragma unroll
  for (int p = 0; p < 3; p++) {
    parts[p] = pack(a, b);
    a -= low_half(parts[p]);
    b -= high_half(parts[p]);
  }
}

// 16 bytes, or zeros where there is nothing to copy.
__device__ inline void copy_16(unsigned to, const void *from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(exists ? 16 : 0) : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Fills a warp's ring: each call asks for the next stage of the block's units, or for nothing behind the last.
template <int NT>
class Filler : Form<NT> {
 public:
  __device__ Filler(const FewRows &p, unsigned ring, int unit, int column)
      : p(p), ring(ring), unit(unit), begin(column), column(column) {
    enter();
  }
  __device__ void next() {
    if (unit < p.units) {
      const unsigned to = ring + slot * STAGE;
#pragma unroll
      for (int j = 0; j < 2 * HALF / AT_ONCE; j++) {
        const int half = j * AT_ONCE / HALF, row = lane / CHUNKS + j * AT_ONCE % HALF;  // within the half
        copy_16(to + place_of(HALF * half + row, lane % CHUNKS),
                halves[half] + int64_t(row < last[half] ? row : last[half]) * p.K + column,
                !Form<NT>::MAY_END || column + lane % CHUNKS * 8 < p.K);
      }
      column += WIDTH;
      if (column >= p.K) {
        unit += int(gridDim.x);
        enter();
      }
    }
    slot = slot + 1 == STAGES ? 0 : slot + 1;
    commit_copies();
  }

 private:
  using Form<NT>::HALF, Form<NT>::STAGES, Form<NT>::WIDTH, Form<NT>::place_of;
  static constexpr int CHUNKS = Form<NT>::COLUMNS / 8, AT_ONCE = 32 / CHUNKS;  // 16 bytes each; rows of one copy of a warp
  const FewRows &p;
  const unsigned ring;
  int unit, slot = 0;
  const int begin, lane = threadIdx.x % 32;
  int column;
  const bf16 *halves[2];  // the first row of each half, at this lane's columns
  int last[2];            // the last row there is of them

  __device__ void enter() {
    column = begin;
    // A warp without columns has nothing to ask for.
    if (begin >= p.K) unit = p.units;
    if (unit >= p.units) return;
    const Unit at = unit_at(p, unit);
    const FewRowsMatrix &m = p.matrices[at.matrix];
    const int rows = int(m.O - at.base < 2 * HALF ? m.O - at.base : 2 * HALF);
    halves[0] = halves[1] = static_cast<const bf16 *>(m.weight) + at.base * p.K + lane % CHUNKS * 8;
    last[0] = last[1] = (rows < HALF ? rows : HALF) - 1;
    if (p.gated) {
      halves[1] = static_cast<const bf16 *>(p.matrices[1].weight) + at.base * p.K + lane % CHUNKS * 8;
    } else if (rows > HALF) {
      halves[1] += HALF * p.K;
      last[1] = rows - HALF - 1;
    }
  }
};

// What a lane has of x and the norm's weights at a stage: 8 of each 32 columns.
template <int NT, bool NORM>
struct Columns {
  static constexpr int PARTS = Form<NT>::PARTS;
  Lanes<8> x[PARTS][NT], weight[PARTS];
  __device__ void read(const FewRows &p, int64_t first) {
    const int n = threadIdx.x % 32 / 4;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      const int64_t column = first + 32 * part + threadIdx.x % 4 * 8;
      const bool exists = !Form<NT>::MAY_END || column < p.K;
      if constexpr (NORM) weight[part] = exists ? load<8>(p.norm.weight + column) : splat<8>(0);
#pragma unroll
      for (int t = 0; t < NT; t++)
        x[part][t] = 8 * t + n < p.N && exists ? load<8>(p.x + (8 * t + n) * p.K + column) : splat<8>(0);
    }
  }
};

// acc += rows of weights in shared memory times x, squares += those of x.
template <int NT, bool NORM>
__device__ inline void accumulate(typename Form<NT>::Sums &acc, float (&squares)[NT], const Columns<NT, NORM> &columns,
                                  float offset, const unsigned char *stage) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int c = 0; c < Form<NT>::PARTS; c++) {
    uint4 bits[2 * NT];
#pragma unroll
    for (int r = 0; r < 2 * NT; r++)
      bits[r] = *reinterpret_cast<const uint4 *>(stage + Form<NT>::place_of(8 * r + lane / 4, 4 * c + lane % 4));
#pragma unroll
    for (int t = 0; t < NT; t++) {
      Lanes<8> x = columns.x[c][t];
      if constexpr (NORM) {
#pragma unroll
        for (int l = 0; l < 8; l++) squares[t] += x[l] * x[l];
        x = x * (offset + columns.weight[c]);
      }
#pragma unroll
      for (int pair = 0; pair < 2; pair++) {
        unsigned first[3], second[3];
        split(x[4 * pair], x[4 * pair + 1], first);
        split(x[4 * pair + 2], x[4 * pair + 3], second);
#pragma unroll
        for (int part = 2; part >= 0; part--)
#pragma unroll
          for (int m = 0; m < NT; m++) {
            const uint4 &low = bits[2 * m], &high = bits[2 * m + 1];
            const unsigned a[4] = {pair ? low.z : low.x, pair ? high.z : high.x, pair ? low.w : low.y,
                                   pair ? high.w : high.y};
            multiply_add(acc[pair % Form<NT>::CHAINS][m][t], a, first[part], second[part]);
          }
      }
    }
  }
}

// What follows y[n,o].
__device__ inline void finish(const FewRowsMatrix &m, int64_t at, float y) {
  m.y[at] = y;
  if (m.z) m.z[at] = m.cap > 0 ? m.cap * tanhf(y / m.cap) : y + m.other[at];
}

template <int NT>
__device__ inline float rstd_of(const FewRows &p, const Shared<NT> &shared, int n) {
  float sum = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) sum += shared.squares[w][n];
  return 1.0f / sqrtf(sum / float(p.K) + p.norm.eps);
}

// The warps' sums of a unit come together: those of the second half of the warps are added to those of the first, and
// these where they are read.
template <int NT, bool NORM>
__device__ inline void finish_unit(const FewRows &p, Shared<NT> &shared, typename Form<NT>::Sums &acc,
                                   float (&squares)[NT], const Unit &unit) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto each = [&](auto f) {
#pragma unroll
    for (int t = 0; t < NT; t++)
#pragma unroll
      for (int m = 0; m < NT; m++)
#pragma unroll
        for (int e = 0; e < 4; e++)
          f(shared.sums[warp % SLOTS][8 * t + lane % 4 * 2 + e % 2][16 * m + 8 * (e / 2) + lane / 4], acc[0][m][t][e]);
  };
  if constexpr (Form<NT>::CHAINS == 2) {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      acc[0][0][0][e] += acc[1][0][0][e];
      acc[1][0][0][e] = 0;
    }
  }
  __syncthreads();  // nobody reads the unit before any more
  if (warp >= SLOTS) each([](float &sum, float own) { sum = own; });
  if constexpr (NORM) {
#pragma unroll
    for (int t = 0; t < NT; t++) {
      squares[t] += __shfl_xor_sync(0xffffffffu, squares[t], 1);
      squares[t] += __shfl_xor_sync(0xffffffffu, squares[t], 2);
      if (lane % 4 == 0) shared.squares[warp][8 * t + lane / 4] = squares[t];
      squares[t] = 0;
    }
  }
  __syncthreads();
  if (warp < SLOTS) each([](float &sum, float own) { sum += own; });
  each([](float &, float &own) { own = 0; });
  __syncthreads();
  const FewRowsMatrix &matrix = p.matrices[unit.matrix];
  const int rows = p.unit_rows;
  auto sum_at = [&](int n, int r) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < SLOTS; w++) sum += shared.sums[w][n][r];
    return sum;
  };
  for (int i = threadIdx.x; i < rows * int(p.N); i += THREADS) {
    const int n = i / rows, r = i % rows;
    const int64_t o = unit.base + r, at = n * matrix.O + o;
    if (o >= matrix.O) continue;
    const float rstd = NORM ? rstd_of(p, shared, n) : 1.0f;
    const float y = sum_at(n, r) * rstd + (matrix.bias ? matrix.bias[o] : 0.0f);
    finish(matrix, at, y);
    if (p.gated) {
      const FewRowsMatrix &other = p.matrices[1];
      const float up = sum_at(n, Form<NT>::HALF + r) * rstd + (other.bias ? other.bias[o] : 0.0f);
      finish(other, at, up);
      p.gated[at] = activate(Lanes<1>{y}, p.activation)[0] * up;
    }
  }
}

// FLOAT_ROWS rows of a float32 matrix: a warp has one output at a time.
template <bool NORM>
__device__ inline void float_rows(const FewRows &p, int unit) {
  const Unit at = unit_at(p, unit);
  const FewRowsMatrix &m = p.matrices[at.matrix];
  const int64_t first = int64_t(unit - m.first_unit) * FLOAT_ROWS;
  const int lane = threadIdx.x % 32;
  const int count = int((m.O - first < FLOAT_ROWS ? m.O - first : FLOAT_ROWS) * p.N);
  for (int index = threadIdx.x / 32; index < count; index += WARPS) {
    const int64_t n = index % p.N, o = first + index / p.N;
    const float *x = p.x + n * p.K, *weight = static_cast<const float *>(m.weight) + o * p.K;
    float sum = 0, squares = 0;
#pragma unroll 8
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

// This block's share of what the norm gives by itself; the sums of squares are those of its last unit.
template <int NT>
__device__ inline void write_norm(const FewRows &p, const Shared<NT> &shared) {
  const int64_t width = ceil_div(p.K, gridDim.x), begin = blockIdx.x * width;
  const int64_t end = begin + width < p.K ? begin + width : p.K;
  for (int n = 0; n < p.N; n++) {
    const float rstd = rstd_of(p, shared, n);
    for (int64_t k = begin + threadIdx.x; k < end; k += THREADS)
      p.norm.y[n * p.K + k] = p.x[n * p.K + k] * rstd * (p.norm.offset + p.norm.weight[k]);
    if (threadIdx.x == 0 && blockIdx.x == 0) p.norm.rstd[n] = rstd;
  }
}

template <int NT, bool NORM>
__global__ void __launch_bounds__(THREADS, PER_MULTIPROCESSOR) few_rows_kernel(const __grid_constant__ FewRows p) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto &shared = *reinterpret_cast<Shared<NT> *>(memory);
  const int warp = threadIdx.x / 32;
  constexpr int COLUMNS = Form<NT>::COLUMNS, STAGES = Form<NT>::STAGES;
  Filler<NT> filler(p, shared_address(shared.ring[warp]), int(blockIdx.x), warp * COLUMNS);
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) filler.next();
  wait_for_previous();
  let_next_begin();

  typename Form<NT>::Sums acc = {};
  float squares[NT] = {};
  int slot = 0;
  for (int unit = int(blockIdx.x); unit < p.units; unit += int(gridDim.x)) {
    for (int64_t first = warp * COLUMNS; first < p.K; first += Form<NT>::WIDTH) {
      Columns<NT, NORM> columns;
      columns.read(p, first);
      wait_for_copies<STAGES - 2>();
      __syncwarp();
      filler.next();
      accumulate<NT, NORM>(acc, squares, columns, p.norm.offset, shared.ring[warp][slot]);
      slot = slot + 1 == STAGES ? 0 : slot + 1;
    }
    finish_unit<NT, NORM>(p, shared, acc, squares, unit_at(p, unit));
  }
  if constexpr (NORM) write_norm(p, shared);
  // Blocks at the end have fewer units.
  for (int unit = int(gridDim.x - 1 - blockIdx.x); unit < p.float_units; unit += int(gridDim.x))
    float_rows<NORM>(p, p.units + unit);
}

template <int NT, bool NORM>
int run(const FewRows &p) {
  const auto kernel = few_rows_kernel<NT, NORM>;
  static bool is_allowed = false;
  if (!is_allowed) {
    is_allowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(sizeof(Shared<NT>))) ==
                 cudaSuccess;
    if (!is_allowed) return launched("linear_packed");
  }
  const int blocks = std::min(p.units, PER_MULTIPROCESSOR * multiprocessors());
  launch_overlapped(kernel, dim3(unsigned(blocks)), THREADS, sizeof(Shared<NT>), 1, p);
  return launched("linear_packed");
}

}  // namespace

int few_rows(FewRows &p) {
  // Those of float32 come last, where blocks have time for them.
  std::stable_partition(p.matrices, p.matrices + p.count, [](const FewRowsMatrix &m) { return !m.is_float; });
  const int rows = p.N <= 8 ? Form<1>::ROWS : Form<2>::ROWS;
  p.unit_rows = p.gated ? rows / 2 : rows;
  int units = 0;
  for (int m = 0; m < p.count; m++) {
    FewRowsMatrix &matrix = p.matrices[m];
    matrix.first_unit = units;
    // With a gate the units of matrix 0 have both.
    if (p.gated && m == 1) break;
    units += int(ceil_div(matrix.O, matrix.is_float ? FLOAT_ROWS : p.unit_rows));
    if (!matrix.is_float) p.units = units;
  }
  p.float_units = units - p.units;
  if (p.N <= 8) return p.norm.weight ? run<1, true>(p) : run<1, false>(p);
  return p.norm.weight ? run<2, true>(p) : run<2, false>(p);
}

}  // namespace xl
