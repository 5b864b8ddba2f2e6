// One step of the mLSTM with the layer norm per head and the output gate behind it, in one launch: the middle of a
// decoding step. Bound by memory as mlstm_step.cu: 8 DK DV bytes a head.
//
// A block has 64 columns of one head's C in registers, 16 rows for each of 256 threads, and the blocks of a head are a
// cluster (sm_90): what they tell each other through shared memory is mean and squares of their columns of h, from which
// each has those of the head (Chan et al. 1983). That barrier also says that all have read n and m, so that these may be
// overwritten. Everything is asked for before anything is used, since the time of a step at batch 1 is that of a few
// accesses to memory one after the other.
#include "activation.cuh"
#include "deferred.h"
#include "mlstm_step.cuh"
#include "overlap.cuh"
#include "ptx.cuh"
#include "reduce.cuh"

namespace xl {
namespace mlstm {
namespace {

constexpr int THREADS = 256, COLUMNS = 64, LANES = COLUMNS / 4, GROUPS = THREADS / LANES, AT_ONCE = 16;
constexpr int MOST_DK = GROUPS * AT_ONCE, MOST_BLOCKS = 8;

struct StepNorm : StepOptions {
  MlstmStep step;
  LayerNorm norm;
  float *gated;
  const float *gate;
  int activation;
};

struct Shared {
  float k[MOST_DK], q[MOST_DK], sums[THREADS / 32];
  float parts[GROUPS][COLUMNS + 1];
  float h[2][2];  // sum and squares of a warp's columns
  float stats[2];  // of the block's columns: mean, and squares of the distance from it
};

// Sum and squares about the mean of 32 columns, one in each lane.
__device__ inline void describe(float x, float (&to)[2]) {
  const float mean = warp_sum(x) * (1.0f / 32), square = warp_sum((x - mean) * (x - mean));
  to[0] = mean;
  to[1] = square;
}

__global__ void __launch_bounds__(THREADS, 2) step_norm_kernel(const __grid_constant__ StepNorm p) {
#if __CUDA_ARCH__ >= 900
  __shared__ Shared shared;
  const MlstmStep &s = p.step;
  const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES, blocks = int(gridDim.x);
  const int DK = int(s.DK), DV = int(s.DV), first = int(blockIdx.x) * COLUMNS;
  const int64_t head = blockIdx.y, state = head * DK * DV + first + lane * 4;
  for (int d = threadIdx.x; d < DK; d += THREADS)
    prefetch(s.Cin + head * DK * DV + int64_t(d) * DV + first, 4 * COLUMNS);
  wait_for_previous();
  let_next_begin();

  float4 c[AT_ONCE];
#pragma unroll
  for (int j = 0; j < AT_ONCE; j++) {
    const int d = group + j * GROUPS;
    c[j] = d < DK ? *reinterpret_cast<const float4 *>(s.Cin + state + int64_t(d) * DV) : float4{0, 0, 0, 0};
  }
  const bool is_row = int(threadIdx.x) < DK;
  const float k = is_row ? s.k[head * DK + threadIdx.x] : 0.0f, q = is_row ? s.q[head * DK + threadIdx.x] : 0.0f;
  const float n = is_row ? s.nin[head * DK + threadIdx.x] : 0.0f;
  const float4 v = *reinterpret_cast<const float4 *>(s.v + head * DV + first + lane * 4);
  const float i_gate = s.i[head], f_gate = s.f[head], m = s.min[head];
  const bool is_column = threadIdx.x < COLUMNS;
  const int64_t column = head * DV + first + threadIdx.x, feature = column % (p.norm.G * DV);
  const float gate = is_column ? p.gate[column] : 0.0f, weight = is_column ? p.norm.weight[feature] : 0.0f;
  const float bias = is_column && p.norm.bias ? p.norm.bias[feature] : 0.0f;

  const StepGates gates = step_gates(p, i_gate, f_gate, m);
  const float next_n = gates.f * n + gates.i * k;
  if (is_row) {
    shared.k[threadIdx.x] = gates.i * k;
    shared.q[threadIdx.x] = q;
  }
  const float query_scale = float(1 / sqrt(double(DK)));
  const float dot = block_sum<THREADS>(q * next_n, shared.sums);  // its barriers also show k and q
  const float denominator = step_denominator(p, gates, dot * query_scale);

  float sum[4] = {};
#pragma unroll
  for (int j = 0; j < AT_ONCE; j++) {
    const int d = group + j * GROUPS;
    if (d >= DK) break;
    const float key = shared.k[d], query = shared.q[d];
    c[j].x = gates.f * c[j].x + key * v.x;
    c[j].y = gates.f * c[j].y + key * v.y;
    c[j].z = gates.f * c[j].z + key * v.z;
    c[j].w = gates.f * c[j].w + key * v.w;
    sum[0] = fmaf(query, c[j].x, sum[0]);
    sum[1] = fmaf(query, c[j].y, sum[1]);
    sum[2] = fmaf(query, c[j].z, sum[2]);
    sum[3] = fmaf(query, c[j].w, sum[3]);
    *reinterpret_cast<float4 *>(s.Cout + state + int64_t(d) * DV) = c[j];
  }
#pragma unroll
  for (int e = 0; e < 4; e++) shared.parts[group][lane * 4 + e] = sum[e];
  __syncthreads();
  float h = 0;
  if (is_column) {
#pragma unroll
    for (int g = 0; g < GROUPS; g++) h += shared.parts[g][threadIdx.x];
    h *= query_scale / denominator;
    s.h[column] = h;
    float own[2];
    describe(h, own);
    if (threadIdx.x % 32 == 0) {
      shared.h[threadIdx.x / 32][0] = own[0];
      shared.h[threadIdx.x / 32][1] = own[1];
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    const float mean = 0.5f * (shared.h[0][0] + shared.h[1][0]), half = 0.5f * (shared.h[0][0] - shared.h[1][0]);
    shared.stats[0] = mean;
    shared.stats[1] = shared.h[0][1] + shared.h[1][1] + float(COLUMNS) * half * half;
  }
  cluster_barrier();

  if (is_row && int(threadIdx.x) % blocks == int(cluster_rank())) s.nout[head * DK + threadIdx.x] = next_n;
  if (threadIdx.x == 0 && cluster_rank() == 0) s.mout[head] = gates.m_float;
  if (is_column) {
    float means[MOST_BLOCKS], squares = 0, mean = 0;
#pragma unroll
    for (int b = 0; b < MOST_BLOCKS; b++) {
      if (b >= blocks) break;
      means[b] = load_remote(remote_address(shared_address(&shared.stats[0]), unsigned(b)));
      squares += load_remote(remote_address(shared_address(&shared.stats[1]), unsigned(b)));
      mean += means[b];
    }
    mean /= float(blocks);
#pragma unroll
    for (int b = 0; b < MOST_BLOCKS; b++) {
      if (b >= blocks) break;
      squares += float(COLUMNS) * (means[b] - mean) * (means[b] - mean);
    }
    const float rstd = 1.0f / sqrtf(squares / float(DV) + p.norm.eps);
    const float y = (h - mean) * rstd * (p.norm.offset + weight) + bias;
    p.norm.y[column] = y;
    p.gated[column] = activate(Lanes<1>{gate}, p.activation)[0] * y;
    if (threadIdx.x == 0 && cluster_rank() == 0) {
      p.norm.mean[head] = mean;
      p.norm.rstd[head] = rstd;
    }
  }
  cluster_barrier();  // nobody leaves while others read here
#endif
}

bool is_aligned_16(const void *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace
}  // namespace mlstm

using namespace mlstm;

bool can_fuse_step(const MlstmStep &s) {
  return compute_capability() >= 90 && s.B >= 1 && s.B * s.NH <= 65535 && s.DK >= 1 && s.DK <= MOST_DK &&
         s.DV % COLUMNS == 0 && s.DV >= COLUMNS && s.DV <= MOST_BLOCKS * COLUMNS && is_aligned_16(s.Cin) &&
         is_aligned_16(s.Cout) && is_aligned_16(s.v);
}

int mlstm_step_norm_now(const MlstmStep &step, const LayerNorm &norm, float *gated, const float *gate, int activation) {
  const StepNorm p{{step.eps, step.input_gate == XL_GATE_EXPONENTIAL, step.normalize}, step, norm, gated, gate, activation};
  const int blocks = int(step.DV / COLUMNS);
  launch_overlapped(step_norm_kernel, dim3(unsigned(blocks), unsigned(step.B * step.NH)), THREADS, 0, blocks, p);
  return launched("mlstm step");
}

}  // namespace xl
