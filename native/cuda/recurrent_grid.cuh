// sLSTM and LSTM over a sequence in bf16 for heads that no cluster holds, and for devices without clusters: the
// matrix lies in the registers of the whole device.
//
// A block owns 8 units of a head (a group of DH / 8 blocks); its eight warps split the sum over the units that came
// before, KW * 32 each: 16 KW registers of each thread for the matrix (DH 1024: 64). A step is
//   wait for the blocks whose h this warp reads -> h from the second-level cache as fragments of the
//   tensor cores -> partial sums through shared memory -> pointwise, a thread for each unit and sequence -> h, count.
// h goes where the caller wants it and is read from there, dgates on the way back from `rows`: nothing else is
// exchanged and nothing is overwritten, so counters of steps are all the order there is. A step costs trips to the
// cache: h, the count and its wait, h again. On the way back a block reads all 8 DH bytes of a sequence's gradients
// (B16 DH1024: 17 MB of cache reads per step). Measured on an H100, one head of 1024, B16: 2.6 us a step, back 3.8 us;
// values that say themselves whether they are written, polled without a count, took twice as long. All blocks run at
// once (cooperative launch); groups take (tile, head) in turn.
#ifndef XL_CUDA_RECURRENT_GRID_CUH
#define XL_CUDA_RECURRENT_GRID_CUH
#include "recurrent_ptx.cuh"

namespace xl {

constexpr int GRID_THREADS = 256, GRID_WARPS = 8, GRID_UNITS = 8;

struct GridPlan {
  int blocks, groups;  // of a group; groups
  int64_t jobs;        // (tile of 8 NB sequences, head)
};

// Blocks count their steps at one of eight counters, by the warp that reads their units: few wait at each, and each is
// counted at by few.
constexpr int GRID_COUNTER = 64;  // words from one to the next, so that different parts of the cache serve them

// The blocks that this warp reads from have counted `steps` each.
template <int KW>
__device__ inline void wait_for_blocks(const unsigned *counters, int blocks, unsigned steps) {
  const int warp = threadIdx.x / 32, producers = min(KW * 4, blocks - warp * KW * 4);
  if (threadIdx.x % 32 == 0 && producers > 0) {
    const unsigned *counter = counters + warp * GRID_COUNTER;
    const unsigned target = steps * producers;
    unsigned seen;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
    while (int(seen - target) < 0);
  }
  __syncwarp();
}

// The first `threads` threads have written; others may see it.
template <int THREADS, int KW>
__device__ inline void announce(unsigned *counters, int block) {
  asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
  if (threadIdx.x == 0)
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counters + block / (KW * 4) * GRID_COUNTER)
                 : "memory");
}

__device__ inline uint4 load_cached(const bf16 *p) { return __ldcg(reinterpret_cast<const uint4 *>(p)); }

// Rows of partial sums are 12 floats apart: the eight units of four sequences then lie in 32 banks.
constexpr int GRID_PITCH = 12;
template <int NB>
constexpr unsigned grid_forward_bytes = 2 * GRID_WARPS * NB * 32 * GRID_PITCH * sizeof(float);
template <int NB>
constexpr unsigned grid_backward_bytes = 2 * GRID_WARPS * NB * 64 * sizeof(float);

