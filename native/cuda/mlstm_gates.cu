// The gates of every step of the mLSTM, once per head and step for all kernels that follow (mlstm.cuh says what they
// are). About 60 bytes per head and step, in double where large parts cancel: sums of log f over many shut gates are
// large where their differences, which count, are not.
//
// One block per head, one warp per chunk: summaries of all chunks, a walk over the summaries, then the steps.
#include <math.h>

#include "mlstm.cuh"
#include "mlstm_scan.cuh"

namespace xl {
namespace mlstm {
namespace {

constexpr int warps = 16;
constexpr int tile = 256;  // chunks of which the walk keeps the summaries at once

struct Walk {
  double b, largest;  // sum of log f so far; the largest u of the document, the state's m included
  int doc;            // where the document begins within the chunk, or -1: before it
};

struct Step {
  double b, u, largest;
  int doc;
  bool chosen, valid;
};

// 32 steps from t on, one per lane.
__device__ Step next_steps(const Shape &s, const GateInputs &in, int64_t at, int64_t chunk_begin, int round,
                           Walk &walk) {
  const int lane = threadIdx.x % 32;
  const int64_t t = chunk_begin + round * 32 + lane;
  Step step;
  step.valid = t < s.T;
  double log_i = -HUGE_VAL, log_f = 0;
  bool reset = false;
  if (step.valid) {
    const int64_t row = s.row(at, t);
    log_f = log_sigmoid(in.f[row]);
    log_i = s.exponential ? in.i[row] : log_sigmoid(in.i[row]);
    reset = in.reset && in.reset[uint32_t(s.bh0 + at) / uint32_t(s.NH) * s.T + t];
  }
  step.b = walk.b + scan_up(log_f);
  step.u = log_i - step.b;
  double largest = step.u;
  bool cut = reset;
  for (int o = 1; o < 32; o *= 2) {
    const double before = __shfl_up_sync(~0u, largest, o);
    const bool cut_before = __shfl_up_sync(~0u, int(cut), o);
    if (lane >= o) {
      if (!cut) largest = fmax(largest, before);
      cut = cut || cut_before;
    }
  }
  step.largest = cut ? largest : fmax(walk.largest, largest);
  double previous = __shfl_up_sync(~0u, step.largest, 1);
  if (lane == 0) previous = walk.largest;
  step.chosen = reset || step.u >= previous;
  const unsigned resets = __ballot_sync(~0u, reset) & (~0u >> (31 - lane));
  step.doc = resets ? round * 32 + 31 - __clz(resets) : walk.doc;
  walk = {__shfl_sync(~0u, step.b, 31), __shfl_sync(~0u, step.largest, 31), __shfl_sync(~0u, step.doc, 31)};
  return step;
}

__device__ void split(double x, float &high, float &low) {
  x *= 1.4426950408889634;
  high = float(x);
  low = float(x - high);
}

__global__ void __launch_bounds__(warps * 32) gates_kernel(Shape s, Gates g, GateInputs in, float *m, float *mout) {
  const int64_t at = blockIdx.x;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rounds = s.L / 32;
  const double fresh = s.exponential ? -HUGE_VAL : 0;
  __shared__ double sum[tile], largest[tile];
  __shared__ int doc[tile];
  __shared__ double carried;

  for (int c = warp; c < s.NC; c += warps) {
    Walk walk{0, -HUGE_VAL, -1};
    for (int r = 0; r < rounds; r++) next_steps(s, in, at, int64_t(c) * s.L, r, walk);
    if (lane == 0) {
      g.sum[at * s.NC + c] = walk.b;
      g.largest[at * s.NC + c] = walk.largest;
      g.last_doc[at * s.NC + c] = walk.doc;
    }
  }
  if (threadIdx.x == 0) carried = s.exponential && in.min ? double(in.min[s.bh0 + at]) : fresh;
  __syncthreads();

  for (int first = 0; first < s.NC; first += tile) {
    const int count = min(tile, s.NC - first);
    for (int c = threadIdx.x; c < count; c += blockDim.x) {
      sum[c] = g.sum[at * s.NC + first + c];
      largest[c] = g.largest[at * s.NC + first + c];
      doc[c] = g.last_doc[at * s.NC + first + c];
    }
    __syncthreads();
    // largest[c] becomes M of the last step, sum[c] what b + M needs, carried the m that enters the next chunk.
    if (threadIdx.x == 0) {
      for (int c = 0; c < count; c++) {
        const double M = doc[c] >= 0 ? largest[c] : fmax(carried, largest[c]), m_end = sum[c] + M;
        largest[c] = carried;
        carried = s.exponential ? m_end : 0;
      }
    }
    __syncthreads();
    for (int c = warp; c < count; c += warps) {
      const int64_t chunk = at * s.NC + first + c, begin = int64_t(first + c) * s.L;
      const double start = largest[c];
      const double last_M = doc[c] >= 0 ? g.largest[chunk] : fmax(start, g.largest[chunk]);
      const double last_ref = s.exponential ? -last_M : sum[c];
      if (lane == 0) g.carry[chunk] = doc[c] >= 0 || isinf(start) ? 0.0f : expf(float(last_ref + start));
      Walk walk{0, start, -1};
      if (!s.exponential) walk.largest = -HUGE_VAL;
      for (int r = 0; r < rounds; r++) {
        const Step step = next_steps(s, in, at, begin, r, walk);
        const int64_t t = begin + r * 32 + lane, to = at * s.Tp + t;
        float4 t_side{-HUGE_VALF, 0, 0, 0};
        float2 s_side{-HUGE_VALF, 0};
        float query_state = 0, last = 0;
        if (step.valid) {
          const double ref = s.exponential ? -step.largest : step.b;
          split(ref, t_side.x, t_side.y);
          split(step.u, s_side.x, s_side.y);
          t_side.z = s.scale;
          if (step.doc < 0 && !isinf(start)) query_state = s.scale * expf(float(ref + start));
          if (r * 32 + lane >= doc[c]) last = expf(float(last_ref + step.u));
          if (m) m[s.row(at, t)] = s.exponential ? float(step.b + step.largest) : 0.0f;
        }
        g.t_side[to] = t_side;
        g.s_side[to] = s_side;
        g.query_state[to] = query_state;
        if (g.query_n) g.query_n[to] = 0;
        g.last[to] = last;
        g.doc[to] = max(step.doc, 0);
        g.chosen[to] = step.chosen;
      }
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    const float rounded = float(carried);
    g.rescale[at] = isinf(carried) ? 1.0f : float(exp(carried - double(rounded)));
    if (mout) mout[s.bh0 + at] = rounded;
  }
}

}  // namespace

int run_gates(const Shape &s, const Gates &g, const GateInputs &in, float *m, float *mout) {
  gates_kernel<<<unsigned(s.heads), warps * 32, 0, stream()>>>(s, g, in, m, mout);
  return launched("mlstm gates");
}

}  // namespace mlstm
}  // namespace xl
