// The product that h, dq, dk and dv of the mLSTM are (mlstm.cuh, Mix), with Hopper's warpgroup products: the plan of
// mlstm_mix_mma.cuh with two warpgroups of 64 rows each. The right operands are read from shared memory once for 64
// rows instead of once for 32, and scores stay in registers, since a warpgroup's sums have the layout of its left
// operand.
//
// At the full rate a tile of 64 x 256 lasts 1,024 clocks for its 32 KB, 32 bytes a clock: the L2 cache bounds this at
// about three quarters of the peak. Weighing 64 x 64 scores takes about 400 instructions a warp, a fifth on top.
#ifndef XL_CUDA_MLSTM_MIX_WGMMA_CUH
#define XL_CUDA_MLSTM_MIX_WGMMA_CUH
#include "mlstm_mix_mma.cuh"
#include "wgmma.cuh"

namespace xl {
namespace mlstm {

constexpr int most_a = 1024;

struct WgmmaRows {
  float4 side[mix_rows];  // t_side of the rows, or s_side
  int doc[mix_rows];
  float state_weight[mix_rows], vector_weight[mix_rows], m[mix_rows];
  float sums[mix_rows];
  float vector[most_a];  // of the state: all of n, or the block's columns of n or dn
};

struct WgmmaLayout {
  int x, gates, ring, slot, slots;  // bytes from a multiple of 1024; slots of tiles and of their columns' gates

  __host__ __device__ static int panels(int n) { return (n + panel - 1) / panel; }
  __host__ __device__ WgmmaLayout(int DA, int BN, bool transposed, int limit) {
    const int y = panels(DA < mix_y ? DA : mix_y) * mix_columns * 128, z = panels(BN) * mix_columns * 128;
    const int m = transposed ? BN * 128 : z;
    slot = y > z ? y : z;
    if (m > slot) slot = m;
    slot = (slot + 1023) / 1024 * 1024;
    x = 0;
    ring = panels(DA) * mix_rows * 128;
    if (DA > most_a) limit = 0;
    slots = (limit - 1024 - int(sizeof(WgmmaRows)) - ring) / (slot + mix_columns * 20);
    if (slots > 4) slots = 4;
    gates = ring + slots * slot;
  }
  __host__ __device__ int rows() const { return gates + slots * mix_columns * 20; }
  __host__ __device__ int bytes() const { return rows() + int(sizeof(WgmmaRows)) + 1024; }
};

template <int left>
__device__ inline void wait_for_tile(int slots) {
  if (slots == left + 2)
    copy_wait<left>();
  else if constexpr (left > 0)
    wait_for_tile<left - 1>(slots);
}

template <Mode mode, int BN>
__global__ void __launch_bounds__(mma_threads, BN <= 64 ? 2 : 1)
    mix_wgmma_kernel(Shape s, Gates g, Mix<bf16> mix, int limit) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr bool rows_are_t = mode == FORWARD || mode == QUERY;
  constexpr bool transposed = mode == QUERY || mode == KEY;
  constexpr int NT = BN / 8;
  extern __shared__ unsigned char unaligned[];
  unsigned char *const shared = unaligned + (1024 - shared_address(unaligned) % 1024) % 1024;
  const int DA = int(transposed ? s.DV : s.DK), DO = int(transposed ? s.DK : s.DV);
  const WgmmaLayout layout(DA, BN, transposed, limit);
  WgmmaRows &rows = *reinterpret_cast<WgmmaRows *>(shared + layout.rows());
  const uint32_t base = shared_address(shared), x_tile = base + layout.x;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane % 4;
  const int group_row = __shfl_sync(~0u, warp / 4, 0) * 64;  // the same for the warp, as the compiler must see
  const int64_t at = blockIdx.z, t0 = int64_t(blockIdx.y) * mix_rows;
  const int o0 = blockIdx.x * BN;
  const int chunk = int(t0 / s.L), r0 = int(t0 - int64_t(chunk) * s.L);
  const int64_t begin = int64_t(chunk) * s.L, gate = at * s.Tp + begin, part = int64_t(blockIdx.x) * s.heads * s.Tp;
  if (t0 >= s.T) {
    if (transposed && threadIdx.x < mix_rows)
      mix.inter[part + gate + r0 + threadIdx.x] = mix.intra[part + gate + r0 + threadIdx.x] = 0;
    return;
  }
  const int n = int(min(int64_t(s.L), s.T - begin));
  const int64_t first_row = s.row(at, begin), step_a = s.NH * DA, step_o = s.NH * DO;
  const bf16 *const M = static_cast<const bf16 *>(mix.states) + (at * s.NC + chunk) * s.DK * s.DV;
  const float *const vector = mix.vectors + (at * s.NC + chunk) * s.DK;
  const bool with_state = chunk != mix.skip;

