// The walk over the chunks of the mLSTM with Hopper's warpgroup products; mlstm_states_mma.cu says what it does. Each
// of two warpgroups has half of the block's rows of C. A thread weighs the numbers of b that it has copied itself, so
// that one barrier per 64 steps is enough. The other state of the backward pass arrives a chunk ahead.
//
// 64 steps of a 256 x 128 tile are 1,024 clocks of products and 48 KB: the L2 cache bounds this, 0.3 ms at B8 T8192, 8
// heads, DK 256, DV 512, less than the 0.45 ms of memory traffic.
#include "mlstm_mma.cuh"
#include "wgmma.cuh"

namespace xl {
namespace mlstm {
namespace {

constexpr int steps = 64, stages = 3;  // steps at a time

template <int BK, int BV>
struct States {
  static constexpr int a = BK * 128, b = BV * 128, stage = a + b, other = stages * stage, weights = other + BK * BV * 2;
  static constexpr int bytes = weights + stages * steps * 4 + 1024;
};

template <int BK, int BV>
__global__ void __launch_bounds__(mma_threads, 1) states_wgmma_kernel(Shape s, Gates g, StateUpdate<bf16> u) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Memory = States<BK, BV>;
  constexpr int MT = BK / 128, NT = BV / 8, pairs = BK / 2, groups = mma_threads / pairs;
  extern __shared__ unsigned char unaligned[];
  unsigned char *const shared = unaligned + (1024 - shared_address(unaligned) % 1024) % 1024;
  const uint32_t base = shared_address(shared);
  float *const vector_weights = reinterpret_cast<float *>(shared + Memory::weights);
  __shared__ float2 vector_parts[mma_threads];
  __shared__ float sums[mma_threads / 32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane % 4;
  const int group_row = __shfl_sync(~0u, warp / 4, 0) * (BK / 2);
  const int64_t at = blockIdx.z;
  const int d0 = blockIdx.y * BK, e0 = blockIdx.x * BV;
  const int local_row = group_row + warp % 4 * 16 + lane / 4;
  const int DK = int(s.DK), DV = int(s.DV), count = int(s.Tp / steps), per_chunk = s.L / steps;
  const int64_t state = s.DK * s.DV, head = s.bh0 + at, first_row = s.row(at, 0);
  const bool with_vector = blockIdx.x == 0;
  const int vector_pair = threadIdx.x % pairs * 2, vector_group = threadIdx.x / pairs;
  const int copied_row = threadIdx.x / 8, copied_piece = threadIdx.x % 8;

  auto begin_of = [&](int j) { return int64_t(u.reversed ? count - 1 - j : j) * steps; };
  auto chunk_of = [&](int j) { return at * s.NC + (u.reversed ? count - 1 - j : j) / per_chunk; };
  auto issue = [&](int j) {
    if (j < count) {
      const uint32_t to = base + j % stages * Memory::stage;
      const int64_t t = begin_of(j);
      const int valid = int(min(max(s.T - t, int64_t(0)), int64_t(steps)));
      const int64_t row = first_row + (valid > 0 ? t : 0) * s.NH;
      copy_panels<steps>(to, BK, u.a + row * DK + d0, s.NH * DK, valid, DK - d0);
      copy_panels<steps>(to + Memory::a, BV, u.b + row * DV + e0, s.NH * DV, valid, DV - e0);
      if (with_vector && threadIdx.x < steps / 4)
        copy_async(base + Memory::weights + (j % stages * steps + threadIdx.x * 4) * 4,
                   u.vector_weight + at * s.Tp + t + threadIdx.x * 4, true);
    }
    copy_commit();
  };
  auto issue_other = [&](int j) {
    if (u.across && j < count)
      copy_panels<BK>(base + Memory::other, BV,
                      static_cast<const bf16 *>(u.other) + chunk_of(j) * state + int64_t(d0) * DV + e0, DV, DK - d0,
                      DV - e0);
  };

  const float factor = u.first_factor ? u.first_factor[at] : 1.0f;
  float acc[MT][NT][4];
#pragma unroll
  for (int mt = 0; mt < MT; mt++)
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int d = d0 + local_row + mt * 64 + e / 2 * 8, column = e0 + nt * 8 + quad * 2 + e % 2;
        acc[mt][nt][e] =
            u.first && d < DK && column < DV ? factor * u.first[head * state + int64_t(d) * DV + column] : 0;
      }
  float2 vector{0, 0};
  if (u.vector_first && vector_group == 0 && d0 + vector_pair < DK) {
    vector.x = factor * u.vector_first[head * DK + d0 + vector_pair];
    vector.y = factor * u.vector_first[head * DK + d0 + vector_pair + 1];
  }
  // The whole vector, in the threads of the first group.
  auto whole_vector = [&] {
    vector_parts[threadIdx.x] = vector;
    __syncthreads();
    float2 sum{0, 0};
    if (vector_group == 0)
      for (int j = 0; j < groups; j++) {
        sum.x += vector_parts[j * pairs + threadIdx.x].x;
        sum.y += vector_parts[j * pairs + threadIdx.x].y;
      }
    __syncthreads();
    return sum;
  };

