// One step of the mLSTM for inference. Each number of C is read and written once, 8 DK DV bytes a head against 4 DK DV
// operations: the memory is the limit (8 heads of 256 x 512: 8.4 MB, 2.8 us at 3 TB/s; launch and latency come to as
// much).
//
// A block has 32 columns of one head's C: 128 bytes of each row for 8 lanes, and 32 rows at a time, so that 8 heads
// make 128 blocks. All blocks of a head work out the gates and q . n for themselves; the one that is done last writes n
// and m, so that a state may be updated in place.
#include "deferred.h"
#include "mlstm_step.cuh"
#include "overlap.cuh"

namespace xl {
namespace mlstm {
namespace {

constexpr int threads = 256, lanes = 8, width = 4 * lanes, row_groups = threads / lanes, at_once = 8;
constexpr int max_heads = 16384;

// Blocks of a head that are done; each launch leaves it at zero.
__device__ unsigned finished[max_heads];

struct StepShape : StepOptions {
  int64_t first, DK, DV;
  bool vectors;  // whether rows of C begin at multiples of 16 bytes
};

// The sum over the block, in all threads.
__device__ float block_sum(float x, float *shared) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < threads / 32; w++) sum += shared[w];
  return sum;
}

template <class T>
__global__ void __launch_bounds__(threads)
    step_kernel(StepShape s, T *h, float *Cout, float *nout, float *mout, const T *q, const T *k, const T *v,
                const float *i, const float *f, const float *Cin, const float *nin, const float *min) {
  __shared__ float warp_sums[threads / 32];
  __shared__ float parts[row_groups][width + 1];
  __shared__ bool last;
  const int64_t at = s.first + blockIdx.y;
  const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
  const int64_t e = int64_t(blockIdx.x) * width + lane * 4;
  const bool whole = s.vectors && e < s.DV;
  const float *from = Cin + at * s.DK * s.DV;
  float *to = Cout + at * s.DK * s.DV;
  q += at * s.DK;
  k += at * s.DK;
  nin += at * s.DK;
  if (s.vectors && int64_t(blockIdx.x + 1) * width <= s.DV)
    for (int64_t d = threadIdx.x; d < s.DK; d += threads) prefetch(from + d * s.DV + blockIdx.x * width, 4 * width);
  wait_for_previous();
  let_next_begin();
  const StepGates gates = step_gates(s, i[at], f[at], min[at]);

  float value[4], sum[4] = {};
  for (int c = 0; c < 4; c++) value[c] = e + c < s.DV ? gates.i * load(v + at * s.DV + e + c) : 0.0f;
  for (int64_t d0 = group; d0 < s.DK; d0 += row_groups * at_once) {
    float4 state[at_once];
#pragma unroll
    for (int j = 0; j < at_once; j++) {
      const int64_t d = d0 + j * row_groups;
      state[j] = float4{0, 0, 0, 0};
      if (d >= s.DK) continue;
      const float *p = from + d * s.DV + e;
      if (whole) {
        state[j] = *reinterpret_cast<const float4 *>(p);
      } else {
        if (e < s.DV) state[j].x = p[0];
        if (e + 1 < s.DV) state[j].y = p[1];
        if (e + 2 < s.DV) state[j].z = p[2];
        if (e + 3 < s.DV) state[j].w = p[3];
      }
    }
#pragma unroll
    for (int j = 0; j < at_once; j++) {
      const int64_t d = d0 + j * row_groups;
      if (d >= s.DK) continue;
      const float key = load(k + d), query = load(q + d);
      float4 c = state[j];
      c.x = gates.f * c.x + key * value[0];
      c.y = gates.f * c.y + key * value[1];
      c.z = gates.f * c.z + key * value[2];
      c.w = gates.f * c.w + key * value[3];
      sum[0] = fmaf(query, c.x, sum[0]);
      sum[1] = fmaf(query, c.y, sum[1]);
      sum[2] = fmaf(query, c.z, sum[2]);
      sum[3] = fmaf(query, c.w, sum[3]);
      float *p = to + d * s.DV + e;
      if (whole) {
        *reinterpret_cast<float4 *>(p) = c;
      } else {
        if (e < s.DV) p[0] = c.x;
        if (e + 1 < s.DV) p[1] = c.y;
        if (e + 2 < s.DV) p[2] = c.z;
        if (e + 3 < s.DV) p[3] = c.w;
      }
    }
  }
  float dot = 0;
  for (int64_t d = threadIdx.x; d < s.DK; d += threads)
    dot = fmaf(load(q + d), gates.f * nin[d] + gates.i * load(k + d), dot);
  for (int c = 0; c < 4; c++) parts[group][lane * 4 + c] = sum[c];
  const float query_scale = float(1 / sqrt(double(s.DK)));
  const float denominator = step_denominator(s, gates, block_sum(dot, warp_sums) * query_scale);
  if (threadIdx.x < width && int64_t(blockIdx.x) * width + threadIdx.x < s.DV) {
    float total = 0;
    for (int r = 0; r < row_groups; r++) total += parts[r][threadIdx.x];
    store(h + at * s.DV + int64_t(blockIdx.x) * width + threadIdx.x, total * (query_scale / denominator));
  }
  // All reads of n and m by this block lie before the barrier in block_sum.
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicInc(&finished[blockIdx.y], gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  for (int64_t d = threadIdx.x; d < s.DK; d += threads) nout[at * s.DK + d] = gates.f * nin[d] + gates.i * load(k + d);
  if (threadIdx.x == 0) mout[at] = gates.m_float;
}

template <class T>
int step(T *h, float *Cout, float *nout, float *mout, const T *q, const T *k, const T *v, const float *i,
         const float *f, const float *Cin, const float *nin, const float *min, int64_t B, int64_t NH, int64_t DK,
         int64_t DV, float eps, int32_t input_gate, int32_t normalize) {
  if (B < 0 || NH < 1 || DK < 1 || DV < 1)
    return fail(XL_INVALID,
                "mlstm step: B must not be negative and NH, DK, DV must be positive, got B=%lld NH=%lld DK=%lld "
                "DV=%lld",
                (long long)B, (long long)NH, (long long)DK, (long long)DV);
  if (input_gate != XL_GATE_EXPONENTIAL && input_gate != XL_GATE_SIGMOID)
    return fail(XL_INVALID, "mlstm step: input gate must be %d (exponential) or %d (sigmoid), got %d",
                XL_GATE_EXPONENTIAL, XL_GATE_SIGMOID, input_gate);
  const bool vectors = DV % 4 == 0 && (reinterpret_cast<uintptr_t>(Cin) | reinterpret_cast<uintptr_t>(Cout)) % 16 == 0;
  for (int64_t first = 0; first < B * NH; first += max_heads) {
    const int64_t heads = B * NH - first < max_heads ? B * NH - first : max_heads;
    const StepShape s{{eps, input_gate == XL_GATE_EXPONENTIAL, normalize != 0}, first, DK, DV, vectors};
    launch_overlapped(step_kernel<T>, dim3(unsigned(ceil_div(DV, width)), unsigned(heads)), threads, 0, 1, s, h, Cout, nout,
                      mout, q, k, v, i, f, Cin, nin, min);
    if (const int status = launched("mlstm step")) return status;
  }
  return XL_OK;
}

}  // namespace
}  // namespace mlstm