  // Jobs: tiles of M, with them those of x; two of the partner, 64 rows each; for each block of columns tiles of y and
  // one of z; the partner again; two of what the result is added to.
  const int m_jobs = with_state ? (DA + mix_k - 1) / mix_k : 0, partner_jobs = transposed ? 2 : 0;
  const int first_block = rows_are_t ? 0 : r0 / mix_columns, last_rows = rows_are_t ? min(n, r0 + mix_rows) : n;
  const int blocks = (last_rows + mix_columns - 1) / mix_columns - first_block;
  const int y_jobs = (DA + mix_y - 1) / mix_y, block_jobs = y_jobs + 1;
  const int first_product = m_jobs + (with_state ? partner_jobs : 0),
            last_product = first_product + blocks * block_jobs;
  const bool adds = mode != FORWARD && !mix.is_zero;
  const int jobs = last_product + partner_jobs + (adds ? 2 : 0);
  // Blocks in the order in which the other rows of the chunk take them too, so that they meet in the L2 cache.
  auto column_of = [&](int block) { return (rows_are_t ? block : first_block + blocks - 1 - block) * mix_columns; };
  int issued = 0, issue_slot = 0, done_slot = 0, issue_job = 0, issue_block = 0;
  auto copy_rows = [&](uint32_t to, const bf16 *from, int half) {
    copy_panels<64>(to, BN, from + (first_row + int64_t(r0 + half * 64) * s.NH) * DO + o0, step_o, n - r0 - half * 64,
                    DO - o0);
  };
  auto issue = [&] {
    if (issued < jobs) {
      const uint32_t to = base + layout.ring + issue_slot * layout.slot;
      if (issued < m_jobs) {
        const int k0 = issued * mix_k;
        copy_panels<mix_rows>(x_tile + issued * (mix_rows * 128), min(DA - k0, mix_k),
                              mix.x + (first_row + r0 * s.NH) * DA + k0, step_a, n - r0, DA - k0);
        if (transposed)
          copy_panels<BN>(to, mix_k, M + int64_t(o0) * DA + k0, DA, DO - o0, DA - k0);
        else
          copy_panels<mix_k>(to, BN, M + int64_t(k0) * DO + o0, DO, DA - k0, DO - o0);
      } else if (issued < first_product) {
        copy_rows(to, mix.partner, issued - m_jobs);
      } else if (issued < last_product) {
        const int c0 = column_of(issue_block);
        if (issue_job < y_jobs) {
          const int k0 = issue_job * mix_y, width = min(DA - k0, mix_y);
          copy_panels<mix_columns>(to, width, mix.y + (first_row + c0 * s.NH) * DA + k0, step_a, n - c0, width);
          if (issue_job == y_jobs - 1) {
            const uint32_t gates = base + layout.gates + issue_slot * (mix_columns * 20);
            const int j = threadIdx.x;
            if (rows_are_t) {
              if (j < mix_columns / 2) copy_async(gates + j * 16, g.s_side + gate + c0 + 2 * j, true);
            } else if (j < mix_columns) {
              copy_async(gates + j * 16, g.t_side + gate + c0 + j, true);
            } else if (j < mix_columns * 5 / 4) {
              copy_async(gates + j * 16, g.doc + gate + c0 + 4 * (j - mix_columns), true);
            }
          }
        } else {
          copy_panels<mix_columns>(to, BN, mix.z + (first_row + c0 * s.NH) * DO + o0, step_o, n - c0, DO - o0);
        }
        if (++issue_job == block_jobs) issue_job = 0, issue_block++;
      } else {
        const int job = issued - last_product;
        copy_rows(to, job < partner_jobs ? mix.partner : mix.out, job % 2);
      }
      if (++issue_slot == layout.slots) issue_slot = 0;
    }
    copy_commit();
    issued++;
  };
  // Waits for the next job's tile and returns its slot; all have then done with the slot that issue() fills next.
  auto next = [&] {
    wait_for_tile<2>(layout.slots);
    wgmma::fence_shared();
    __syncthreads();
    const int here = done_slot;
    if (++done_slot == layout.slots) done_slot = 0;
    return here;
  };

  if (!with_state) copy_panels<mix_rows>(x_tile, DA, mix.x + (first_row + r0 * s.NH) * DA, step_a, n - r0, DA);
  for (int j = 0; j < layout.slots - 1; j++) issue();