  float next_carry = g.carry[chunk_of(0)];
  // What a chunk begins with: its state to memory, the product with the other state, and carry times the state.
  auto chunk_begins = [&](int j) {
    const int64_t chunk = chunk_of(j);
    const float carry = next_carry;
    if (j + per_chunk < count) next_carry = g.carry[chunk_of(j + per_chunk)];
    bf16 *const to = static_cast<bf16 *>(u.states) + chunk * state;
    float product = 0;
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int r = local_row + mt * 64 + half * 8, d = d0 + r;
        if (u.across) {
#pragma unroll
          for (int nt = 0; nt < NT; nt++) {
            const int offset = nt / 8 * (BK * 128) + r * 128 + (nt % 8 ^ r % 8) * 16 + quad * 4;
            const float2 y = unpack(*reinterpret_cast<const uint32_t *>(shared + Memory::other + offset));
            product += acc[mt][nt][2 * half] * y.x + acc[mt][nt][2 * half + 1] * y.y;
          }
        }
#pragma unroll
        for (int n0 = 0; n0 < NT; n0 += 4) {
          uint32_t y[4];
#pragma unroll
          for (int n = 0; n < 4; n++) y[n] = pack(acc[mt][n0 + n][2 * half], acc[mt][n0 + n][2 * half + 1]);
          transpose_quad(y);
          const int column = e0 + (n0 + quad) * 8;
          if (d < DK && column < DV)
            *reinterpret_cast<uint4 *>(to + int64_t(d) * DV + column) = uint4{y[0], y[1], y[2], y[3]};
        }
      }
    if (with_vector) {
      const float2 sum = whole_vector();
      const int64_t offset = chunk * DK + d0 + vector_pair;
      if (vector_group == 0 && d0 + vector_pair < DK) {
        u.vectors[offset] = sum.x;
        u.vectors[offset + 1] = sum.y;
        if (u.across) product += sum.x * u.other_vectors[offset] + sum.y * u.other_vectors[offset + 1];
      }
    }
    if (u.across) {
      for (int o = 16; o > 0; o /= 2) product += __shfl_xor_sync(~0u, product, o);
      if (lane == 0) sums[warp] = product;
      __syncthreads();
      if (threadIdx.x == 0) {
        float total = 0;
        for (int w = 0; w < mma_threads / 32; w++) total += sums[w];
        u.across[chunk * gridDim.x * gridDim.y + blockIdx.y * gridDim.x + blockIdx.x] = carry * total;
      }
      issue_other(j + per_chunk);
    }
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
      for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int e = 0; e < 4; e++) acc[mt][nt][e] *= carry;
    vector.x *= carry;
    vector.y *= carry;
  };

