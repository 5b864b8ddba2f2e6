// The products of the mLSTM in plain float32 arithmetic, for float32 storage and for sizes that the tensor cores'
// version does not take. Chunks of 64 steps; per step and head 2 (64 + DK) DV multiply-adds and, in each slice of 64
// columns, 64 DK for the scores, at about a third of the float32 rate; the state of each chunk goes to memory.
#include "mlstm_general.cuh"

namespace xl {
namespace mlstm {
namespace {

template <class T>
__global__ void __launch_bounds__(tile_threads) states_kernel(Shape s, Gates g, StateUpdate<T> u) {
  __shared__ TileMemory memory;
  __shared__ float shared_sum[tile_threads / 32];
  const int64_t at = blockIdx.z, d0 = int64_t(blockIdx.y) * tile, e0 = int64_t(blockIdx.x) * tile;
  const int row0 = tile_row(), column0 = tile_column();
  const bool with_vector = blockIdx.x == 0 && threadIdx.x < tile && d0 + threadIdx.x < s.DK;
  const float factor = u.first_factor ? u.first_factor[at] : 1.0f;
  float acc[4][4], vector = 0;
  auto inside = [&](int r, int c) { return d0 + row0 + r < s.DK && e0 + column0 + c < s.DV; };
  auto offset = [&](int r, int c) { return (d0 + row0 + r) * s.DV + e0 + column0 + c; };
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 4; c++)
      acc[r][c] = u.first && inside(r, c) ? factor * u.first[(s.bh0 + at) * s.DK * s.DV + offset(r, c)] : 0.0f;
  if (with_vector && u.vector_first) vector = factor * u.vector_first[(s.bh0 + at) * s.DK + d0 + threadIdx.x];

