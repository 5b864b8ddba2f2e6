// sLSTM and LSTM over a sequence in bf16 by clusters of blocks: the walk back. Tiles, blocks and warps own what they own
// on the way forward (recurrent_cluster.cuh).
//
// dh of step t - 1 is dgates R: a block multiplies the gradients of its 128 gates with its 128 rows of R, which stay in
// registers, and sends each block of the cluster the share of that block's 32 units, in float32 (8 KB per step and
// tile, half of what the gradients themselves would be for all). Receivers add the shares in the order of the blocks.
// What a step reads (saved planes, dh, the old gradients) is fetched five steps ahead. Gradients of pre-activations
// also go to `rows` in bf16, paired (recurrent_gradient.cuh), for the product that follows.
#ifndef XL_CUDA_RECURRENT_CLUSTER_BACKWARD_CUH
#define XL_CUDA_RECURRENT_CLUSTER_BACKWARD_CUH
#include "recurrent_cluster.cuh"

namespace xl {

template <class Cell, int KB, int NB>
struct BackwardMemory {
  static constexpr int STAGES = 6;
  static constexpr unsigned share = NB * CLUSTER_UNITS * 32;  // bytes from one block: [nb][unit][8 sequences]
  static constexpr unsigned shares = KB * share;
  static constexpr unsigned pitch = 320;                // bytes of a row of gradients: [warp][two units][gate][2]
  static constexpr unsigned gradients = 8 * NB * pitch;
  static constexpr unsigned row = Cell::SAVED * 32 + 16;  // bytes of the saved planes of a sequence, off the banks
  static constexpr unsigned dh = 8 * row, old = dh + 128, part = old + 512, stage = NB * part;
  static constexpr unsigned at_gradients = 2 * shares, barriers = at_gradients + 2 * gradients, stages = barriers + 16;
  static constexpr unsigned bytes = stages + STAGES * 4 * stage;
};

template <class Cell, int KB, int NB>
__global__ void __launch_bounds__(CLUSTER_THREADS, 1) cluster_backward(RecurrentBackward<bf16> a) {
#if __CUDA_ARCH__ >= 900
  using Memory = BackwardMemory<Cell, KB, NB>;
  constexpr int STAGES = Memory::STAGES, MT = KB / 2;
  extern __shared__ float4 memory[];
  const RecurrentShape &s = a.s;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4;
  const unsigned rank = cluster_rank(), base = shared_address(memory), barriers = base + Memory::barriers;
  const int64_t tile = blockIdx.x / KB / s.NH, head = blockIdx.x / KB % s.NH, b0 = tile * (8 * NB);
  const int64_t unit0 = rank * CLUSTER_UNITS + warp * 8, unit = unit0 + g;
  const bool active = unit0 < s.DH;

  // R transposed: rows i of this warp's share of all units, columns (gate, j) of this block's units.
  unsigned w[MT][4][2][4];
#pragma unroll
  for (int mt = 0; mt < MT; mt++)
#pragma unroll
    for (int kb = 0; kb < 4; kb++)
#pragma unroll
      for (int gate = 0; gate < GATES; gate++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int64_t i = (warp * MT + mt) * 16 + half * 8 + g, j = rank * CLUSTER_UNITS + kb * 8 + 2 * q;
          const bool known = i < s.DH && j < s.DH;
          const float *from = a.recurrent + ((head * GATES + gate) * s.DH + j) * s.DH + i;
          w[mt][kb][gate / 2][gate % 2 * 2 + half] = known ? pack(from[0], from[s.DH]) : 0;
        }

  auto state_before = [&](int n, int64_t b) { return a.state_in ? a.state_in[s.state_at(n, b, head) + unit] : Cell::initial(n); };
  float carried[NB][2][Cell::CARRIED], sums[GATES] = {};
  bool exists[NB][2], reset[NB][2], reset_later[NB][2] = {};  // at this step, at the one after
  auto resets = [&](int64_t b, int64_t t) { return a.reset && t >= 0 && a.reset[b * s.T + t]; };
#pragma unroll
  for (int nb = 0; nb < NB; nb++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int64_t b = b0 + nb * 8 + 2 * q + e;
      exists[nb][e] = active && b < s.B;
      reset[nb][e] = exists[nb][e] && resets(b, s.T - 1);
      float last[Cell::MEMORY];
#pragma unroll
      for (int n = 0; n < Cell::CARRIED; n++)
        carried[nb][e][n] = a.dstate_out && exists[nb][e] ? a.dstate_out[s.state_at(n, b, head) + unit] : 0;
      if (!exists[nb][e]) continue;
#pragma unroll
      for (int n = 0; n < Cell::MEMORY; n++)
        last[n] = a.saved[s.at(b, s.T - 1, head) * Cell::SAVED + (Cell::SAVED - Cell::MEMORY + n) * s.DH + unit];
      Cell::start(carried[nb][e], last);
      store(a.first + (b * s.NH + head) * s.DH + unit, a.state_in ? state_before(Cell::STATES, b) : 0);
    }
  constexpr unsigned expected = Memory::shares;
  if (threadIdx.x == 0)
    for (int e = 0; e < 2; e++) {
      barrier_init(barriers + 8 * e);
      barrier_expect(barriers + 8 * e, expected);
    }
  __syncthreads();
  cluster_barrier();
  unsigned remote[MT];  // where the share of 16 units goes, in the block that owns them
#pragma unroll
  for (int mt = 0; mt < MT; mt++) remote[mt] = remote_address(base, unsigned(warp * MT + mt) / 2);

  // Four lanes fetch the planes and dh of one sequence, 16 bytes each time; a lane fetches one old gradient.
  bf16 *mine = lane < 8 ? a.dgates[0] : lane < 16 ? a.dgates[1] : lane < 24 ? a.dgates[2] : a.dgates[3];
  const unsigned stages = base + Memory::stages + warp * Memory::stage;
  auto fetch = [&](int64_t walked) {
    const int64_t t = s.T - 1 - walked;
    const unsigned stage = stages + unsigned(walked % STAGES) * 4 * Memory::stage;
#pragma unroll
    for (int nb = 0; nb < NB; nb++) {
      const int64_t b = b0 + nb * 8 + g, at = s.at(b, t, head);
      const bool needed = active && t >= 0 && b < s.B;
      const unsigned to = stage + nb * Memory::part;
#pragma unroll
      for (int e = 0; e < (2 * Cell::SAVED + 4) / 4; e++) {
        const int piece = 4 * e + q;
        const float *plane = a.saved + at * Cell::SAVED + piece / 2 * s.DH + unit0 + piece % 2 * 4;
        if (piece < 2 * Cell::SAVED) copy_async(to + g * Memory::row + piece * 16, needed ? plane : a.saved, needed);
        if (piece == 2 * Cell::SAVED) copy_async(to + Memory::dh + g * 16, needed ? a.dh + at + unit0 : a.dh, needed);
      }
      const int64_t other = b0 + nb * 8 + lane % 8;
      const bool adds = active && t >= 0 && other < s.B;
      copy_async(to + Memory::old + lane * 16, adds ? mine + s.at(other, t, head) + unit0 : mine, adds);
    }
    copy_commit();
  };
  for (int walked = 0; walked < STAGES - 1; walked++) fetch(walked);

  // What step t + 1 gave to dh of this thread's unit, for two sequences.
  auto from_later = [&](int64_t walked, int nb, float (&dh)[2]) {
    dh[0] = dh[1] = 0;
    if (walked > 0) {
      const unsigned at = unsigned(walked & 1) * Memory::shares + nb * CLUSTER_UNITS * 32 + (warp * 8 + g) * 32 + q * 8;
#pragma unroll
      for (int block = 0; block < KB; block++) {
        const float2 x = *reinterpret_cast<const float2 *>(reinterpret_cast<const char *>(memory) + at + block * Memory::share);
        dh[0] += x.x, dh[1] += x.y;
      }
    }
#pragma unroll
    for (int e = 0; e < 2; e++) {
      if (!exists[nb][e]) continue;
      const int64_t b = b0 + nb * 8 + 2 * q + e;
      if (walked == 0) dh[e] = a.dstate_out ? a.dstate_out[s.state_at(Cell::STATES, b, head) + unit] : 0;
      else if (reset_later[nb][e]) dh[e] = 0;
    }
  };

  for (int64_t walked = 0; walked < s.T; walked++) {
    const int64_t t = s.T - 1 - walked;
    const unsigned now = unsigned(walked) & 1, next = now ^ 1;
    copy_wait<STAGES - 3>();  // this step's and that of the step before, for its memory
    __syncwarp();
    fetch(walked + STAGES - 1);
    const char *here = reinterpret_cast<const char *>(memory) + Memory::stages + warp * Memory::stage;
    const char *before_here = here + unsigned((walked + 1) % STAGES) * 4 * Memory::stage;
    here += unsigned(walked % STAGES) * 4 * Memory::stage;
    if (walked > 0) {
      barrier_wait(barriers + 8 * now, unsigned((walked - 1) >> 1) & 1);
      if (threadIdx.x == 0) barrier_expect(barriers + 8 * now, expected);
    }
    uint4 gradients[NB];
#pragma unroll
    for (int nb = 0; nb < NB; nb++) {
      const unsigned given = load_matrix_transposed(shared_address(here) + nb * Memory::part + Memory::dh + lane % 8 * 16);
      float dh[2], dgate[2][GATES];
      from_later(walked, nb, dh);
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const int64_t b = b0 + nb * 8 + 2 * q + e;
        const unsigned row = nb * Memory::part + (2 * q + e) * Memory::row + g * 4;
        float saved[Cell::SAVED], before[Cell::MEMORY];
#pragma unroll
        for (int n = 0; n < Cell::SAVED; n++) saved[n] = *reinterpret_cast<const float *>(here + row + n * 32);
#pragma unroll
        for (int n = 0; n < Cell::MEMORY; n++) {
          before[n] = *reinterpret_cast<const float *>(before_here + row + (Cell::SAVED - Cell::MEMORY + n) * 32);
          if (t == 0) before[n] = a.state_in && exists[nb][e] ? state_before(n, b) : 0;
          if (reset[nb][e]) before[n] = 0;
        }
        Cell::template backward<true>(dgate[e], carried[nb][e], dh[e] + (e ? high_half(given) : low_half(given)), saved, before);
#pragma unroll
        for (int n = 0; n < Cell::CARRIED; n++)
          if (reset[nb][e] || !exists[nb][e]) carried[nb][e][n] = 0;
#pragma unroll
        for (int k = 0; k < GATES; k++) {
          if (!exists[nb][e]) dgate[e][k] = 0;
          sums[k] += dgate[e][k];
        }
      }
      unsigned pair[GATES];
#pragma unroll
      for (int k = 0; k < GATES; k++) pair[k] = transpose_matrix(pack(dgate[0][k], dgate[1][k]));
      gradients[nb] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
      *reinterpret_cast<uint4 *>(reinterpret_cast<char *>(memory) + Memory::at_gradients + now * Memory::gradients +
                                 (nb * 8 + g) * Memory::pitch + warp * 64 + q * 16) = gradients[nb];
    }
    __syncthreads();
    if (t > 0 || a.dstate_in) {
#pragma unroll
      for (int nb = 0; nb < NB; nb++) {
        float acc[MT][4] = {};
        const unsigned row = base + Memory::at_gradients + now * Memory::gradients + (nb * 8 + g) * Memory::pitch + q * 16;
#pragma unroll
        for (int kb = 0; kb < 4; kb++) {
          const uint4 x = load_shared(row + kb * 64);
#pragma unroll
          for (int mt = 0; mt < MT; mt++) multiply_add(acc[mt], w[mt][kb][0], x.x, x.y);
#pragma unroll
          for (int mt = 0; mt < MT; mt++) multiply_add(acc[mt], w[mt][kb][1], x.z, x.w);
        }
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const unsigned local = unsigned(warp * MT + mt) % 2 * 16 + half * 8 + g;
            const unsigned to = next * Memory::shares + rank * Memory::share + (nb * CLUSTER_UNITS + local) * 32 + q * 8;
            store_remote(remote[mt] + to, acc[mt][2 * half], acc[mt][2 * half + 1], remote[mt] + Memory::barriers + 8 * next);
          }
      }
    }
#pragma unroll
    for (int nb = 0; nb < NB; nb++) {
      const int64_t b = b0 + nb * 8 + g;
      if (!active || b >= s.B) continue;
      const int64_t at = s.at(b, t, head) + unit0;
      *reinterpret_cast<uint4 *>(a.rows + GATES * at + 8 * q) = gradients[nb];
      const unsigned pair[GATES] = {gradients[nb].x, gradients[nb].y, gradients[nb].z, gradients[nb].w};
#pragma unroll
      for (int k = 0; k < GATES; k++) {
        const unsigned old = *reinterpret_cast<const unsigned *>(here + nb * Memory::part + Memory::old + k * 128 + g * 16 + q * 4);
        *reinterpret_cast<unsigned *>(a.dgates[k] + at + 2 * q) =
            pack(low_half(old) + low_half(pair[k]), high_half(old) + high_half(pair[k]));
      }
    }
#pragma unroll
    for (int nb = 0; nb < NB; nb++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        reset_later[nb][e] = reset[nb][e];
        reset[nb][e] = exists[nb][e] && resets(b0 + nb * 8 + 2 * q + e, t - 1);
      }
  }
