// sLSTM and LSTM over a sequence for any sizes and both storage types, with float32 products.
//
// A group of blocks takes one head of a tile of TILE sequences through all steps in one launch; each block owns a
// slice of the units, with their rows of the recurrent matrix in shared memory where they fit (else they come from the
// second-level cache). Blocks hand on h (forward) or their shares of dh (backward) through device memory, with one
// barrier of the group per step. Measured on an H100, float32, B16, 4 heads of 256: 7.4 us a step, back 10.5 us with
// the product after it. Groups walk over (head, tile) when there are more than fit; all blocks of a group run at once
// (cooperative launch).
#ifndef XL_CUDA_RECURRENT_GENERAL_CUH
#define XL_CUDA_RECURRENT_GENERAL_CUH
#include "recurrent_cell.cuh"

namespace xl {

constexpr int TILE = 8;               // sequences of a task
constexpr int GENERAL_THREADS = 256;  // a warp for each of them

struct GeneralPlan {
  int units, blocks, groups;  // units of a block, blocks of a group
  int64_t jobs, padded;       // (head, tile) pairs; DH rounded up to a float4
  bool in_shared;             // the matrix
  __host__ __device__ int64_t weight_floats() const { return in_shared ? GATES * units * padded : 0; }
};

// All blocks of a group have come here, and see what the others wrote before.
__device__ inline void group_barrier(unsigned *counter, unsigned target) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(counter, 1u);
    unsigned seen;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
    while (int(seen - target) < 0);
  }
  __syncthreads();
}

// The rows [unit][gate][DH] of a block's slice of the matrix.
struct GeneralMatrix {
  const float *rows;
  int64_t unit_stride, gate_stride;
  bool vectors;  // rows may be read by float4

  __device__ const float *row(int unit, int gate) const { return rows + unit * unit_stride + gate * gate_stride; }
  __device__ float4 four(const float *row, int64_t k, int64_t DH) const {
    if (vectors) return *reinterpret_cast<const float4 *>(row + k);
    return make_float4(row[k], k + 1 < DH ? row[k + 1] : 0, k + 2 < DH ? row[k + 2] : 0, k + 3 < DH ? row[k + 3] : 0);
  }
};

__device__ inline GeneralMatrix load_matrix(float *shared, const float *recurrent, const RecurrentShape &s,
                                            const GeneralPlan &plan, int64_t head, int64_t first, int units) {
  const float *from = recurrent + head * s.matrix_floats() + first * s.DH;
  if (!plan.in_shared) return {from, s.DH, s.DH * s.DH, s.DH % 4 == 0};
  for (int64_t e = threadIdx.x; e < int64_t(units) * GATES * plan.padded; e += GENERAL_THREADS) {
    const unsigned padded = unsigned(plan.padded), row = unsigned(e) / padded, k = unsigned(e) % padded;
    shared[e] = k < s.DH ? from[(row % GATES * s.DH + row / GATES) * s.DH + k] : 0;
  }
  return {shared, GATES * plan.padded, plan.padded, true};
}

// acc[0] of lane l becomes the sum of acc[l] over all lanes (HALF = 16): lanes hand each other the half they do not
// keep.
template <int HALF>
__device__ inline void spread_sums(float (&acc)[GATES * TILE], int lane) {
#pragma unroll
  for (int e = 0; e < HALF; e++) {
    const bool upper = lane & HALF;
    const float mine = upper ? acc[e + HALF] : acc[e], other = upper ? acc[e] : acc[e + HALF];
    acc[e] = mine + __shfl_xor_sync(~0u, other, HALF);
  }
  if constexpr (HALF > 1) spread_sums<HALF / 2>(acc, lane);
}

// Lane 8 g + b gets sum_k w[g][k] h[b][k]: the four gates of a unit for the tile.
__device__ inline float unit_product(const GeneralMatrix &matrix, int unit, const float *h, const RecurrentShape &s,
                                     int64_t padded) {
  const int lane = threadIdx.x % 32;
  float acc[GATES * TILE] = {};
  for (int64_t k = 4 * lane; k < padded; k += 128) {
    float4 w[GATES];
#pragma unroll
    for (int g = 0; g < GATES; g++) w[g] = matrix.four(matrix.row(unit, g), k, s.DH);
#pragma unroll
    for (int b = 0; b < TILE; b++) {
      const float4 x = *reinterpret_cast<const float4 *>(h + b * padded + k);
#pragma unroll
      for (int g = 0; g < GATES; g++) {
        float &sum = acc[g * TILE + b];
        sum = fmaf(w[g].x, x.x, sum), sum = fmaf(w[g].y, x.y, sum);
        sum = fmaf(w[g].z, x.z, sum), sum = fmaf(w[g].w, x.w, sum);
      }
    }
  }
  spread_sums<16>(acc, lane);
  return acc[0];
}