template <class Cell, int KW, int NB>
__global__ void __launch_bounds__(GRID_THREADS, KW > 2 ? 1 : 2)
    grid_forward(RecurrentForward<bf16> a, GridPlan plan, unsigned *counters) {
  extern __shared__ float4 memory[];
  constexpr int THREADS = NB * 64;  // with a unit of a sequence
  const RecurrentShape &s = a.s;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4;
  const int block = blockIdx.x % plan.blocks;
  const int64_t unit0 = int64_t(block) * GRID_UNITS, unit = unit0 + threadIdx.x % 8;
  counters += blockIdx.x / plan.blocks * (GRID_WARPS * GRID_COUNTER);
  unsigned counted = 0;

  for (int64_t job = blockIdx.x / plan.blocks; job < plan.jobs; job += plan.groups) {
    const int64_t head = job % s.NH, b0 = job / s.NH * (8 * NB), b = b0 + threadIdx.x / 8;
    const bool exists = threadIdx.x < THREADS && b < s.B;
    unsigned w[KW][2][2][4];  // as in recurrent_cluster.cuh
#pragma unroll
    for (int kb = 0; kb < KW; kb++)
#pragma unroll
      for (int gate = 0; gate < GATES; gate++) {
        const int64_t k = (warp * KW + kb) * 32 + 8 * q;
        float4 x[2] = {};
        if (k < s.DH) {
          const float *row = a.recurrent + ((head * GATES + gate) * s.DH + unit0 + g) * s.DH + k;
          x[0] = *reinterpret_cast<const float4 *>(row), x[1] = *reinterpret_cast<const float4 *>(row + 4);
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
          w[kb][half][gate / 2][gate % 2] = pack(x[half].x, x[half].y);
          w[kb][half][gate / 2][gate % 2 + 2] = pack(x[half].z, x[half].w);
        }
      }
    float state[Cell::STATES], bias[GATES], x[GATES];
#pragma unroll
    for (int n = 0; n < Cell::STATES; n++)
      state[n] = exists && a.state_in ? a.state_in[s.state_at(n, b, head) + unit] : Cell::initial(n);
    bool reset = false;
    auto fetch = [&](int64_t t) {
      if (!exists || t >= s.T) return;
#pragma unroll
      for (int gate = 0; gate < GATES; gate++) x[gate] = load(a.gates[gate] + s.at(b, t, head) + unit);
      reset = a.reset && a.reset[b * s.T + t];
    };
#pragma unroll
    for (int gate = 0; gate < GATES; gate++) bias[gate] = a.bias ? a.bias[(gate * s.NH + head) * s.DH + unit] : 0;
    fetch(0);

    for (int64_t t = 0; t < s.T; t++) {
      if (t > 0) wait_for_blocks<KW>(counters, plan.blocks, counted);
      float *partial = reinterpret_cast<float *>(memory) + (t & 1) * (GRID_WARPS * NB * 32 * GRID_PITCH);
      uint4 h[NB][KW];
#pragma unroll
      for (int nb = 0; nb < NB; nb++)
#pragma unroll
        for (int kb = 0; kb < KW; kb++) {
          const int64_t k = (warp * KW + kb) * 32 + 8 * q, row = b0 + nb * 8 + g;
          h[nb][kb] = make_uint4(0, 0, 0, 0);
          if (row >= s.B || k >= s.DH) continue;
          if (t > 0) {
            h[nb][kb] = load_cached(a.h + s.at(row, t - 1, head) + k);
          } else if (a.state_in) {
            const float *from = a.state_in + s.state_at(Cell::STATES, row, head) + k;
            h[nb][kb] = make_uint4(pack(from[0], from[1]), pack(from[2], from[3]), pack(from[4], from[5]),
                                   pack(from[6], from[7]));
          }
        }
#pragma unroll
      for (int nb = 0; nb < NB; nb++) {
        float acc[2][4] = {};
#pragma unroll
        for (int kb = 0; kb < KW; kb++) {
          multiply_add(acc[0], w[kb][0][0], h[nb][kb].x, h[nb][kb].y);
          multiply_add(acc[1], w[kb][0][1], h[nb][kb].x, h[nb][kb].y);
          multiply_add(acc[0], w[kb][1][0], h[nb][kb].z, h[nb][kb].w);
          multiply_add(acc[1], w[kb][1][1], h[nb][kb].z, h[nb][kb].w);
        }
#pragma unroll
        for (int e = 0; e < 4; e++)
          *reinterpret_cast<float2 *>(partial + ((nb * GRID_WARPS + warp) * 32 + e * 8 + g) * GRID_PITCH + 2 * q) =
              make_float2(acc[e / 2][e % 2 * 2], acc[e / 2][e % 2 * 2 + 1]);
      }
      __syncthreads();
      counted++;
      if (threadIdx.x >= THREADS) continue;
      float out = 0, saved[Cell::SAVED];
      if (exists) {
        const float *from =
            partial + (threadIdx.x / 64 * GRID_WARPS * 32 + threadIdx.x % 8) * GRID_PITCH + threadIdx.x / 8 % 8;
        float gate[GATES];
#pragma unroll
        for (int e = 0; e < GATES; e++) {
          float sum = 0;
#pragma unroll
          for (int k = 0; k < GRID_WARPS; k++) sum += from[(k * 32 + e * 8) * GRID_PITCH];
          gate[e] = x[e] + bias[e] + (reset ? 0 : sum);
        }
#pragma unroll
        for (int n = 0; n < Cell::STATES; n++)
          if (reset) state[n] = Cell::initial(n);
        out = Cell::template forward<true>(gate, state, saved);
        store(a.h + s.at(b, t, head) + unit, out);
      }
      announce<THREADS, KW>(counters, block);
      if (exists && a.saved) {
        float *to = a.saved + s.saved_at(Cell::SAVED, b, t, head, unit, 0);
#pragma unroll
        for (int n = 0; n < Cell::SAVED; n++) to[n * 8] = saved[n];
      }
      if (exists && a.state_out && t == s.T - 1) {
#pragma unroll
        for (int n = 0; n < Cell::STATES; n++) a.state_out[s.state_at(n, b, head) + unit] = state[n];
        a.state_out[s.state_at(Cell::STATES, b, head) + unit] = out;
      }
      fetch(t + 1);
    }
    __syncthreads();  // the next job writes partial sums of both buffers
  }
}

