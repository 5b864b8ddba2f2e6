// The product that h, dq, dk and dv of the mLSTM are (mlstm.cuh, Mix), on tensor cores, for all rows of all chunks at
// once.
//
// One block has 128 rows and BN columns of the result in registers (8 warps of 32 x BN/2) and its 128 rows of x in
// shared memory. Tiles stream past through a ring: first M, 64 of its DA rows at a time; then for each 64 columns of
// scores those rows of y (up to 256 numbers at a time) and of z. Scores become weights in registers and go through
// shared memory as the left operand of the second product. Above the diagonal, 32 x 32 scores at a time are left out.
// A tile of 64 x 256 is 32 KB for 2.1 M multiply-adds: 19 bytes a clock at 60 % of the peak rate, which the L2 cache
// gives.
#ifndef XL_CUDA_MLSTM_MIX_MMA_CUH
#define XL_CUDA_MLSTM_MIX_MMA_CUH
#include "mlstm_mma.cuh"

namespace xl {
namespace mlstm {

constexpr int mix_rows = 128, mix_columns = 64, mix_k = 64, mix_y = 256;
constexpr int ldp = mix_columns + pad;

struct MixRows {
  float4 side[mix_rows];  // t_side of the rows, or s_side
  int doc[mix_rows];
  float state_sum[mix_rows];  // q . n of the state before the chunk
  float sums[2][mix_rows];
};

// Where a block's shared memory lies, in bytes.
struct MixLayout {
  int ldx, ldy, slot, gates, x, p, ring, slots;