template <class Cell, class Storage>
__global__ void __launch_bounds__(GENERAL_THREADS)
    general_forward(RecurrentForward<Storage> a, GeneralPlan plan, float *exchange, unsigned *counters) {
  extern __shared__ float4 memory[];
  const RecurrentShape &s = a.s;
  const int group = blockIdx.x / plan.blocks, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first = int64_t(blockIdx.x % plan.blocks) * plan.units, tiles = ceil_div(s.B, TILE);
  const int units = max(int64_t(0), min(int64_t(plan.units), s.DH - first)), cells = units * TILE;
  float *weights = reinterpret_cast<float *>(memory), *h = weights + plan.weight_floats();
  float *product = h + TILE * plan.padded, *state = product + plan.units * 32;  // [unit][gate][b], [state][unit][b]
  const int64_t side = TILE * plan.padded;
  exchange += 2 * side * group;
  unsigned target = 0;

  for (int64_t job = group; job < plan.jobs; job += plan.groups) {
    const int64_t head = job / tiles, b0 = job % tiles * TILE;
    __syncthreads();
    const GeneralMatrix matrix = load_matrix(weights, a.recurrent, s, plan, head, first, units);
    for (int p = threadIdx.x; p < cells; p += GENERAL_THREADS)
      for (int n = 0; n < Cell::STATES; n++) {
        const int64_t b = b0 + p % TILE;
        state[n * cells + p] =
            a.state_in && b < s.B ? a.state_in[s.state_at(n, b, head) + first + p / TILE] : Cell::initial(n);
      }
    for (int64_t t = 0; t < s.T; t++) {
      const int64_t row = b0 + warp;  // a sequence for each warp
      const float *from = t > 0                     ? exchange + (t & 1) * side + warp * plan.padded
                          : a.state_in && row < s.B ? a.state_in + s.state_at(Cell::STATES, row, head)
                                                    : nullptr;
      for (int64_t k = lane; k < plan.padded; k += 32)
        h[warp * plan.padded + k] = from && row < s.B && k < s.DH ? __ldcg(from + k) : 0;
      __syncthreads();
      for (int u = warp; u < units; u += GENERAL_THREADS / 32)
        product[u * 32 + lane] = unit_product(matrix, u, h, s, plan.padded);
      __syncthreads();
      for (int p = threadIdx.x; p < cells; p += GENERAL_THREADS) {
        const int u = p / TILE;
        const int64_t b = b0 + p % TILE, unit = first + u;
        if (b >= s.B) continue;
        const bool reset = a.reset && a.reset[b * s.T + t];
        const int64_t at = s.at(b, t, head);
        float gate[GATES], now[Cell::STATES], saved[Cell::SAVED];
        for (int g = 0; g < GATES; g++)
          gate[g] = load(a.gates[g] + at + unit) + (a.bias ? a.bias[(g * s.NH + head) * s.DH + unit] : 0) +
                    (reset ? 0 : product[u * 32 + g * TILE + p % TILE]);
        for (int n = 0; n < Cell::STATES; n++) now[n] = reset ? Cell::initial(n) : state[n * cells + p];
        const float out = Cell::template forward<false>(gate, now, saved);
        for (int n = 0; n < Cell::STATES; n++) state[n * cells + p] = now[n];
        store(a.h + at + unit, out);
        if (a.saved)
          for (int n = 0; n < Cell::SAVED; n++) a.saved[s.saved_at(Cell::SAVED, b, t, head, unit, n)] = saved[n];
        __stcg(exchange + (t + 1 & 1) * side + (p % TILE) * plan.padded + unit, out);
        if (a.state_out && t == s.T - 1) a.state_out[s.state_at(Cell::STATES, b, head) + unit] = out;
      }
      target += plan.blocks;
      group_barrier(counters + group, target);
    }
    if (!a.state_out) continue;
    for (int p = threadIdx.x; p < cells; p += GENERAL_THREADS) {
      const int64_t b = b0 + p % TILE, unit = first + p / TILE;
      if (b >= s.B) continue;
      for (int n = 0; n < Cell::STATES; n++) a.state_out[s.state_at(n, b, head) + unit] = state[n * cells + p];
      if (s.T == 0) {
        const int64_t at = s.state_at(Cell::STATES, b, head) + unit;
        a.state_out[at] = a.state_in ? a.state_in[at] : 0;
      }
    }
  }
}