  // Gates of the rows, while the first tiles are on their way.
  if (threadIdx.x < mix_rows) {
    const int64_t here = gate + r0 + threadIdx.x;
    float4 side{};
    if (rows_are_t) {
      side = g.t_side[here];
      rows.doc[threadIdx.x] = g.doc[here];
    } else {
      const float2 x = g.s_side[here];
      side.x = x.x, side.y = x.y;
    }
    rows.side[threadIdx.x] = side;
    rows.state_weight[threadIdx.x] = mix.row_state[here];
    if (transposed) rows.vector_weight[threadIdx.x] = mix.row_vector[here];
    if (mode == FORWARD && r0 + threadIdx.x < n) rows.m[threadIdx.x] = mix.m[first_row + (r0 + threadIdx.x) * s.NH];
  }
  for (int j = threadIdx.x; j < (transposed ? BN : DA); j += mma_threads)
    rows.vector[j] = !transposed ? vector[j] : o0 + j < DO ? vector[o0 + j] : 0.0f;

  float acc[NT][4];
#pragma unroll
  for (int nt = 0; nt < NT; nt++)
#pragma unroll
    for (int e = 0; e < 4; e++) acc[nt][e] = 0;
  auto row_of = [&](int half) { return warp * 16 + half * 8 + lane / 4; };

  // Two numbers of the result's row and columns in a tile of 64 rows.
  auto in_tile = [&](int here, int half, int nt) {
    const int r = row_of(half) - group_row;
    const unsigned char *const tile = shared + layout.ring + here * layout.slot;
    return unpack(
        *reinterpret_cast<const uint32_t *>(tile + nt / 8 * (64 * 128) + r * 128 + (nt % 8 ^ r % 8) * 16 + quad * 4));
  };
  // sums[row] = partner . result; two jobs.
  auto partner_product = [&] {
    for (int job = 0; job < 2; job++) {
      const int here = next();
      issue();
      if (group_row != job * 64) continue;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float sum = 0;
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
          const float2 z = in_tile(here, half, nt);
          sum = fmaf(acc[nt][2 * half], z.x, fmaf(acc[nt][2 * half + 1], z.y, sum));
        }
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (quad == 0) rows.sums[row_of(half)] = sum;
      }
      __syncwarp();
    }
  };

  const uint32_t x_rows = x_tile + group_row * 128;
  auto x_at = [&](int k) { return wgmma::by_rows(x_rows + k / panel * (mix_rows * 128) + k % panel * 2); };
  for (int job = 0; job < m_jobs; job++) {
    const uint32_t tile = base + layout.ring + next() * layout.slot;
    const int k0 = job * mix_k, width = min(mix_k, DA - k0);
    wgmma::fence();
    for (int k = 0; k < width; k += 16) {
      if constexpr (transposed)
        wgmma::Product<BN, false>::shared(acc, x_at(k0 + k), wgmma::by_rows(tile + k * 2));
      else
        wgmma::Product<BN, true>::shared(acc, x_at(k0 + k), wgmma::by_columns(tile + k * 128, mix_k * 128));
    }
    wgmma::commit();
    issue();
    wgmma::wait();
  }
  if (with_state) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float weight = rows.state_weight[row_of(half)], added = transposed ? rows.vector_weight[row_of(half)] : 0;
#pragma unroll
      for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float &value = acc[nt][2 * half + e];
          value *= weight;
          if (transposed) value = fmaf(added, rows.vector[nt * 8 + quad * 2 + e], value);
        }
    }
  }
  float inter = 0;
  if (transposed) {
    if (with_state) {
      partner_product();
      inter = rows.sums[warp * 16 + lane % 16];
    }
    if (lane < 16) mix.inter[part + gate + r0 + warp * 16 + lane] = inter;
  }

  float row_sums[2] = {};
  for (int block = 0; block < blocks; block++) {
    const int c0 = column_of(block), group_first = r0 + group_row;
    // Whether any of this warpgroup's rows needs these columns.
    const bool active = rows_are_t ? c0 <= group_first + 63 : c0 + mix_columns > group_first;
    float score[8][4];
#pragma unroll
    for (int nt = 0; nt < 8; nt++)
#pragma unroll
      for (int e = 0; e < 4; e++) score[nt][e] = 0;
    int here = 0;
    for (int job = 0; job < y_jobs; job++) {
      here = next();
      const uint32_t tile = base + layout.ring + here * layout.slot;
      const int k0 = job * mix_y, width = min(DA - k0, mix_y);
      if (!active) {
        issue();
        continue;
      }
      wgmma::fence();
      for (int k = 0; k < width; k += 16)
        wgmma::Product<64, false>::shared(score, x_at(k0 + k),
                                          wgmma::by_rows(tile + k / panel * (mix_columns * 128) + k % panel * 2));
      wgmma::commit();
      issue();
      wgmma::wait();
    }
    uint32_t weights[4][4];
    if (active) {
      const unsigned char *const gates = shared + layout.gates + here * (mix_columns * 20);
      float4 row_side[2];
      int row_doc[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        row_side[half] = rows.side[row_of(half)];
        row_doc[half] = rows_are_t ? rows.doc[row_of(half)] : 0;
      }
#pragma unroll
      for (int nt = 0; nt < 8; nt++) {
        float value[2][2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const int c = nt * 8 + quad * 2 + e, column = c0 + c;
          float4 side{};
          int doc = 0;
          if (rows_are_t) {
            const float2 x = reinterpret_cast<const float2 *>(gates)[c];
            side.x = x.x, side.y = x.y;
          } else {
            side = reinterpret_cast<const float4 *>(gates)[c];
            doc = reinterpret_cast<const int *>(gates + mix_columns * 16)[c];
          }
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const int row = r0 + row_of(half);
            const float raw = score[nt][2 * half + e];
            const float multiplier = rows_are_t ? row_side[half].z : side.z,
                        added = rows_are_t ? row_side[half].w : side.w;
            const bool counts = rows_are_t ? column <= row && column >= row_doc[half] : row <= column && row >= doc;
            float decay;
            asm("ex2.approx.ftz.f32 %0, %1;"
                : "=f"(decay)
                : "f"((row_side[half].x + side.x) + (row_side[half].y + side.y)));
            value[half][e] = (transposed ? fmaf(raw, multiplier, added) : raw * multiplier) * decay;
            if (!counts) value[half][e] = 0;
          }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
          if (mode == FORWARD) row_sums[half] += value[half][0] + value[half][1];
          weights[nt / 2][nt % 2 * 2 + half] = pack(value[half][0], value[half][1]);
        }
        asm volatile("" ::: "memory");  // keeps the next columns' gates out of registers
      }
    }
    const uint32_t tile = base + layout.ring + next() * layout.slot;
    if (!active) {
      issue();
      continue;
    }
    wgmma::fence();