  for (int step = 0; step < s.NC; step++) {
    const int c = u.reversed ? s.NC - 1 - step : step;
    const int64_t chunk = at * s.NC + c, begin = int64_t(c) * s.L, n = min(int64_t(s.L), s.T - begin);
    float *states = static_cast<float *>(u.states) + chunk * s.DK * s.DV;
    for (int r = 0; r < 4; r++)
      for (int e = 0; e < 4; e++)
        if (inside(r, e)) states[offset(r, e)] = acc[r][e];
    if (with_vector) u.vectors[chunk * s.DK + d0 + threadIdx.x] = vector;
    const float carry = g.carry[chunk];
    if (u.across) {
      const float *other = static_cast<const float *>(u.other) + chunk * s.DK * s.DV;
      float sum = with_vector ? vector * u.other_vectors[chunk * s.DK + d0 + threadIdx.x] : 0.0f;
      for (int r = 0; r < 4; r++)
        for (int e = 0; e < 4; e++)
          if (inside(r, e)) sum = fmaf(acc[r][e], other[offset(r, e)], sum);
      for (int o = 16; o > 0; o /= 2) sum += __shfl_xor_sync(~0u, sum, o);
      __syncthreads();
      if (threadIdx.x % 32 == 0) shared_sum[threadIdx.x / 32] = sum;
      __syncthreads();
      if (threadIdx.x == 0) {
        float total = 0;
        for (int w = 0; w < tile_threads / 32; w++) total += shared_sum[w];
        u.across[chunk * gridDim.x * gridDim.y + blockIdx.y * gridDim.x + blockIdx.x] = carry * total;
      }
    }
    for (int r = 0; r < 4; r++)
      for (int e = 0; e < 4; e++) acc[r][e] *= carry;
    vector *= carry;
    const int64_t gate = at * s.Tp + begin;
    tile_product<false, false>(
        acc, memory, n,
        [&](int r, int64_t t) {
          return d0 + r < s.DK ? u.weight[gate + t] * load(u.a + s.row(at, begin + t) * s.DK + d0 + r) : 0.0f;
        },
        [&](int64_t t, int e) { return e0 + e < s.DV ? load(u.b + s.row(at, begin + t) * s.DV + e0 + e) : 0.0f; });
    if (with_vector)
      for (int64_t t = 0; t < n; t++)
        vector = fmaf(u.vector_weight[gate + t], load(u.a + s.row(at, begin + t) * s.DK + d0 + threadIdx.x), vector);
  }
  const float out_factor = u.out_factor ? u.out_factor[at] : 1.0f;
  if (u.out)
    for (int r = 0; r < 4; r++)
      for (int e = 0; e < 4; e++)
        if (inside(r, e)) {
          float *out = u.out + (s.bh0 + at) * s.DK * s.DV + offset(r, e);
          *out = (u.add ? *out : 0.0f) + out_factor * acc[r][e];
        }
  if (u.vector_out && with_vector) {
    float *out = u.vector_out + (s.bh0 + at) * s.DK + d0 + threadIdx.x;
    *out = (u.add ? *out : 0.0f) + out_factor * vector;
  }
}

template <class T, Mode mode>
__global__ void __launch_bounds__(tile_threads) mix_kernel(Shape s, Gates g, Mix<T> mix) {
  constexpr bool rows_are_t = mode == FORWARD || mode == SUMS || mode == QUERY;
  constexpr bool transposed = mode == QUERY || mode == KEY;
  __shared__ TileMemory memory;
  __shared__ float scores[tile][tile + 1];
  const int64_t DA = transposed ? s.DV : s.DK, DO = transposed ? s.DK : s.DV;
  const int64_t at = blockIdx.z, o0 = int64_t(blockIdx.x) * tile;
  const int chunk = blockIdx.y, row0 = tile_row(), column0 = tile_column();
  const int64_t begin = int64_t(chunk) * s.L, gate = at * s.Tp + begin;
  const int n = int(min(int64_t(s.L), s.T - begin));
  const float *states = static_cast<const float *>(mix.states) + (at * s.NC + chunk) * s.DK * s.DV;
  const float *vector = mix.vectors + (at * s.NC + chunk) * s.DK;
  auto x = [&](int r, int64_t k) { return r < n ? load(mix.x + s.row(at, begin + r) * DA + k) : 0.0f; };

  float acc[4][4] = {};
  if (mode != SUMS && chunk != mix.skip) {
    tile_product<true, transposed>(acc, memory, DA, x, [&](int64_t k, int c) {
      if (o0 + c >= DO) return 0.0f;
      return transposed ? states[(o0 + c) * DA + k] : states[k * DO + o0 + c];
    });
    for (int r = 0; r < 4; r++) {
      const float weight = mix.row_state[gate + row0 + r];
      for (int c = 0; c < 4; c++) {
        acc[r][c] *= weight;
        if (transposed && o0 + column0 + c < DO)
          acc[r][c] = fmaf(mix.row_vector[gate + row0 + r], vector[o0 + column0 + c], acc[r][c]);
      }
    }
  }
  // Products with the partner's rows, for the gates' gradients.
  auto partner_product = [&](float *to) {
    for (int r = 0; r < 4; r++) {
      float sum = 0;
      for (int c = 0; c < 4; c++)
        if (row0 + r < n && o0 + column0 + c < DO)
          sum = fmaf(acc[r][c], load(mix.partner + s.row(at, begin + row0 + r) * DO + o0 + column0 + c), sum);
      sum = row_sum(sum);
      if (column0 == 0) to[blockIdx.x * s.heads * s.Tp + gate + row0 + r] = sum;
    }
  };
  if (transposed) partner_product(mix.inter);

  float score[4][4] = {};
  tile_product<true, true>(score, memory, DA, x, [&](int64_t k, int c) {
    return c < n ? load(mix.y + s.row(at, begin + c) * DA + k) : 0.0f;
  });
  float sums[4] = {};
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 4; c++) {
      const int t = rows_are_t ? row0 + r : column0 + c, in = rows_are_t ? column0 + c : row0 + r;
      const float4 side = g.t_side[gate + t];
      const bool counts = in <= t && in >= g.doc[gate + t] && t < n;
      const float added = mode == QUERY || mode == KEY ? side.w : 0.0f;
      const float value = counts ? fmaf(score[r][c], side.z, added) * decay(side, g.s_side[gate + in]) : 0.0f;
      scores[row0 + r][column0 + c] = value;
      sums[r] += value;
    }
  float denominator[4] = {1, 1, 1, 1};
  if (mode == FORWARD || mode == SUMS) {
    for (int r = 0; r < 4; r++) {
      const int t = row0 + r;
      float from_state = 0;
      if (t < n)
        for (int64_t d = column0 / 4; d < s.DK; d += 16) from_state = fmaf(x(t, d), vector[d], from_state);
      const float a = row_sum(fmaf(mix.row_state[gate + t], from_state, sums[r]));
      if (mode == SUMS && column0 == 0) mix.sums[gate + t] = a;
      if (mode == FORWARD && t < n) {
        const int64_t row = s.row(at, begin + t);
        if (s.normalize) denominator[r] = fmaxf(fabsf(a), expf(-mix.m[row])) + s.eps;
        if (column0 == 0 && blockIdx.x == 0) mix.denominator[row] = denominator[r];
      }
    }
  }
  if (mode == SUMS) return;
  __syncthreads();
  tile_product<true, false>(
      acc, memory, n, [&](int r, int64_t k) { return scores[r][k]; },
      [&](int64_t k, int c) { return o0 + c < DO ? load(mix.z + s.row(at, begin + k) * DO + o0 + c) : 0.0f; });
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 4; c++) {
      if (row0 + r >= n || o0 + column0 + c >= DO) continue;
      T *out = mix.out + s.row(at, begin + row0 + r) * DO + o0 + column0 + c;
      const float old = mode == FORWARD || mix.is_zero ? 0.0f : load(out);
      store(out, mode == FORWARD ? acc[r][c] / denominator[r] : old + acc[r][c]);
    }
}