template <class Cell, class Storage>
__global__ void __launch_bounds__(GENERAL_THREADS)
    general_backward(RecurrentBackward<Storage> a, GeneralPlan plan, float *exchange, unsigned *counters) {
  extern __shared__ float4 memory[];
  const RecurrentShape &s = a.s;
  const int group = blockIdx.x / plan.blocks, block = blockIdx.x % plan.blocks;
  const int64_t first = int64_t(block) * plan.units, tiles = ceil_div(s.B, TILE);
  const int units = max(int64_t(0), min(int64_t(plan.units), s.DH - first)), cells = units * TILE;
  float *weights = reinterpret_cast<float *>(memory), *dgates = weights + plan.weight_floats();  // [unit][gate][b]
  float *sums = dgates + plan.units * 32, *carried = sums + plan.units * 32;  // of dgates over time; [state][unit][b]
  const int64_t share = TILE * plan.padded, side = plan.blocks * share;       // [block][b][DH]
  exchange += 2 * side * group;
  unsigned target = 0;

  for (int64_t job = group; job < plan.jobs; job += plan.groups) {
    const int64_t head = job / tiles, b0 = job % tiles * TILE;
    auto memory_before = [&](int64_t b, int64_t t, int64_t unit, bool reset, float (&before)[Cell::MEMORY]) {
      for (int n = 0; n < Cell::MEMORY; n++) {
        before[n] = 0;
        if (reset) continue;
        if (t > 0)
          before[n] = a.saved[s.saved_at(Cell::SAVED, b, t - 1, head, unit, Cell::SAVED - Cell::MEMORY + n)];
        else if (a.state_in)
          before[n] = a.state_in[s.state_at(n, b, head) + unit];
      }
    };
    // What the step after `t` gives to h of a unit, over all blocks.
    auto from_later = [&](int64_t b, int64_t t, int64_t unit) {
      if (t == s.T - 1) return a.dstate_out ? a.dstate_out[s.state_at(Cell::STATES, b, head) + unit] : 0.0f;
      if (a.reset && a.reset[b * s.T + t + 1]) return 0.0f;
      const float *from = exchange + (t + 1 & 1) * side + (b - b0) * plan.padded + unit;
      float sum = 0;
      for (int e = 0; e < plan.blocks; e++) sum += __ldcg(from + e * share);
      return sum;
    };
    __syncthreads();
    const GeneralMatrix matrix = load_matrix(weights, a.recurrent, s, plan, head, first, units);
    for (int p = threadIdx.x; p < plan.units * 32; p += GENERAL_THREADS) sums[p] = 0, dgates[p] = 0;
    for (int p = threadIdx.x; p < cells; p += GENERAL_THREADS) {
      const int64_t b = b0 + p % TILE, unit = first + p / TILE;
      float last[Cell::MEMORY], now[Cell::CARRIED] = {};
      if (b < s.B) {
        memory_before(b, s.T, unit, false, last);
        for (int n = 0; n < Cell::CARRIED; n++) now[n] = a.dstate_out ? a.dstate_out[s.state_at(n, b, head) + unit] : 0;
        Cell::start(now, last);
        const int64_t at = (b * s.NH + head) * s.DH + unit;
        store(a.first + at, a.state_in ? a.state_in[s.state_at(Cell::STATES, b, head) + unit] : 0);
      }
      for (int n = 0; n < Cell::CARRIED; n++) carried[n * cells + p] = now[n];
    }
    __syncthreads();
    for (int64_t t = s.T - 1; t >= 0; t--) {
      for (int p = threadIdx.x; p < cells; p += GENERAL_THREADS) {
        const int u = p / TILE;
        const int64_t b = b0 + p % TILE, unit = first + u;
        if (b >= s.B) continue;
        const bool reset = a.reset && a.reset[b * s.T + t];
        const int64_t at = s.at(b, t, head);
        float saved[Cell::SAVED], before[Cell::MEMORY], now[Cell::CARRIED], dgate[GATES];
        for (int n = 0; n < Cell::SAVED; n++) saved[n] = a.saved[s.saved_at(Cell::SAVED, b, t, head, unit, n)];
        for (int n = 0; n < Cell::CARRIED; n++) now[n] = carried[n * cells + p];
        memory_before(b, t, unit, reset, before);
        const float dh = load(a.dh + at + unit) + from_later(b, t, unit);
        Cell::backward(dgate, now, dh, Cell::template linear<false>(saved, before));
        for (int n = 0; n < Cell::CARRIED; n++) carried[n * cells + p] = reset ? 0 : now[n];
        for (int g = 0; g < GATES; g++) {
          dgates[u * 32 + g * TILE + p % TILE] = dgate[g];
          sums[u * 32 + g * TILE + p % TILE] += dgate[g];
          store(a.rows + at * GATES + g * s.DH + unit, dgate[g]);
          Storage *to = a.dgates[g] + at + unit;
          store(to, load(to) + dgate[g]);
        }
      }
      __syncthreads();
      for (int64_t k = threadIdx.x; k < s.DH; k += GENERAL_THREADS) {
        float acc[TILE] = {};
        const float *column = matrix.rows + k;
        const float4 *given = reinterpret_cast<const float4 *>(dgates);
        for (int u = 0; u < units; u++, column += matrix.unit_stride)
#pragma unroll
          for (int gate = 0; gate < GATES; gate++, given += 2) {
            const float w = column[gate * matrix.gate_stride];
            const float4 low = given[0], high = given[1];
            acc[0] = fmaf(w, low.x, acc[0]), acc[1] = fmaf(w, low.y, acc[1]), acc[2] = fmaf(w, low.z, acc[2]);
            acc[3] = fmaf(w, low.w, acc[3]), acc[4] = fmaf(w, high.x, acc[4]), acc[5] = fmaf(w, high.y, acc[5]);
            acc[6] = fmaf(w, high.z, acc[6]), acc[7] = fmaf(w, high.w, acc[7]);
          }
        float *to = exchange + (t & 1) * side + block * share + k;
        for (int b = 0; b < TILE; b++) __stcg(to + b * plan.padded, acc[b]);
      }
      target += plan.blocks;
      group_barrier(counters + group, target);
    }
    for (int row = threadIdx.x; row < units * GATES; row += GENERAL_THREADS) {
      float sum = 0;
      for (int b = 0; b < TILE; b++) sum += sums[row * TILE + b];
      a.bias_parts[((job % tiles * GATES + row % GATES) * s.NH + head) * s.DH + first + row / GATES] = sum;
    }
    if (!a.dstate_in) continue;
    for (int p = threadIdx.x; p < cells; p += GENERAL_THREADS) {
      const int64_t b = b0 + p % TILE, unit = first + p / TILE;
      if (b >= s.B) continue;
      float now[Cell::CARRIED], in[Cell::STATES];
      for (int n = 0; n < Cell::CARRIED; n++) now[n] = carried[n * cells + p];
      for (int n = 0; n < Cell::STATES; n++)
        in[n] = a.state_in ? a.state_in[s.state_at(n, b, head) + unit] : Cell::initial(n);
      Cell::finish(now, in);
      for (int n = 0; n < Cell::STATES; n++) a.dstate_in[s.state_at(n, b, head) + unit] += now[n];
      a.dstate_in[s.state_at(Cell::STATES, b, head) + unit] += from_later(b, -1, unit);
    }
    // The next job's first shares must not overtake these reads.
    target += plan.blocks;
    group_barrier(counters + group, target);
  }
}