template <class Cell, int KW, int NB>
__global__ void __launch_bounds__(GRID_THREADS, KW > 2 ? 1 : 2)
    grid_backward(RecurrentBackward<bf16> a, GridPlan plan, unsigned *counters) {
  extern __shared__ float4 memory[];
  constexpr int THREADS = NB * 64, MB = NB / 2, BLOCKS = KW * 4;  // blocks of 32 gradients of a warp
  const RecurrentShape &s = a.s;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4;
  const int block = blockIdx.x % plan.blocks;
  const int64_t unit0 = int64_t(block) * GRID_UNITS, unit = unit0 + threadIdx.x % 8;
  counters += blockIdx.x / plan.blocks * (GRID_WARPS * GRID_COUNTER);
  unsigned counted = 0;

  for (int64_t job = blockIdx.x / plan.blocks; job < plan.jobs; job += plan.groups) {
    const int64_t head = job % s.NH, tile = job / s.NH, b0 = tile * (8 * NB), b = b0 + threadIdx.x / 8;
    const bool exists = threadIdx.x < THREADS && b < s.B;
    // Column g of the fragments is a unit that gets dh, rows are gradients in the order of `rows`.
    unsigned w[BLOCKS][GATES];
#pragma unroll
    for (int kb = 0; kb < BLOCKS; kb++)
#pragma unroll
      for (int gate = 0; gate < GATES; gate++) {
        const int64_t j = (warp * BLOCKS + kb) * 8 + 2 * q;
        const float *from = a.recurrent + ((head * GATES + gate) * s.DH + j) * s.DH + unit0 + g;
        w[kb][gate] = j < s.DH ? pack(from[0], from[s.DH]) : 0;
      }
    auto state_before = [&](int n) {
      return a.state_in ? a.state_in[s.state_at(n, b, head) + unit] : Cell::initial(n);
    };
    float carried[Cell::CARRIED] = {}, sums[GATES] = {}, saved[Cell::SAVED], before[Cell::MEMORY], given = 0,
          old[GATES];
    bool reset = false, reset_later = false;
    // What step t reads, while the step after it is computed.
    auto fetch = [&](int64_t t) {
      if (!exists || t < 0) return;
      const int64_t at = s.at(b, t, head);
#pragma unroll
      for (int n = 0; n < Cell::SAVED; n++) saved[n] = a.saved[s.saved_at(Cell::SAVED, b, t, head, unit, n)];
#pragma unroll
      for (int n = 0; n < Cell::MEMORY; n++)
        before[n] = t == 0 ? (a.state_in ? state_before(n) : 0)
                           : a.saved[s.saved_at(Cell::SAVED, b, t - 1, head, unit, Cell::SAVED - Cell::MEMORY + n)];
      given = load(a.dh + at + unit);
#pragma unroll
      for (int gate = 0; gate < GATES; gate++) old[gate] = load(a.dgates[gate] + at + unit);
      reset = a.reset && a.reset[b * s.T + t];
    };
    fetch(s.T - 1);
    if (exists) {
      float last[Cell::MEMORY];
#pragma unroll
      for (int n = 0; n < Cell::MEMORY; n++) last[n] = saved[Cell::SAVED - Cell::MEMORY + n];
#pragma unroll
      for (int n = 0; n < Cell::CARRIED; n++)
        carried[n] = a.dstate_out ? a.dstate_out[s.state_at(n, b, head) + unit] : 0;
      Cell::start(carried, last);
      store(a.first + (b * s.NH + head) * s.DH + unit, a.state_in ? state_before(Cell::STATES) : 0);
    }
    // dh of this thread's unit through the matrix, from the gradients of step t; all threads.
    auto from_later = [&](int64_t t) {
      wait_for_blocks<KW>(counters, plan.blocks, counted);
      float *partial = reinterpret_cast<float *>(memory) + (t & 1) * (GRID_WARPS * NB * 64);
#pragma unroll
      for (int mb = 0; mb < MB; mb++) {
        float acc[2][4] = {};
#pragma unroll
        for (int kb0 = 0; kb0 < BLOCKS; kb0 += 4) {
          uint4 x[4][2];
#pragma unroll
          for (int e = 0; e < 8; e++) {
            const int64_t place = (warp * BLOCKS + kb0 + e / 2) * 32 + 8 * q, row = b0 + mb * 16 + e % 2 * 8 + g;
            const bool known = row < s.B && place < GATES * s.DH;
            x[e / 2][e % 2] = known ? load_cached(a.rows + s.at(row, t, head) * GATES + place) : make_uint4(0, 0, 0, 0);
          }
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const unsigned low[4] = {x[e][0].x, x[e][1].x, x[e][0].y, x[e][1].y};
            const unsigned high[4] = {x[e][0].z, x[e][1].z, x[e][0].w, x[e][1].w};
            multiply_add(acc[0], low, w[kb0 + e][0], w[kb0 + e][1]);
            multiply_add(acc[1], high, w[kb0 + e][2], w[kb0 + e][3]);
          }
        }
#pragma unroll
        for (int e = 0; e < 2; e++)
          *reinterpret_cast<float2 *>(partial + (warp * NB * 8 + mb * 16 + e * 8 + g) * 8 + 2 * q) =
              make_float2(acc[0][2 * e] + acc[1][2 * e], acc[0][2 * e + 1] + acc[1][2 * e + 1]);
      }
      __syncthreads();
      float sum = 0;
      if (threadIdx.x < THREADS)
#pragma unroll
        for (int k = 0; k < GRID_WARPS; k++) sum += partial[k * NB * 64 + threadIdx.x];
      return sum;
    };
    for (int64_t t = s.T - 1; t >= 0; t--) {
      typename Cell::Linear linear;
      if (exists) {
#pragma unroll
        for (int n = 0; n < Cell::MEMORY; n++)
          if (reset) before[n] = 0;
        linear = Cell::template linear<true>(saved, before);
      }
      float dh = 0;
      if (t < s.T - 1) {
        dh = from_later(t + 1);
        if (reset_later) dh = 0;
      } else if (exists && a.dstate_out) {
        dh = a.dstate_out[s.state_at(Cell::STATES, b, head) + unit];
      }
      counted++;
      if (threadIdx.x >= THREADS) continue;
      float dgate[GATES] = {};
      if (exists) {
        Cell::backward(dgate, carried, dh + given, linear);
#pragma unroll
        for (int n = 0; n < Cell::CARRIED; n++)
          if (reset) carried[n] = 0;
      }
      // Units 2u and 2u + 1 store two gates of both each.
      const bool odd = threadIdx.x % 2;
      const float low = __shfl_xor_sync(~0u, odd ? dgate[0] : dgate[2], 1);
      const float high = __shfl_xor_sync(~0u, odd ? dgate[1] : dgate[3], 1);
      if (exists)
        *reinterpret_cast<uint2 *>(a.rows + (s.at(b, t, head) + unit - odd) * GATES + odd * 4) =
            odd ? make_uint2(pack(low, dgate[2]), pack(high, dgate[3]))
                : make_uint2(pack(dgate[0], low), pack(dgate[1], high));
      announce<THREADS, KW>(counters, block);
      reset_later = reset;
      if (exists) {
#pragma unroll
        for (int gate = 0; gate < GATES; gate++) {
          sums[gate] += dgate[gate];
          store(a.dgates[gate] + s.at(b, t, head) + unit, old[gate] + dgate[gate]);
        }
      }
      fetch(t - 1);
    }
    if (a.dstate_in) {
      float dh = from_later(0);
      if (exists) {
        float in[Cell::STATES];
#pragma unroll
        for (int n = 0; n < Cell::STATES; n++) in[n] = state_before(n);
        Cell::finish(carried, in);
#pragma unroll
        for (int n = 0; n < Cell::STATES; n++) a.dstate_in[s.state_at(n, b, head) + unit] += carried[n];
        a.dstate_in[s.state_at(Cell::STATES, b, head) + unit] += reset_later ? 0 : dh;
      }
    }
    __syncthreads();
    float *shared = reinterpret_cast<float *>(memory);  // [gate][sequence][unit]
    if (threadIdx.x < THREADS)
#pragma unroll
      for (int gate = 0; gate < GATES; gate++) shared[gate * THREADS + threadIdx.x] = sums[gate];
    __syncthreads();
    if (threadIdx.x < GATES * 8) {
      const int gate = threadIdx.x / 8;
      float sum = 0;
      for (int e = 0; e < NB * 8; e++) sum += shared[gate * THREADS + e * 8 + threadIdx.x % 8];
      a.bias_parts[((tile * GATES + gate) * s.NH + head) * s.DH + unit] = sum;
    }
    __syncthreads();
  }
}

}  // namespace xl
#endif