int mlstm_step_now(const MlstmStep &c) {
  return mlstm::step<float>(c.h, c.Cout, c.nout, c.mout, c.q, c.k, c.v, c.i, c.f, c.Cin, c.nin, c.min, c.B, c.NH, c.DK,
                            c.DV, c.eps, c.input_gate, c.normalize);
}

}  // namespace xl

extern "C" {

int xl_mlstm_step(float *h, float *Cout, float *nout, float *mout, const float *q, const float *k, const float *v,
                  const float *i, const float *f, const float *Cin, const float *nin, const float *min, int64_t B,
                  int64_t NH, int64_t DK, int64_t DV, float eps, int32_t input_gate, int32_t normalize) {
  const xl::MlstmStep call{h, Cout, nout, mout, q, k, v, i, f, Cin, nin, min, B, NH, DK, DV, eps, input_gate, normalize != 0};
  const bool is_gate = input_gate == XL_GATE_EXPONENTIAL || input_gate == XL_GATE_SIGMOID;
  return is_gate && defer(call) ? XL_OK : xl::mlstm_step_now(call);
}
XL_API int xl_mlstm_step_bf16(xl::bf16 *h, float *Cout, float *nout, float *mout, const xl::bf16 *q, const xl::bf16 *k,
                              const xl::bf16 *v, const float *i, const float *f, const float *Cin, const float *nin,
                              const float *min, int64_t B, int64_t NH, int64_t DK, int64_t DV, float eps,
                              int32_t input_gate, int32_t normalize) {
  return xl::mlstm::step<xl::bf16>(h, Cout, nout, mout, q, k, v, i, f, Cin, nin, min, B, NH, DK, DV, eps, input_gate,
                                   normalize);
}

}  // extern "C"