inline int shared_memory_limit() {
  int device = 0, bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return bytes;
}

// Slices of the units, at most 32 each, so that a slice of the matrix fits into shared memory and the blocks of a group
// onto the device. `planes` are the values that a kernel keeps for each unit and sequence.
inline GeneralPlan plan_general(const RecurrentShape &s, int planes, int64_t &bytes) {
  GeneralPlan plan;
  plan.padded = round_up(s.DH, 4);
  plan.jobs = s.NH * ceil_div(s.B, TILE);
  const int64_t limit = shared_memory_limit() / 4 - TILE * plan.padded, unit = TILE * planes,
                weights = GATES * plan.padded;
  auto slices = [&](int64_t most) {
    plan.blocks = int(ceil_div(s.DH, most < 1 ? 1 : most));
    plan.units = int(ceil_div(s.DH, plan.blocks));
  };
  const int64_t fitting = limit / (unit + weights);
  plan.in_shared = fitting >= 1;
  slices(fitting < 32 ? fitting : 32);
  if (!plan.in_shared || plan.blocks > multiprocessors()) {
    plan.in_shared = false;
    const int64_t share = ceil_div(s.DH, multiprocessors());
    slices(share > 32 ? share : 32);
  }
  bytes = 4 * (plan.weight_floats() + TILE * plan.padded + plan.units * unit);
  plan.groups = 0;
  return plan;
}

template <class Kernel, class Arguments>
int launch_general(const char *name, Kernel kernel, Arguments arguments, GeneralPlan plan, int64_t bytes,
                   float *exchange, unsigned *counters) {
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)) != cudaSuccess)
    return launched(name);
  void *list[] = {&arguments, &plan, &exchange, &counters};
  cudaLaunchCooperativeKernel((const void *)kernel, dim3(unsigned(plan.groups * plan.blocks)), dim3(GENERAL_THREADS),
                              list, size_t(bytes), stream());
  return launched(name);
}

// As many groups as run at once.
template <class Kernel>
int general_groups(Kernel kernel, const GeneralPlan &plan, int64_t bytes) {
  int blocks = 0;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, GENERAL_THREADS, size_t(bytes));
  const int64_t groups = int64_t(blocks) * multiprocessors() / plan.blocks;
  return int(groups < plan.jobs ? groups : plan.jobs);
}

}  // namespace xl
#endif