  __host__ __device__ MixLayout(int DA, int BN, bool transposed, int limit) {
    ldx = DA + pad;
    ldy = (DA < mix_y ? DA : mix_y) + pad;
    gates = mix_columns * ldy * 2;
    const int z = mix_k * (BN + pad) * 2, m = transposed ? BN * (mix_k + pad) * 2 : z;
    slot = gates + mix_columns * 20;
    if (BN > 0 && z > slot) slot = z;
    if (BN > 0 && m > slot) slot = m;
    x = int(sizeof(MixRows));
    p = x + mix_rows * ldx * 2;
    ring = p + (BN > 0 ? mix_rows * ldp * 2 : 0);
    slots = (limit - ring) / slot;
    if (slots > 3) slots = 3;
  }
  __host__ __device__ int bytes() const { return ring + slots * slot; }
};

template <Mode mode, int BN>
__global__ void __launch_bounds__(mma_threads, BN <= 64 ? 2 : 1)
    mix_kernel(Shape s, Gates g, Mix<bf16> mix, int limit) {
  constexpr bool rows_are_t = mode == FORWARD || mode == SUMS || mode == QUERY;
  constexpr bool transposed = mode == QUERY || mode == KEY;
  constexpr bool with_out = mode != SUMS;
  constexpr int NT = with_out ? BN / 16 : 2;
  extern __shared__ __align__(128) unsigned char shared[];
  const int DA = int(transposed ? s.DV : s.DK), DO = int(transposed ? s.DK : s.DV);
  const MixLayout layout(DA, with_out ? BN : 0, transposed, limit);
  MixRows &rows = *reinterpret_cast<MixRows *>(shared);
  const uint32_t x_tile = shared_address(shared + layout.x), p_tile = shared_address(shared + layout.p);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane % 4;
  const int warp_row = warp / 2 * 32, warp_half = warp % 2;
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

  // Jobs: tiles of M, then for each block of columns tiles of y and one of z.
  const int m_jobs = with_out && with_state ? (DA + mix_k - 1) / mix_k : 0;
  const int first_block = rows_are_t ? 0 : r0 / mix_columns, last_rows = rows_are_t ? min(n, r0 + mix_rows) : n;
  const int blocks = (last_rows + mix_columns - 1) / mix_columns - first_block;
  const int y_jobs = (DA + mix_y - 1) / mix_y, block_jobs = y_jobs + (with_out ? 1 : 0);
  const int jobs = m_jobs + blocks * block_jobs;
  int issued = 0, done = 0;
  auto slot = [&](int job) { return shared + layout.ring + job % layout.slots * layout.slot; };
  auto issue = [&] {
    if (issued < jobs) {
      unsigned char *const memory = slot(issued);
      const uint32_t to = shared_address(memory);
      if (issued < m_jobs) {
        const int k0 = issued * mix_k;
        if (transposed)
          copy_tile(to, mix_k + pad, BN, mix_k, M + int64_t(o0) * DA + k0, DA, DO - o0, DA - k0);
        else
          copy_tile(to, BN + pad, mix_k, BN, M + int64_t(k0) * DO + o0, DO, DA - k0, DO - o0);
      } else {
        const int job = (issued - m_jobs) % block_jobs;
        const int c0 = (first_block + (issued - m_jobs) / block_jobs) * mix_columns;
        if (job < y_jobs) {
          const int k0 = job * mix_y, width = min(DA - k0, mix_y);
          copy_tile(to, layout.ldy, mix_columns, width, mix.y + (first_row + c0 * s.NH) * DA + k0, step_a, n - c0,
                    width);
          if (job == y_jobs - 1) {
            const uint32_t gates = to + layout.gates;
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
          copy_tile(to, BN + pad, mix_columns, BN, mix.z + (first_row + c0 * s.NH) * DO + o0, step_o, n - c0, DO - o0);
        }
      }
    }
    copy_commit();
    issued++;
  };
  // Waits for the next job's tile, in order, and starts the copy of a later one.
  auto next = [&] {
    if (layout.slots == 3)
      copy_wait<1>();
    else
      copy_wait<0>();
    __syncthreads();
    issue();
    return slot(done++);
  };

  if (threadIdx.x < mix_rows) {
    const int64_t here = gate + r0 + threadIdx.x;
    if (rows_are_t) {
      rows.side[threadIdx.x] = g.t_side[here];
      rows.doc[threadIdx.x] = g.doc[here];
    } else {
      const float2 side = g.s_side[here];
      rows.side[threadIdx.x] = float4{side.x, side.y, 0, 0};
    }
    rows.state_sum[threadIdx.x] = 0;
  }
  copy_tile(x_tile, layout.ldx, mix_rows, DA, mix.x + (first_row + r0 * s.NH) * DA, step_a, n - r0, DA);
  for (int j = 0; j < layout.slots - 1; j++) issue();

  float acc[2][NT][4];
#pragma unroll
  for (int mt = 0; mt < 2; mt++)
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[mt][nt][e] = 0;

  // Rows of this thread within the block, and of its numbers, columns within the result.
  auto row_of = [&](int mt, int half) { return warp_row + mt * 16 + half * 8 + lane / 4; };
  const int warp_column = o0 + warp_half * (BN / 2);

  // sums[half][row] = partner . result over this warp's columns.
  auto partner_product = [&] {
#pragma unroll
    for (int mt = 0; mt < 2; mt++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int r = row_of(mt, half);
        const bf16 *const from = mix.partner + (first_row + int64_t(r0 + r) * s.NH) * DO;
        const bool valid = r0 + r < n;
        float sum = 0;
#pragma unroll
        for (int n0 = 0; n0 + 4 <= NT; n0 += 4) {
          const int column = warp_column + (n0 + quad) * 8;
          uint4 x{0, 0, 0, 0};
          if (valid && column < DO) x = *reinterpret_cast<const uint4 *>(from + column);
          uint32_t y[4] = {x.x, x.y, x.z, x.w};
          transpose_quad(y);
#pragma unroll
          for (int j = 0; j < 4; j++) {
            const float2 z = unpack(y[j]);
            sum += acc[mt][n0 + j][2 * half] * z.x + acc[mt][n0 + j][2 * half + 1] * z.y;
          }
        }
#pragma unroll
        for (int nt = NT / 4 * 4; nt < NT; nt++) {
          const int column = warp_column + nt * 8 + quad * 2;
          if (valid && column < DO) {
            const float2 z = unpack(*reinterpret_cast<const uint32_t *>(from + column));
            sum += acc[mt][nt][2 * half] * z.x + acc[mt][nt][2 * half + 1] * z.y;
          }
        }
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (quad == 0) rows.sums[warp_half][r] = sum;
      }
  };

  if (with_out) {
    for (int k0 = 0; done < m_jobs; k0 += mix_k) {
      const uint32_t tile = shared_address(next());
      const int width = min(mix_k, DA - k0);
      const uint32_t x = x_tile + (warp_row * layout.ldx + k0) * 2;
      if constexpr (transposed)
        warp_product<false>(acc, x, layout.ldx, tile + warp_half * (BN / 2) * (mix_k + pad) * 2, mix_k + pad, 0, width);
      else
        warp_product<true>(acc, x, layout.ldx, tile + warp_half * (BN / 2) * 2, BN + pad, 0, width);
    }
    if (with_state) {
#pragma unroll
      for (int mt = 0; mt < 2; mt++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int64_t here = gate + r0 + row_of(mt, half);
          const float weight = mix.row_state[here], added = transposed ? mix.row_vector[here] : 0;
#pragma unroll
          for (int nt = 0; nt < NT; nt++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
              const int column = warp_column + nt * 8 + quad * 2 + e;
              float &value = acc[mt][nt][2 * half + e];
              value *= weight;
              if (transposed && column < DO) value = fmaf(added, vector[column], value);
            }
        }
    }
    if (transposed) partner_product();
  }

  float row_sums[2][2] = {};
  float from_state = 0;
  for (int block = 0; block < blocks; block++) {
    const int c0 = (first_block + block) * mix_columns;
    // Of the diagonal, in numbers relative to the block of columns.
    const int row_first = r0 + warp_row - c0, row_last = row_first + 31;
    const int column_first = warp_half * 32;
    const bool active = rows_are_t ? column_first <= row_last : column_first + 31 >= row_first;
    float score[2][4][4];
#pragma unroll
    for (int mt = 0; mt < 2; mt++)
#pragma unroll
      for (int nt = 0; nt < 4; nt++)
#pragma unroll
        for (int e = 0; e < 4; e++) score[mt][nt][e] = 0;
    unsigned char *memory = nullptr;
    for (int job = 0; job < y_jobs; job++) {
      memory = next();
      if (transposed && block == 0 && job == 0 && threadIdx.x < mix_rows)
        mix.inter[part + gate + r0 + threadIdx.x] = rows.sums[0][threadIdx.x] + rows.sums[1][threadIdx.x];
      if (active)
        warp_product<false>(score, x_tile + (warp_row * layout.ldx + job * mix_y) * 2, layout.ldx,
                            shared_address(memory) + column_first * layout.ldy * 2, layout.ldy, 0,
                            min(DA - job * mix_y, mix_y));
    }
    if (active) {
      const unsigned char *const gates = memory + layout.gates;
#pragma unroll
      for (int mt = 0; mt < 2; mt++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int r = row_of(mt, half), row = r0 + r;
          const float4 row_side = rows.side[r];
          const int row_doc = rows_are_t ? rows.doc[r] : 0;
#pragma unroll
          for (int nt = 0; nt < 4; nt++) {
            float value[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
              const int c = column_first + nt * 8 + quad * 2 + e, column = c0 + c;
              const float raw = score[mt][nt][2 * half + e];
              float exponent, multiplier, added;
              bool counts;
              if (rows_are_t) {
                const float2 side = reinterpret_cast<const float2 *>(gates)[c];
                exponent = (row_side.x + side.x) + (row_side.y + side.y);
                multiplier = row_side.z;
                added = row_side.w;
                counts = column <= row && column >= row_doc;
              } else {
                const float4 side = reinterpret_cast<const float4 *>(gates)[c];
                exponent = (row_side.x + side.x) + (row_side.y + side.y);
                multiplier = side.z;
                added = side.w;
                counts = row <= column && row >= reinterpret_cast<const int *>(gates + mix_columns * 16)[c];
              }
              float decay;
              asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(decay) : "f"(exponent));
              value[e] = (transposed ? fmaf(raw, multiplier, added) : raw * multiplier) * decay;
              if (!counts) value[e] = 0;
            }
            if (mode == FORWARD || mode == SUMS) row_sums[mt][half] += value[0] + value[1];
            if (with_out) {
              const uint32_t to = p_tile + (r * ldp + column_first + nt * 8 + quad * 2) * 2;
              asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(pack(value[0], value[1])) : "memory");
            }
          }
        }
    }
    if constexpr (with_out) {
      const uint32_t tile = shared_address(next());
      const int k_begin = rows_are_t ? 0 : max(row_first / 16 * 16, 0);
      const int k_end = rows_are_t ? min(row_last + 1, mix_columns) : mix_columns;
      warp_product<true>(acc, p_tile + warp_row * ldp * 2, ldp, tile + warp_half * (BN / 2) * 2, BN + pad, k_begin,
                         k_end);
    }
  }
  copy_wait<0>();
  __syncthreads();