// G[t,s] = P[t,s] dP[t,s] of a chunk, its sums over t, and over the pairs that each forget gate parts.
template <class T>
__global__ void __launch_bounds__(tile_threads)
    spans_kernel(Shape s, Gates g, const T *q, const T *k, const T *v, const T *dh, float *given, float *span) {
  __shared__ TileMemory memory;
  __shared__ float pairs[tile][tile + 1];
  const int64_t at = blockIdx.y, begin = int64_t(blockIdx.x) * s.L, gate = at * s.Tp + begin;
  const int n = int(min(int64_t(s.L), s.T - begin)), row0 = tile_row(), column0 = tile_column();
  auto element = [&](const T *p, int64_t D, int r, int64_t d) {
    return r < n ? load(p + s.row(at, begin + r) * D + d) : 0.0f;
  };
  float score[4][4] = {}, cotangent[4][4] = {};
  tile_product<true, true>(
      score, memory, s.DK, [&](int r, int64_t d) { return element(q, s.DK, r, d); },
      [&](int64_t d, int c) { return element(k, s.DK, c, d); });
  tile_product<true, true>(
      cotangent, memory, s.DV, [&](int r, int64_t d) { return element(dh, s.DV, r, d); },
      [&](int64_t d, int c) { return element(v, s.DV, c, d); });
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 4; c++) {
      const int t = row0 + r, in = column0 + c;
      const float4 side = g.t_side[gate + t];
      const bool counts = in <= t && in >= g.doc[gate + t] && t < n;
      pairs[t][in] =
          counts ? score[r][c] * fmaf(cotangent[r][c], side.z, side.w) * decay(side, g.s_side[gate + in]) : 0.0f;
    }
  __syncthreads();
  const int step = threadIdx.x;
  if (step < tile) {
    float sum = 0;
    for (int t = step; t < tile; t++) sum += pairs[t][step];
    given[gate + step] = sum;
  }
  __syncthreads();
  if (step < tile)
    for (int in = 1; in < tile; in++) pairs[step][in] += pairs[step][in - 1];
  __syncthreads();
  if (step < tile) {
    float sum = 0;
    if (step > 0)
      for (int t = step; t < tile; t++) sum += pairs[t][step - 1];
    span[gate + step] = sum;
  }
}

template <class T, Mode mode>
void launch_mix(const Shape &s, const Gates &g, const Mix<T> &mix) {
  const int slices = mode == SUMS ? 1 : general_slices(mode == QUERY || mode == KEY ? s.DK : s.DV);
  mix_kernel<T, mode><<<dim3(slices, s.NC, unsigned(s.heads)), tile_threads, 0, stream()>>>(s, g, mix);
}

}  // namespace

int general_slices(int64_t D) { return int(ceil_div(D, tile)); }
int general_tiles(const Shape &s) { return general_slices(s.DK) * general_slices(s.DV); }

template <class T>
int run_states_general(const Shape &s, const Gates &g, const StateUpdate<T> &u) {
  const dim3 grid(general_slices(s.DV), general_slices(s.DK), unsigned(s.heads));
  states_kernel<<<grid, tile_threads, 0, stream()>>>(s, g, u);
  return launched("mlstm states");
}

template <class T>
int run_mix_general(Mode mode, const Shape &s, const Gates &g, const Mix<T> &mix) {
  if (mode == FORWARD) launch_mix<T, FORWARD>(s, g, mix);
  if (mode == SUMS) launch_mix<T, SUMS>(s, g, mix);
  if (mode == QUERY) launch_mix<T, QUERY>(s, g, mix);
  if (mode == KEY) launch_mix<T, KEY>(s, g, mix);
  if (mode == VALUE) launch_mix<T, VALUE>(s, g, mix);
  return launched("mlstm products");
}

template <class T>
int run_spans(const Shape &s, const Gates &g, const T *q, const T *k, const T *v, const T *dh, float *given,
              float *span) {
  spans_kernel<<<dim3(s.NC, unsigned(s.heads)), tile_threads, 0, stream()>>>(s, g, q, k, v, dh, given, span);
  return launched("mlstm spans");
}

#define XL_MLSTM_GENERAL(T)                                                              \
  template int run_states_general(const Shape &, const Gates &, const StateUpdate<T> &); \
  template int run_mix_general(Mode, const Shape &, const Gates &, const Mix<T> &);      \
  template int run_spans(const Shape &, const Gates &, const T *, const T *, const T *, const T *, float *, float *);
XL_MLSTM_GENERAL(float)
XL_MLSTM_GENERAL(bf16)

}  // namespace mlstm
}  // namespace xl