#pragma unroll
    for (int k = 0; k < mix_columns; k += 16)
      wgmma::Product<BN, true>::registers(acc, weights[k / 16], wgmma::by_columns(tile + k * 128, mix_columns * 128));
    wgmma::commit();
    issue();
    wgmma::wait();
  }

  float factors[2] = {1, 1};
  if (mode == FORWARD) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      row_sums[half] += __shfl_xor_sync(~0u, row_sums[half], 1);
      row_sums[half] += __shfl_xor_sync(~0u, row_sums[half], 2);
      const int r = row_of(half);
      const int64_t row = first_row + int64_t(r0 + r) * s.NH;
      float from_state = 0;
      if (with_state) {
        // q . n: the four lanes that share a row take a quarter of each panel's pieces.
        for (int d = quad * 8; d < DA; d += 32) {
          const int piece = d % panel / 8 ^ (r % 8);
          const uint4 x =
              *reinterpret_cast<const uint4 *>(shared + d / panel * (mix_rows * 128) + r * 128 + piece * 16);
          const uint32_t parts[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
          for (int j = 0; j < 4; j++) {
            const float2 y = unpack(parts[j]);
            from_state = fmaf(y.x, rows.vector[d + 2 * j], fmaf(y.y, rows.vector[d + 2 * j + 1], from_state));
          }
        }
        from_state += __shfl_xor_sync(~0u, from_state, 1);
        from_state += __shfl_xor_sync(~0u, from_state, 2);
      }
      if (r0 + r < n) {
        const float a = fmaf(rows.state_weight[r], from_state, row_sums[half]);
        const float denominator = s.normalize ? fmaxf(fabsf(a), expf(-rows.m[r])) + s.eps : 1.0f;
        if (blockIdx.x == 0 && quad == 0) mix.denominator[row] = denominator;
        factors[half] = 1.0f / denominator;
      }
    }
  }
  if (transposed) {
    partner_product();
    if (lane < 16) mix.intra[part + gate + r0 + warp * 16 + lane] = rows.sums[warp * 16 + lane] - inter;
  }
  auto store_rows = [&](int here) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int r = row_of(half);
      bf16 *const to = mix.out + (first_row + int64_t(r0 + r) * s.NH) * DO;
#pragma unroll
      for (int n0 = 0; n0 < NT; n0 += 4) {
        uint32_t y[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float2 old = adds ? in_tile(here, half, n0 + j) : float2{0, 0};
          y[j] = pack(fmaf(acc[n0 + j][2 * half], factors[half], old.x),
                      fmaf(acc[n0 + j][2 * half + 1], factors[half], old.y));
        }
        transpose_quad(y);
        const int column = o0 + (n0 + quad) * 8;
        if (r0 + r < n && column < DO) *reinterpret_cast<uint4 *>(to + column) = uint4{y[0], y[1], y[2], y[3]};
      }
    }
  };
  if (!adds) {
    store_rows(0);
  } else {
    for (int job = 0; job < 2; job++) {
      const int here = next();
      issue();
      if (group_row == job * 64) store_rows(here);
    }
  }
#endif
}

}  // namespace mlstm
}  // namespace xl
#endif