  if (mode == FORWARD || mode == SUMS) {
    if (with_state) {
      // q . n: two threads to a row.
      const int r = threadIdx.x / 2;
      for (int d = threadIdx.x % 2 * 8; d < DA; d += 16) {
        const uint4 x = *reinterpret_cast<const uint4 *>(shared + layout.x + (r * layout.ldx + d) * 2);
        const uint32_t parts[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float2 y = unpack(parts[j]);
          from_state = fmaf(y.x, vector[d + 2 * j], fmaf(y.y, vector[d + 2 * j + 1], from_state));
        }
      }
      from_state += __shfl_xor_sync(~0u, from_state, 1);
      if (threadIdx.x % 2 == 0) rows.state_sum[r] = from_state * mix.row_state[gate + r0 + r];
    }
#pragma unroll
    for (int mt = 0; mt < 2; mt++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float sum = row_sums[mt][half];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (quad == 0) rows.sums[warp_half][row_of(mt, half)] = sum;
      }
    __syncthreads();
    if (threadIdx.x < mix_rows) {
      const int r = threadIdx.x;
      const float a = rows.sums[0][r] + rows.sums[1][r] + rows.state_sum[r];
      if (mode == SUMS) {
        mix.sums[gate + r0 + r] = a;
      } else if (r0 + r < n) {
        const int64_t row = first_row + int64_t(r0 + r) * s.NH;
        const float denominator = s.normalize ? fmaxf(fabsf(a), expf(-mix.m[row])) + s.eps : 1.0f;
        if (blockIdx.x == 0) mix.denominator[row] = denominator;
        rows.state_sum[r] = 1.0f / denominator;
      }
    }
    __syncthreads();
  }
  if constexpr (with_out) {
    if (transposed) {
      partner_product();
      __syncthreads();
      if (threadIdx.x < mix_rows) {
        const int64_t here = part + gate + r0 + threadIdx.x;
        mix.intra[here] = rows.sums[0][threadIdx.x] + rows.sums[1][threadIdx.x] - mix.inter[here];
      }
    }
#pragma unroll
    for (int mt = 0; mt < 2; mt++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int r = row_of(mt, half);
        const bool valid = r0 + r < n;
        const float factor = mode == FORWARD && valid ? rows.state_sum[r] : 1.0f;
        const bool adds = mode != FORWARD && !mix.is_zero;
        bf16 *const to = mix.out + (first_row + int64_t(r0 + r) * s.NH) * DO;
        auto result = [&](int nt, uint32_t old) {
          const float2 y = unpack(old);
          return pack(fmaf(acc[mt][nt][2 * half], factor, y.x), fmaf(acc[mt][nt][2 * half + 1], factor, y.y));
        };
#pragma unroll
        for (int n0 = 0; n0 + 4 <= NT; n0 += 4) {
          const int column = warp_column + (n0 + quad) * 8;
          const bool inside = valid && column < DO;
          uint4 *const p = reinterpret_cast<uint4 *>(to + column);
          uint4 old{0, 0, 0, 0};
          if (adds && inside) old = *p;
          uint32_t y[4] = {old.x, old.y, old.z, old.w};
          if (adds) transpose_quad(y);
#pragma unroll
          for (int j = 0; j < 4; j++) y[j] = result(n0 + j, y[j]);
          transpose_quad(y);
          if (inside) *p = uint4{y[0], y[1], y[2], y[3]};
        }
#pragma unroll
        for (int nt = NT / 4 * 4; nt < NT; nt++) {
          const int column = warp_column + nt * 8 + quad * 2;
          if (!valid || column >= DO) continue;
          uint32_t *const p = reinterpret_cast<uint32_t *>(to + column);
          *p = result(nt, adds ? *p : 0);
        }
      }
  }
}

}  // namespace mlstm
}  // namespace xl
#endif
