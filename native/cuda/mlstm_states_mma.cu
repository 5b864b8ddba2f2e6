// The walk over the chunks of the mLSTM on tensor cores: C = carry C + K^T (weight V) with C in registers, and the
// state before each chunk to memory in bf16. With a and b exchanged for q and dh, and time reversed, its cotangent.
//
// One block has BK x BV numbers of one head's C and takes 64 steps at a time: (BK + BV) 128 bytes for 64 BK BV
// multiply-adds, 48 KB for 2.1 M at 256 x 128: 29 bytes a clock at the 60 % of the peak rate that mma.sync reaches,
// which the L2 cache can give. 256 blocks at B8, 8 heads, DK 256, DV 512: 0.14 TFLOP, 0.3 ms; 1.3 GB of memory traffic,
// 0.45 ms. Fewer heads take smaller tiles, so that all multiprocessors work.
#include "mlstm_mma.cuh"

namespace xl {
namespace mlstm {
namespace {

constexpr int steps = 64;  // at a time

template <int BK, int BV>
struct Stage {
  bf16 a[steps][BK + pad], b[steps][BV + pad];
  float weight[steps], vector_weight[steps];
};

template <int BK, int BV, int stages>
__global__ void __launch_bounds__(mma_threads, 1) states_kernel(Shape s, Gates g, StateUpdate<bf16> u) {
  constexpr int MT = BK / 64, NT = BV / 16;  // tiles of 16 rows and of 8 columns of a warp; 4 x 2 warps
  constexpr int pairs = BK / 2, groups = mma_threads / pairs;
  extern __shared__ __align__(128) unsigned char shared[];
  Stage<BK, BV> *ring = reinterpret_cast<Stage<BK, BV> *>(shared);
  __shared__ float2 vector_parts[mma_threads];
  __shared__ float sums[mma_threads / 32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane % 4;
  const int64_t at = blockIdx.z;
  const int d0 = blockIdx.y * BK, e0 = blockIdx.x * BV;
  const int row0 = d0 + warp / 2 * (BK / 4) + lane / 4, column0 = e0 + warp % 2 * (BV / 2);
  const int DK = int(s.DK), DV = int(s.DV), count = int(s.Tp / steps), per_chunk = s.L / steps;
  const int64_t state = s.DK * s.DV, head = s.bh0 + at, first_row = s.row(at, 0);
  // The vector: a thread has two of its numbers, as far as they come from one group of each 64 steps.
  const bool with_vector = blockIdx.x == 0;
  const int vector_pair = threadIdx.x % pairs * 2, vector_group = threadIdx.x / pairs;

  auto begin_of = [&](int j) { return int64_t(u.reversed ? count - 1 - j : j) * steps; };
  auto chunk_of = [&](int j) { return at * s.NC + (u.reversed ? count - 1 - j : j) / per_chunk; };
  auto issue = [&](int j) {
    if (j < count) {
      Stage<BK, BV> &stage = ring[j % stages];
      const int64_t t = begin_of(j);
      const int valid = int(min(max(s.T - t, int64_t(0)), int64_t(steps)));
      const int64_t row = first_row + (valid > 0 ? t : 0) * s.NH;
      copy_tile(shared_address(stage.a), BK + pad, steps, BK, u.a + row * DK + d0, s.NH * DK, valid, DK - d0);
      copy_tile(shared_address(stage.b), BV + pad, steps, BV, u.b + row * DV + e0, s.NH * DV, valid, DV - e0);
      const int lane4 = threadIdx.x % (steps / 4) * 4;
      if (threadIdx.x < steps / 4)
        copy_async(shared_address(stage.weight + lane4), u.weight + at * s.Tp + t + lane4, true);
      else if (threadIdx.x < steps / 2)
        copy_async(shared_address(stage.vector_weight + lane4), u.vector_weight + at * s.Tp + t + lane4, true);
    }
    copy_commit();
  };

  const float factor = u.first_factor ? u.first_factor[at] : 1.0f;
  float acc[MT][NT][4];
#pragma unroll
  for (int mt = 0; mt < MT; mt++)
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int d = row0 + mt * 16 + e / 2 * 8, column = column0 + nt * 8 + quad * 2 + e % 2;
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
  for (int j = 0; j < stages - 1; j++) issue(j);
  for (int j = 0; j < count; j++) {
    copy_wait<stages - 2>();
    __syncthreads();
    issue(j + stages - 1);
    if (j % per_chunk == 0) {
      const int64_t chunk = chunk_of(j);
      const float carry = next_carry;
      if (j + per_chunk < count) next_carry = g.carry[chunk_of(j + per_chunk)];
      bf16 *to = static_cast<bf16 *>(u.states) + chunk * state;
      const bf16 *other = static_cast<const bf16 *>(u.other) + chunk * state;
      float product = 0;
      // All reads of the other state before the writes, so that they are under way together.
      auto each_four = [&](auto body) {
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
          for (int half = 0; half < 2; half++)
#pragma unroll
            for (int n0 = 0; n0 < NT; n0 += 4) {
              const int d = row0 + mt * 16 + half * 8, column = column0 + (n0 + quad) * 8;
              body(mt, half, n0, d < DK && column < DV, int64_t(d) * DV + column);
            }
      };
      if (u.across)
        each_four([&](int mt, int half, int n0, bool inside, int64_t offset) {
          const uint4 x = inside ? *reinterpret_cast<const uint4 *>(other + offset) : uint4{0, 0, 0, 0};
          uint32_t r[4] = {x.x, x.y, x.z, x.w};
          transpose_quad(r);
#pragma unroll
          for (int n = 0; n < 4; n++) {
            const float2 y = unpack(r[n]);
            product += acc[mt][n0 + n][2 * half] * y.x + acc[mt][n0 + n][2 * half + 1] * y.y;
          }
        });
      each_four([&](int mt, int half, int n0, bool inside, int64_t offset) {
        uint32_t r[4];
#pragma unroll
        for (int n = 0; n < 4; n++) r[n] = pack(acc[mt][n0 + n][2 * half], acc[mt][n0 + n][2 * half + 1]);
        transpose_quad(r);
        if (inside) *reinterpret_cast<uint4 *>(to + offset) = uint4{r[0], r[1], r[2], r[3]};
      });
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
        __syncthreads();
      }
#pragma unroll
      for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int nt = 0; nt < NT; nt++)
#pragma unroll
          for (int e = 0; e < 4; e++) acc[mt][nt][e] *= carry;
      vector.x *= carry;
      vector.y *= carry;
    }
    const Stage<BK, BV> &stage = ring[j % stages];
    if (with_vector) {
#pragma unroll 8
      for (int t = vector_group * (steps / groups); t < (vector_group + 1) * (steps / groups); t++) {
        const float2 x = unpack(*reinterpret_cast<const uint32_t *>(&stage.a[t][vector_pair]));
        vector.x = fmaf(stage.vector_weight[t], x.x, vector.x);
        vector.y = fmaf(stage.vector_weight[t], x.y, vector.y);
      }
    }
    // Left operand: 16 numbers of DK by 16 steps of a, stored by steps, times the weights of the steps.
    const uint32_t a = shared_address(&stage.a[lane / 16 * 8 + lane % 8][warp / 2 * (BK / 4) + lane / 8 % 2 * 8]);
    const uint32_t b = shared_address(&stage.b[lane % 16][warp % 2 * (BV / 2) + lane / 16 * 8]);
#pragma unroll
    for (int t = 0; t < steps; t += 16) {
      const float2 low = *reinterpret_cast<const float2 *>(&stage.weight[t + 2 * quad]);
      const float2 high = *reinterpret_cast<const float2 *>(&stage.weight[t + 8 + 2 * quad]);
      const __nv_bfloat162 weights[2] = {__floats2bfloat162_rn(low.x, low.y), __floats2bfloat162_rn(high.x, high.y)};
      uint32_t y[NT / 2][4];
#pragma unroll
      for (int pair = 0; pair < NT / 2; pair++) load_matrices_transposed(y[pair], b + (t * (BV + pad) + pair * 16) * 2);
#pragma unroll
      for (int mt = 0; mt < MT; mt++) {
        uint32_t x[4];
        load_matrices_transposed(x, a + (t * (BK + pad) + mt * 16) * 2);
#pragma unroll
        for (int e = 0; e < 4; e++) {
          __nv_bfloat162 *p = reinterpret_cast<__nv_bfloat162 *>(&x[e]);
          *p = __hmul2(*p, weights[e / 2]);
        }
#pragma unroll
        for (int nt = 0; nt < NT; nt++) multiply(acc[mt][nt], x, y[nt / 2][nt % 2 * 2], y[nt / 2][nt % 2 * 2 + 1]);
      }
    }
  }
  const float out_factor = u.out_factor ? u.out_factor[at] : 1.0f;
  if (u.out) {
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
      for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int d = row0 + mt * 16 + e / 2 * 8, column = column0 + nt * 8 + quad * 2 + e % 2;
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
}

struct Tile {
  int BK, BV;
  int64_t rows(const Shape &s) const { return ceil_div(s.DK, BK); }
  int64_t columns(const Shape &s) const { return ceil_div(s.DV, BV); }
};

// Whether the kernel with warpgroup products takes this shape: compute capability 9.x, tiles of at least 128 rows.
bool by_warpgroups(const Shape &s) { return compute_capability() / 10 == 9 && s.DK > 64; }

// The largest tile that leaves a block for nearly every multiprocessor.
Tile tile_of(const Shape &s) {
  for (const Tile tile : {Tile{256, 128}, Tile{128, 128}})
    if (s.DK > tile.BK / 2 && s.DV > tile.BV / 2 &&
        10 * s.B * s.NH * tile.rows(s) * tile.columns(s) >= 9 * multiprocessors())
      return tile;
  return by_warpgroups(s) ? Tile{128, 64} : Tile{64, 64};
}

template <int BK, int BV, int stages>
int launch(const Shape &s, const Gates &g, const StateUpdate<bf16> &u) {
  constexpr int bytes = stages * sizeof(Stage<BK, BV>);
  const auto kernel = states_kernel<BK, BV, stages>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  const Tile tile{BK, BV};
  const dim3 grid(unsigned(tile.columns(s)), unsigned(tile.rows(s)), unsigned(s.heads));
  kernel<<<grid, mma_threads, bytes, stream()>>>(s, g, u);
  return launched("mlstm states (tensor cores)");
}

}  // namespace

int mma_tiles(const Shape &s) {
  const Tile tile = tile_of(s);
  return int(tile.rows(s) * tile.columns(s));
}

int run_states_wgmma(int BK, int BV, const Shape &s, const Gates &g, const StateUpdate<bf16> &u);

int run_states_mma(const Shape &s, const Gates &g, const StateUpdate<bf16> &u) {
  const Tile tile = tile_of(s);
  if (by_warpgroups(s)) return run_states_wgmma(tile.BK, tile.BV, s, g, u);
  switch (tile.BK) {
    case 256:
      return launch<256, 128, 3>(s, g, u);
    case 128:
      return launch<128, 128, 4>(s, g, u);
    default:
      return launch<64, 64, 4>(s, g, u);
  }
}

}  // namespace mlstm
}  // namespace xl
