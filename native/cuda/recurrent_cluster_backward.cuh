// sLSTM and LSTM over a sequence in bf16 by clusters of blocks: the walk back. Tiles, blocks and warps own what they
// own on the way forward (recurrent_cluster.cuh).
//
// dh of step t - 1 is dgates R: a block multiplies the gradients of its 128 gates with its 128 rows of R, which stay in
// registers, and sends each block of the cluster the share of that block's 32 units, in float32 (8 KB per step and
// tile, half of what the gradients themselves would be for all). Receivers add the shares in the order of the blocks.
// What a step reads (saved, dh, the old gradients) is fetched five steps ahead, and what of it needs no dh is
// computed before dh comes. Gradients of pre-activations also go to `rows` in bf16, paired (recurrent_gradient.cuh),
// for the product that follows. Measured on an H100, B16 T1024, 4 heads of 256: 1.05 us a step.
#ifndef XL_CUDA_RECURRENT_CLUSTER_BACKWARD_CUH
#define XL_CUDA_RECURRENT_CLUSTER_BACKWARD_CUH
#include "recurrent_cluster.cuh"

namespace xl {

template <class Cell, int KB>
struct BackwardMemory {
  static constexpr int STAGES = 6;
  static constexpr unsigned share = CLUSTER_UNITS * CLUSTER_TILE * 4;  // bytes from one block: [unit][sequence]
  static constexpr unsigned shares = KB * share;
  static constexpr unsigned pitch = 320;  // bytes of a sequence's gradients: [warp][two units][gate][2], off the banks
  static constexpr unsigned gradients = CLUSTER_TILE * pitch;
  // Of a stage and warp, for 8 units: what was saved, a row for each sequence, off the banks; dh; the old gradients.
  static constexpr unsigned row = Cell::SAVED * 32 + 16;
  static constexpr unsigned dh = CLUSTER_TILE * row, old = dh + 128, part = old + 512, stage = 4 * part;
  static constexpr unsigned at_gradients = 2 * shares, barriers = at_gradients + 2 * gradients, stages = barriers + 16;
  static constexpr unsigned bytes = stages + STAGES * stage;
};

template <class Cell, int KB>
__global__ void __launch_bounds__(CLUSTER_THREADS, 1) cluster_backward(RecurrentBackward<bf16> a) {
#if __CUDA_ARCH__ >= 900
  using Memory = BackwardMemory<Cell, KB>;
  constexpr int STAGES = Memory::STAGES, MT = KB / 2;
  extern __shared__ float4 memory[];
  char *const bytes = reinterpret_cast<char *>(memory);
  const RecurrentShape &s = a.s;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4, T = int(s.T);
  const unsigned rank = cluster_rank(), base = shared_address(memory), barriers = base + Memory::barriers;
  const int64_t tile = blockIdx.x / KB / s.NH, head = blockIdx.x / KB % s.NH, b0 = tile * CLUSTER_TILE;
  const int64_t unit0 = rank * CLUSTER_UNITS + warp * 8, unit = unit0 + g, step = s.NH * s.DH;
  const bool active = unit0 < s.DH, full = active && b0 + CLUSTER_TILE <= s.B;

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

  auto sequence = [&](int e) { return b0 + 2 * q + e; };
  auto state_before = [&](int n, int e) {
    return a.state_in ? a.state_in[s.state_at(n, sequence(e), head) + unit] : Cell::initial(n);
  };
  const uint8_t *reset_from = a.reset + sequence(0) * s.T + T - 1;
  float carried[2][Cell::CARRIED], sums[GATES] = {}, last_dh[2];
  bool exists[2], reset[2], reset_later[2] = {};  // at this step, at the one after
#pragma unroll
  for (int e = 0; e < 2; e++) {
    const int64_t b = sequence(e);
    exists[e] = active && b < s.B;
    reset[e] = a.reset && exists[e] && reset_from[e * s.T];
    auto cotangent = [&](int n) { return a.dstate_out && exists[e] ? a.dstate_out[s.state_at(n, b, head) + unit] : 0; };
#pragma unroll
    for (int n = 0; n < Cell::CARRIED; n++) carried[e][n] = cotangent(n);
    last_dh[e] = cotangent(Cell::STATES);
    if (!exists[e]) continue;
    float last[Cell::MEMORY];
#pragma unroll
    for (int n = 0; n < Cell::MEMORY; n++)
      last[n] = a.saved[s.saved_at(Cell::SAVED, b, T - 1, head, unit, Cell::SAVED - Cell::MEMORY + n)];
    Cell::start(carried[e], last);
    store(a.first + (b * s.NH + head) * s.DH + unit, a.state_in ? state_before(Cell::STATES, e) : 0);
  }
  if (threadIdx.x == 0)
    for (int e = 0; e < 2; e++) {
      barrier_init(barriers + 8 * e);
      barrier_expect(barriers + 8 * e, Memory::shares);
    }
  __syncthreads();
  cluster_barrier();
  unsigned remote[MT];  // where the share of 16 units goes, in the block that owns them
#pragma unroll
  for (int mt = 0; mt < MT; mt++)
    remote[mt] = remote_address(base, unsigned(warp * MT + mt) / 2) + rank * Memory::share +
                 unsigned(warp * MT + mt) % 2 * 512 + g * 32 + q * 8;

  // Four lanes fetch the row and dh of one sequence, 16 bytes each time: 12 pieces of the row, then what is left of it
  // (two pieces of the sLSTM), dh, and nothing. A lane fetches one old gradient.
  const bool own = active && b0 + g < s.B, adds = active && b0 + lane % 8 < s.B;
  constexpr int LEFT = 2 * Cell::SAVED - 12;
  const int64_t last = own ? s.at(b0 + g, T - 1, head) + unit0 : 0;
  const char *row_from = reinterpret_cast<const char *>(a.saved + last * Cell::SAVED) + q * 16;
  const char *left_from = q < LEFT ? row_from + 192 : reinterpret_cast<const char *>(a.dh + last);
  const bf16 *old_from = lane < 8 ? a.dgates[0] : lane < 16 ? a.dgates[1] : lane < 24 ? a.dgates[2] : a.dgates[3];
  if (adds) old_from += s.at(b0 + lane % 8, T - 1, head) + unit0;
  const int64_t row_stride = own ? step * Cell::SAVED * 4 : 0, left_stride = q < LEFT ? row_stride : own ? step * 2 : 0;
  const int64_t old_stride = adds ? step : 0;
  const unsigned stages = Memory::stages + warp * Memory::part, row_to = g * Memory::row + q * 16;
  const unsigned left_to = q < LEFT    ? row_to + 192
                           : q == LEFT ? Memory::dh + g * 16
                                       : g * Memory::row + Cell::SAVED * 32;
  auto fetch = [&](int walked) {
    const unsigned to = base + stages + unsigned(walked % STAGES) * Memory::stage;
    const bool needed = walked < T;
#pragma unroll
    for (int e = 0; e < 3; e++) copy_async(to + row_to + e * 64, row_from + e * 64, own && needed);
    copy_async(to + left_to, left_from, own && needed && q <= LEFT);
    copy_async(to + Memory::old + lane * 16, old_from, adds && needed);
    if (walked + 1 < T) row_from -= row_stride, left_from -= left_stride, old_from -= old_stride;
    copy_commit();
  };
  for (int walked = 0; walked < STAGES - 1; walked++) fetch(walked);

  // What step t + 1 gave to dh of this thread's unit, for two sequences.
  auto from_later = [&](int walked, float (&dh)[2]) {
    const char *from = bytes + unsigned(walked & 1) * Memory::shares + (warp * 8 + g) * 32 + q * 8;
    float2 x[KB];
#pragma unroll
    for (int block = 0; block < KB; block++) x[block] = *reinterpret_cast<const float2 *>(from + block * Memory::share);
    float even[2] = {}, odd[2] = {};
#pragma unroll
    for (int block = 0; block < KB; block += 2) {
      even[0] += x[block].x, even[1] += x[block].y;
      odd[0] += x[block + 1].x, odd[1] += x[block + 1].y;
    }
#pragma unroll
    for (int e = 0; e < 2; e++) dh[e] = even[e] + odd[e];
    if (a.reset)
#pragma unroll
      for (int e = 0; e < 2; e++) dh[e] = reset_later[e] ? 0 : dh[e];
  };
  bf16 *rows_to = a.rows, *to[GATES] = {a.dgates[0], a.dgates[1], a.dgates[2], a.dgates[3]};
  const int64_t at_last = s.at(b0 + g, T - 1, head) + unit0;
  if (own) {
    rows_to += GATES * at_last + 8 * q;
#pragma unroll
    for (int k = 0; k < GATES; k++) to[k] += at_last + 2 * q;
  }

  for (int walked = 0; walked < T; walked++) {
    const int t = T - 1 - walked;
    const unsigned now = unsigned(walked) & 1, next = now ^ 1;
    copy_wait<STAGES - 3>();  // this step's and those of the step before, for its memory
    __syncwarp();
    const char *here = bytes + stages + unsigned(walked % STAGES) * Memory::stage;
    const char *earlier = bytes + stages + unsigned((walked + 1) % STAGES) * Memory::stage;
    const unsigned given = load_matrix_transposed(shared_address(here) + Memory::dh + lane % 8 * 16);
    float before[2][Cell::MEMORY];
#pragma unroll
    for (int e = 0; e < 2; e++)
#pragma unroll
      for (int n = 0; n < Cell::MEMORY; n++)
        before[e][n] = *reinterpret_cast<const float *>(earlier + (2 * q + e) * Memory::row + g * 4 +
                                                        (Cell::SAVED - Cell::MEMORY + n) * 32);
    if (t == 0)
#pragma unroll
      for (int e = 0; e < 2; e++)
#pragma unroll
        for (int n = 0; n < Cell::MEMORY; n++) before[e][n] = a.state_in && exists[e] ? state_before(n, e) : 0;
    if (a.reset)
#pragma unroll
      for (int e = 0; e < 2; e++)
#pragma unroll
        for (int n = 0; n < Cell::MEMORY; n++) before[e][n] = reset[e] ? 0 : before[e][n];
    typename Cell::Linear linear[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const unsigned row = (2 * q + e) * Memory::row + g * 4;
      float saved[Cell::SAVED];
#pragma unroll
      for (int n = 0; n < Cell::SAVED; n++) saved[n] = *reinterpret_cast<const float *>(here + row + n * 32);
      linear[e] = Cell::template linear<true>(saved, before[e]);
      linear[e].settle();
    }
    float dh[2] = {last_dh[0], last_dh[1]}, dgate[2][GATES];
    if (walked > 0) {
      barrier_wait(barriers + 8 * now, unsigned(walked - 1) >> 1 & 1);
      if (threadIdx.x == 0) barrier_expect(barriers + 8 * now, Memory::shares);
      from_later(walked, dh);
    }
#pragma unroll
    for (int e = 0; e < 2; e++) {
      Cell::backward(dgate[e], carried[e], dh[e] + (e ? high_half(given) : low_half(given)), linear[e]);
    }
    if (!full)
#pragma unroll
      for (int e = 0; e < 2; e++) {
#pragma unroll
        for (int k = 0; k < GATES; k++) dgate[e][k] = exists[e] ? dgate[e][k] : 0;
#pragma unroll
        for (int n = 0; n < Cell::CARRIED; n++) carried[e][n] = exists[e] ? carried[e][n] : 0;
      }
    if (a.reset)
#pragma unroll
      for (int e = 0; e < 2; e++)
#pragma unroll
        for (int n = 0; n < Cell::CARRIED; n++) carried[e][n] = reset[e] ? 0 : carried[e][n];
    __syncwarp();
    unsigned pair[GATES];
#pragma unroll
    for (int k = 0; k < GATES; k++) pair[k] = transpose_matrix(pack(dgate[0][k], dgate[1][k]));
    const uint4 gradients = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    const unsigned row = Memory::at_gradients + now * Memory::gradients + g * Memory::pitch + q * 16;
    *reinterpret_cast<uint4 *>(bytes + row + warp * 64) = gradients;
    __syncthreads();
    if (t > 0 || a.dstate_in) {
      float acc[MT][4] = {};
#pragma unroll
      for (int kb = 0; kb < 4; kb++) {
        const uint4 x = load_shared(base + row + kb * 64);
#pragma unroll
        for (int mt = 0; mt < MT; mt++) multiply_add(acc[mt], w[mt][kb][0], x.x, x.y);
#pragma unroll
        for (int mt = 0; mt < MT; mt++) multiply_add(acc[mt], w[mt][kb][1], x.z, x.w);
      }
#pragma unroll
      for (int mt = 0; mt < MT; mt++) {
        const unsigned barrier = remote_address(barriers + 8 * next, unsigned(warp * MT + mt) / 2);
#pragma unroll
        for (int half = 0; half < 2; half++)
          store_remote(remote[mt] + next * Memory::shares + half * 256, acc[mt][2 * half], acc[mt][2 * half + 1],
                       barrier);
      }
    }
    fetch(walked + STAGES - 1);  // over what the step before this one took
    if (own) {
      *reinterpret_cast<uint4 *>(rows_to) = gradients;
      rows_to -= GATES * step;
#pragma unroll
      for (int k = 0; k < GATES; k++) {
        const unsigned old = *reinterpret_cast<const unsigned *>(here + Memory::old + k * 128 + g * 16 + q * 4);
        *reinterpret_cast<unsigned *>(to[k]) =
            pack(low_half(old) + low_half(pair[k]), high_half(old) + high_half(pair[k]));
        to[k] -= step;
      }
    }
#pragma unroll
    for (int k = 0; k < GATES; k++) sums[k] += dgate[0][k] + dgate[1][k];
    if (a.reset) {
      reset_from--;
#pragma unroll
      for (int e = 0; e < 2; e++) {
        reset_later[e] = reset[e];
        reset[e] = t > 0 && exists[e] && reset_from[e * s.T];
      }
    }
  }
#pragma unroll
  for (int k = 0; k < GATES; k++) {
    sums[k] += __shfl_xor_sync(~0u, sums[k], 1);
    sums[k] += __shfl_xor_sync(~0u, sums[k], 2);
    if (active && q == 0) a.bias_parts[((tile * GATES + k) * s.NH + head) * s.DH + unit] = sums[k];
  }
  if (a.dstate_in) {
    float dh[2];
    barrier_wait(barriers + 8 * (unsigned(T) & 1), unsigned(T - 1) >> 1 & 1);
    from_later(T, dh);
#pragma unroll
    for (int e = 0; e < 2; e++) {
      if (!exists[e]) continue;
      float in[Cell::STATES];
#pragma unroll
      for (int n = 0; n < Cell::STATES; n++) in[n] = state_before(n, e);
      Cell::finish(carried[e], in);
#pragma unroll
      for (int n = 0; n < Cell::STATES; n++) a.dstate_in[s.state_at(n, sequence(e), head) + unit] += carried[e][n];
      a.dstate_in[s.state_at(Cell::STATES, sequence(e), head) + unit] += dh[e];
    }
  }
  __syncthreads();
  cluster_barrier();
#endif
}

}  // namespace xl
#endif