#pragma unroll
  for (int k = 0; k < GATES; k++) {
    sums[k] += __shfl_xor_sync(~0u, sums[k], 1);
    sums[k] += __shfl_xor_sync(~0u, sums[k], 2);
    if (active && q == 0) a.bias_parts[((tile * GATES + k) * s.NH + head) * s.DH + unit] = sums[k];
  }
  if (a.dstate_in) {
    barrier_wait(barriers + 8 * (unsigned(s.T) & 1), unsigned((s.T - 1) >> 1) & 1);
#pragma unroll
    for (int nb = 0; nb < NB; nb++) {
      float dh[2];
      from_later(s.T, nb, dh);
#pragma unroll
      for (int e = 0; e < 2; e++) {
        if (!exists[nb][e]) continue;
        const int64_t b = b0 + nb * 8 + 2 * q + e;
        float in[Cell::STATES];
#pragma unroll
        for (int n = 0; n < Cell::STATES; n++) in[n] = state_before(n, b);
        Cell::finish(carried[nb][e], in);
#pragma unroll
        for (int n = 0; n < Cell::STATES; n++) a.dstate_in[s.state_at(n, b, head) + unit] += carried[nb][e][n];
        a.dstate_in[s.state_at(Cell::STATES, b, head) + unit] += dh[e];
      }
    }
  }
  copy_wait<0>();
  __syncthreads();
  cluster_barrier();
#endif
}

}  // namespace xl
#endif