  float weights[2];
  auto load_weights = [&](int j) {
    if (j >= count) return;
    for (int i = 0; i < 2; i++) weights[i] = u.weight[at * s.Tp + begin_of(j) + copied_row + 32 * i];
  };
  issue_other(0);
  for (int j = 0; j < stages - 1; j++) issue(j);
  load_weights(0);
  for (int j = 0; j < count; j++) {
    const int stage = j % stages * Memory::stage;
    copy_wait<stages - 2>();
#pragma unroll
    for (int i = 0; i < BV / 32; i++) {
      const int r = copied_row + i % 2 * 32;
      uint4 *const p = reinterpret_cast<uint4 *>(shared + stage + Memory::a + i / 2 * (steps * 128) + r * 128 +
                                                 (copied_piece ^ r % 8) * 16);
      const uint4 x = *p;
      uint32_t y[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const float2 z = unpack(y[e]);
        y[e] = pack(z.x * weights[i % 2], z.y * weights[i % 2]);
      }
      *p = uint4{y[0], y[1], y[2], y[3]};
    }
    wgmma::fence_shared();
    __syncthreads();
    if (j % per_chunk == 0) chunk_begins(j);
    const uint32_t a = base + stage + group_row / panel * (steps * 128), b = base + stage + Memory::a;
    wgmma::fence();
#pragma unroll
    for (int t = 0; t < steps; t += 16)
#pragma unroll
      for (int mt = 0; mt < MT; mt++)
        wgmma::Product<BV, true>::template shared<true>(
            acc[mt], wgmma::by_columns(a + mt * (steps * 128) + t * 128, steps * 128),
            wgmma::by_columns(b + t * 128, steps * 128));
    wgmma::commit();
    issue(j + stages - 1);
    load_weights(j + 1);
    if (with_vector) {
      const unsigned char *const from = shared + stage + vector_pair / panel * (steps * 128) + vector_pair % 8 * 2;
      const float *const weight = vector_weights + j % stages * steps;
#pragma unroll 8
      for (int t = vector_group * (steps / groups); t < (vector_group + 1) * (steps / groups); t++) {
        const int offset = t * 128 + (vector_pair % panel / 8 ^ t % 8) * 16;
        const float2 x = unpack(*reinterpret_cast<const uint32_t *>(from + offset));
        vector.x = fmaf(weight[t], x.x, vector.x);
        vector.y = fmaf(weight[t], x.y, vector.y);
      }
    }
    wgmma::wait();
  }
  const float out_factor = u.out_factor ? u.out_factor[at] : 1.0f;
  if (u.out) {
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
      for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int d = d0 + local_row + mt * 64 + e / 2 * 8, column = e0 + nt * 8 + quad * 2 + e % 2;
          if (d >= DK || column >= DV) continue;
          float *out = u.out + head * state + int64_t(d) * DV + column;
          *out = (u.add ? *out : 0.0f) + out_factor * acc[mt][nt][e];
        }
  }
  if (u.vector_out && with_vector) {
    const float2 sum = whole_vector();
    if (vector_group == 0 && d0 + vector_pair < DK) {
      float *out = u.vector_out + head * DK + d0 + vector_pair;
      out[0] = (u.add ? out[0] : 0.0f) + out_factor * sum.x;
      out[1] = (u.add ? out[1] : 0.0f) + out_factor * sum.y;
    }
  }
#endif
}

template <int BK, int BV>
int launch(const Shape &s, const Gates &g, const StateUpdate<bf16> &u) {
  constexpr int bytes = States<BK, BV>::bytes;
  cudaFuncSetAttribute(states_wgmma_kernel<BK, BV>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  const dim3 grid(unsigned(ceil_div(s.DV, BV)), unsigned(ceil_div(s.DK, BK)), unsigned(s.heads));
  states_wgmma_kernel<BK, BV><<<grid, mma_threads, bytes, stream()>>>(s, g, u);
  return launched("mlstm states (warpgroups)");
}

}  // namespace

int run_states_wgmma(int BK, int BV, const Shape &s, const Gates &g, const StateUpdate<bf16> &u) {
  if (BK == 256) return launch<256, 128>(s, g, u);
  return BV == 128 ? launch<128, 128>(s, g, u) : launch<128, 64>(s, g, u);
}

}  // namespace mlstm
}  // namespace xl
