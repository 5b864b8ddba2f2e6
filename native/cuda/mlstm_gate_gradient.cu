// Gradients of the gates of the mLSTM from sums over pairs of steps. With G[t,s] = P[t,s] dP[t,s] what input s gave to
// step t, s = -1 the state before the chunk and t = end the one after it: d log i_s is the sum of G over the steps t >=
// s, d log f_t the sum over all pairs s < t <= t'. Within a chunk the latter comes as it stands (`span`) or, where G
// has bf16's accuracy anyway, as the sum over t' >= t of what t' received less what input t' gave.
//
// The cotangent of the maximum gathers what depends on m beyond the memory e^m C: h through eps (or, not normalised, as
// a whole). It goes back in time to whatever made the maximum.
//
// One block per head, one warp per chunk, as in mlstm_gates.cu; about 60 bytes per head and step.
#include <math.h>

#include "mlstm.cuh"
#include "mlstm_scan.cuh"

namespace xl {
namespace mlstm {
namespace {

constexpr int warps = 16;
constexpr int tile = 256;

__device__ double sum_parts(const float *parts, int64_t count, int64_t step) {
  double sum = 0;
  for (int64_t p = 0; p < count; p++) sum += parts[p * step];
  return sum;
}

// The sum of `parts` over a chunk, in all lanes.
__device__ double chunk_sum(const Shape &s, const float *parts, int slices, int64_t at, int c) {
  double sum = 0;
  for (int j = threadIdx.x % 32; j < s.L; j += 32)
    sum += sum_parts(parts + at * s.Tp + int64_t(c) * s.L + j, slices, s.heads * s.Tp);
  return warp_sum(sum);
}

__device__ double across_chunk(const Shape &s, const GateGradient &g, int64_t at, int c) {
  return sum_parts(g.across + (at * s.NC + c) * g.tiles, g.tiles, 1);
}

// How a chunk hands the maximum's cotangent back: its own part, and whether the part from later steps goes through.
__device__ double maximum_summary(const Shape &s, const Gates &gates, const GateGradient &g, int64_t at, int c,
                                  bool &through) {
  const int lane = threadIdx.x % 32;
  const int64_t base = at * s.Tp + int64_t(c) * s.L;
  double sum = 0;
  through = true;
  for (int r = 0; r < s.L / 32 && through; r++) {
    const int64_t t = int64_t(c) * s.L + r * 32 + lane;
    const unsigned chosen = __ballot_sync(~0u, t < s.T && gates.chosen[base + r * 32 + lane]);
    if (t < s.T && (chosen == 0 || lane < __ffs(chosen) - 1)) sum += g.maximum[base + r * 32 + lane];
    through = chosen == 0;
  }
  return warp_sum(sum);
}

__device__ void chunk_gradient(const Shape &s, const Gates &gates, const GateInputs &in, const GateGradient &g,
                               int64_t at, int c, double dm_after) {
  const int lane = threadIdx.x % 32;
  const int64_t base = at * s.Tp + int64_t(c) * s.L, step = s.heads * s.Tp;
  const double across = across_chunk(s, g, at, c), all_to_state = chunk_sum(s, g.to_state, g.slices, at, c);
  double from_state = 0, to_state = 0, span = 0, dm = dm_after;
  bool next_chosen = false;
  for (int r = s.L / 32 - 1; r >= 0; r--) {
    const int64_t t = int64_t(c) * s.L + r * 32 + lane, here = base + r * 32 + lane;
    const bool valid = t < s.T;
    const double to_here = sum_parts(g.to_state + here, g.slices, step);
    const double given = sum_parts(g.given + here, g.span ? 1 : g.slices, step);
    const double received = g.span ? 0 : sum_parts(g.received + here, g.slices, step);
    const double from_here = from_state + scan_down(sum_parts(g.from_state + here, g.slices, step));
    const double to_later = to_state + scan_down(to_here);
    const double span_here = span + scan_down(received - given);
    const bool chosen = valid && gates.chosen[here];
    bool cut = __shfl_down_sync(~0u, int(chosen), 1);
    if (lane == 31) cut = next_chosen;
    double maximum = valid && s.exponential ? g.maximum[here] : 0;
    for (int o = 1; o < 32; o *= 2) {
      const double later = __shfl_down_sync(~0u, maximum, o);
      const bool cut_later = __shfl_down_sync(~0u, int(cut), o);
      if (lane + o < 32) {
        if (!cut) maximum += later;
        cut = cut || cut_later;
      }
    }
    if (!cut) maximum += dm;
    if (valid) {
      const int64_t row = s.row(at, t);
      double di = given + to_here;
      double df = across + from_here + (all_to_state - to_later) + (g.span ? double(g.span[here]) : span_here);
      if (in.reset && in.reset[uint32_t(s.bh0 + at) / uint32_t(s.NH) * s.T + t]) df = 0;
      if (s.exponential) {
        (chosen ? di : df) += maximum;
      } else {
        di *= sigmoid(-in.i[row]);
      }
      g.di[row] += float(di);
      g.df[row] += float(df * sigmoid(-in.f[row]));
    }
    from_state = __shfl_sync(~0u, from_here, 0);
    to_state = __shfl_sync(~0u, to_later, 0);
    span = __shfl_sync(~0u, span_here, 0);
    dm = __shfl_sync(~0u, maximum, 0);
    next_chosen = __shfl_sync(~0u, int(chosen), 0);
  }
}

__global__ void __launch_bounds__(warps * 32)
    gate_gradient_kernel(Shape s, Gates gates, GateInputs in, GateGradient g) {
  const int64_t at = blockIdx.x;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  __shared__ double own[tile];
  __shared__ bool passes[tile];
  __shared__ double carried;
  const double last_product = across_chunk(s, g, at, s.NC - 1) + chunk_sum(s, g.to_state, g.slices, at, s.NC - 1);
  if (threadIdx.x == 0) carried = s.exponential ? (g.dmout ? double(g.dmout[s.bh0 + at]) : 0) - last_product : 0;
  __syncthreads();
  for (int first = (s.NC - 1) / tile * tile; first >= 0; first -= tile) {
    const int count = min(tile, s.NC - first);
    for (int c = warp; c < count; c += warps) {
      bool through = false;
      const double sum = s.exponential ? maximum_summary(s, gates, g, at, first + c, through) : 0;
      if (lane == 0) own[c] = sum;
      if (lane == 0) passes[c] = through;
    }
    __syncthreads();
    // own[c] becomes the cotangent of the maximum that leaves the chunk.
    if (threadIdx.x == 0) {
      for (int c = count - 1; c >= 0; c--) {
        const double after = carried;
        carried = own[c] + (passes[c] ? carried : 0);
        own[c] = after;
      }
    }
    __syncthreads();
    for (int c = warp; c < count; c += warps) chunk_gradient(s, gates, in, g, at, first + c, own[c]);
    __syncthreads();
  }
  if (!g.dmin || !s.exponential || !in.min || isinf(in.min[s.bh0 + at])) return;
  if (warp == 0) {
    const double first_product = across_chunk(s, g, at, 0) + chunk_sum(s, g.from_state, g.slices, at, 0);
    if (lane == 0) g.dmin[s.bh0 + at] += float(carried + first_product);
  }
}

// This lane's part of the product of two rows.
template <class T>
__device__ float lane_product(const T *a, const T *b, int n, int lane) {
  constexpr int each = 16 / sizeof(T);
  float dot = 0;
  if (n % each == 0 && (reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b)) % 16 == 0) {
    for (int e = lane * each; e < n; e += 32 * each) {
      const uint4 x = *reinterpret_cast<const uint4 *>(a + e), y = *reinterpret_cast<const uint4 *>(b + e);
#pragma unroll
      for (int j = 0; j < each; j++)
        dot = fmaf(load(reinterpret_cast<const T *>(&x) + j), load(reinterpret_cast<const T *>(&y) + j), dot);
    }
  } else {
    for (int e = lane; e < n; e += 32) dot = fmaf(load(a + e), load(b + e), dot);
  }
  return dot;
}

// One warp per head and step.
template <class T>
__global__ void cotangents_kernel(Shape s, Gates g, const T *dh, const T *h, const float *m, const float *denominator,
                                  const float *sums, float *maximum) {
  const int64_t at = blockIdx.y, t = int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (t >= s.T) return;
  const int64_t row = s.row(at, t), here = at * s.Tp + t;
  const float dot = warp_sum(lane_product(dh + row * s.DV, h + row * s.DV, int(s.DV), lane));
  if (lane > 0) return;
  const float inverse = 1.0f / denominator[row], a = s.normalize ? sums[here] : 0.0f;
  // denominator = max(|a|, exp(-m)) + eps, h = numerator / denominator: the larger side has -dh . h / denominator.
  const float da = s.normalize && fabsf(a) >= expf(-m[row]) ? -copysignf(1.0f, a) * dot * inverse : 0.0f;
  float4 side = g.t_side[here];
  side.z = s.scale * inverse;
  side.w = s.scale * da;
  g.t_side[here] = side;
  const float weight = g.query_state[here];
  g.query_state[here] = weight * inverse;
  g.query_n[here] = weight * da;
  maximum[here] = s.normalize ? -dot * s.eps * inverse : -dot;
}

}  // namespace

int run_gate_gradient(const Shape &s, const Gates &g, const GateInputs &in, const GateGradient &gradient) {
  gate_gradient_kernel<<<unsigned(s.heads), warps * 32, 0, stream()>>>(s, g, in, gradient);
  return launched("mlstm gate gradient");
}

template <class T>
int run_cotangents(const Shape &s, const Gates &g, const T *dh, const T *h, const float *m, const float *denominator,
                   const float *sums, float *maximum) {
  if (s.T == 0) return XL_OK;
  cotangents_kernel<<<dim3(unsigned(ceil_div(s.T, 8)), unsigned(s.heads)), 256, 0, stream()>>>(
      s, g, dh, h, m, denominator, sums, maximum);
  return launched("mlstm cotangents");
}

template int run_cotangents(const Shape &, const Gates &, const float *, const float *, const float *, const float *,
                            const float *, float *);
template int run_cotangents(const Shape &, const Gates &, const bf16 *, const bf16 *, const float *, const float *,
                            const float *, float *);

}  // namespace mlstm
}  // namespace xl
