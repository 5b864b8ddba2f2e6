// Gradient of the recurrent matrix and the bias after the walk back over the steps:
//   drecurrent[head][g,j][i] += sum over b, t of dgate[b,t,head][g,j] h[b,t-1,head][i].
//
// One product over all B T rows instead of one per step: 8 B T NH DH^2 operations (34 GFLOP at B16 T1024, 4 heads of
// 256: 0.05 ms of the tensor cores, 0.06 ms to read both operands once; measured on an H100: 0.13 ms). Rows are cut
// into `splits` ranges, so that tiles fill the device; their parts are added in order, so results do not depend on who
// finishes first.
#ifndef XL_CUDA_RECURRENT_GRADIENT_CUH
#define XL_CUDA_RECURRENT_GRADIENT_CUH
#include "recurrent_ptx.cuh"

namespace xl {

// The h that row (b, t) read, NULL for zeros.
template <class Storage>
__device__ inline const Storage *row_before(const RecurrentBackward<Storage> &a, int64_t row, int64_t head) {
  const RecurrentShape &s = a.s;
  if (a.reset && a.reset[row]) return nullptr;
  const unsigned b = unsigned(row) / unsigned(s.T);
  return row == b * s.T ? a.first + (b * s.NH + head) * s.DH : a.h + ((row - 1) * s.NH + head) * s.DH;
}

struct GradientPlan {
  int64_t splits, rows;  // ranges of rows, rows of each
};

inline GradientPlan plan_gradient(const RecurrentShape &s, int64_t tile, int64_t step) {
  const int64_t tiles = ceil_div(GATES * s.DH, tile) * ceil_div(s.DH, tile) * s.NH, rows = s.B * s.T;
  int64_t splits = 2 * multiprocessors() / tiles;  // all tiles at once
  const int64_t most = ceil_div(rows, 8 * step);
  if (splits > most) splits = most;
  if (splits < 1) splits = 1;
  const int64_t each = round_up(ceil_div(rows, splits), step);
  return {each > 0 ? ceil_div(rows, each) : 0, each};
}

// Any sizes, float32 products: tiles of 64 by 64, four by four of each thread.
template <class Storage>
__global__ void __launch_bounds__(256) gradient_product(RecurrentBackward<Storage> a, GradientPlan plan, float *parts) {
  constexpr int SIDE = 64, STEP = 16;
  __shared__ float left[STEP][SIDE], right[STEP][SIDE];
  const RecurrentShape &s = a.s;
  const int64_t M = GATES * s.DH, N = s.DH, head = blockIdx.z % s.NH, split = blockIdx.z / s.NH;
  const int64_t m0 = int64_t(blockIdx.x) * SIDE, n0 = int64_t(blockIdx.y) * SIDE;
  const int64_t end = min(s.B * s.T, (split + 1) * plan.rows);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  float acc[4][4] = {};
  for (int64_t k0 = split * plan.rows; k0 < end; k0 += STEP) {
    const int64_t row = k0 + ty;
    const Storage *before = row < end ? row_before(a, row, head) : nullptr;
    for (int e = 0; e < 4; e++) {
      const int64_t m = m0 + 16 * e + tx, n = n0 + 16 * e + tx;
      left[ty][16 * e + tx] = row < end && m < M ? load(a.rows + (row * s.NH + head) * M + m) : 0;
      right[ty][16 * e + tx] = before && n < N ? load(before + n) : 0;
    }
    __syncthreads();
    for (int k = 0; k < STEP; k++) {
      float x[4], y[4];
      for (int e = 0; e < 4; e++) x[e] = left[k][16 * e + ty], y[e] = right[k][16 * e + tx];
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) acc[i][j] = fmaf(x[i], y[j], acc[i][j]);
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      const int64_t m = m0 + 16 * i + ty, n = n0 + 16 * j + tx;
      if (m < M && n < N) parts[((split * s.NH + head) * M + m) * N + n] = acc[i][j];
    }
}

constexpr int GRADIENT_SIDE = 128, GRADIENT_STEP = 32, GRADIENT_STAGES = 4;
constexpr int64_t gradient_bytes = GRADIENT_STAGES * GRADIENT_STEP * 2 * GRADIENT_SIDE * sizeof(bf16);

// DH a multiple of 8, bf16: tiles of 128 by 128 by tensor cores; four stages of 32 rows are on their way. Both operands
// lie with rows of the sum outermost, so fragments come through transposing loads.
static __global__ void __launch_bounds__(256)
    gradient_product_tensor(RecurrentBackward<bf16> a, GradientPlan plan, float *parts) {
  constexpr int SIDE = GRADIENT_SIDE, STEP = GRADIENT_STEP, STAGES = GRADIENT_STAGES;
  extern __shared__ float4 memory[];
  const RecurrentShape &s = a.s;
  const int64_t M = GATES * s.DH, N = s.DH, head = blockIdx.z % s.NH, split = blockIdx.z / s.NH;
  const int64_t m0 = int64_t(blockIdx.x) * SIDE, n0 = int64_t(blockIdx.y) * SIDE;
  const int64_t begin = split * plan.rows, end = min(s.B * s.T, begin + plan.rows);
  const int steps = int(ceil_div(end - begin, STEP)), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const unsigned base = shared_address(memory);
  constexpr unsigned operand = STEP * SIDE * sizeof(bf16);
  auto place = [&](int row, int chunk) { return unsigned(row * SIDE * 2 + ((chunk ^ (row & 7)) * 16)); };
  // Two rows of both operands of a thread: their place in time and their addresses move along.
  const int chunk = threadIdx.x % 16;
  const bool in_left = m0 + 8 * chunk < M, in_right = n0 + 8 * chunk < N;
  int64_t row[2];
  unsigned t[2];
  for (int e = 0; e < 2; e++) row[e] = begin + threadIdx.x / 16 + 16 * e, t[e] = unsigned(row[e]) % unsigned(s.T);
  const bf16 *left_from = a.rows + (row[0] * s.NH + head) * M + m0 + 8 * chunk;
  const bf16 *right_from = a.h + ((row[0] - 1) * s.NH + head) * N + n0 + 8 * chunk;
  const int64_t left_rows = 16 * s.NH * M, right_rows = 16 * s.NH * N;
  auto fetch = [&](int step) {
    const unsigned stage = base + unsigned(step % STAGES) * 2 * operand;
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int k = threadIdx.x / 16 + 16 * e;
      const bool exists = row[e] < end;
      const bool has_left = exists && in_left, has_right = exists && in_right && !(a.reset && a.reset[row[e]]);
      const bf16 *before = right_from + e * right_rows;
      if (t[e] == 0 && has_right) before = a.first + (row[e] / s.T * s.NH + head) * N + n0 + 8 * chunk;
      copy_async(stage + place(k, chunk), has_left ? left_from + e * left_rows : a.rows, has_left);
      copy_async(stage + operand + place(k, chunk), has_right ? before : a.rows, has_right);
      row[e] += STEP;
      t[e] += STEP;
      while (t[e] >= unsigned(s.T)) t[e] -= unsigned(s.T);
    }
    left_from += 2 * left_rows, right_from += 2 * right_rows;
  };
  float acc[4][4][4] = {};
  for (int step = 0; step < STAGES - 1; step++) {
    if (step < steps) fetch(step);
    copy_commit();
  }
  const int wm = warp / 4 * 64, wn = warp % 4 * 32;
  for (int step = 0; step < steps; step++) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    if (step + STAGES - 1 < steps) fetch(step + STAGES - 1);
    copy_commit();
    const unsigned left = base + unsigned(step % STAGES) * 2 * operand, right = left + operand;
#pragma unroll
    for (int k = 0; k < STEP; k += 16) {
      unsigned x[4][4], y[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++)
        load_matrices_transposed(x[i], left + place(k + lane / 16 * 8 + lane % 8, (wm + 16 * i) / 8 + lane / 8 % 2));
#pragma unroll
      for (int j = 0; j < 2; j++)
        load_matrices_transposed(y[j], right + place(k + lane / 8 % 2 * 8 + lane % 8, (wn + 16 * j) / 8 + lane / 16));
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) multiply_add(acc[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int64_t m = m0 + wm + 16 * i + 8 * half + lane / 4, n = n0 + wn + 8 * j + lane % 4 * 2;
        if (m < M && n < N)
          *reinterpret_cast<float2 *>(parts + ((split * s.NH + head) * M + m) * N + n) =
              make_float2(acc[i][j][2 * half], acc[i][j][2 * half + 1]);
      }
}

// Where gradient (g, j) lies within the 4*DH of a row: by gates, or PAIRED: two units of each gate in turn.
template <bool PAIRED>
__device__ inline int64_t row_place(int64_t g, int64_t j, int64_t DH) {
  return PAIRED ? j / 2 * 8 + g * 2 + j % 2 : g * DH + j;
}

template <bool PAIRED>
__global__ void add_gradient_parts(float *drecurrent, float *dbias, const float *parts, const float *bias_parts,
                                   RecurrentShape s, int64_t splits, int64_t tiles) {
  const int64_t M = GATES * s.DH, N = s.DH, all = s.NH * M * N;
  const int64_t e = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e < all) {
    const int64_t i = e % N, j = e / N % s.DH, g = e / N / s.DH % GATES, head = e / N / M;
    const float *from = parts + (head * M + row_place<PAIRED>(g, j, s.DH)) * N + i;
    float sum = 0;
    for (int64_t split = 0; split < splits; split++) sum += from[split * all];
    drecurrent[e] += sum;
  }
  if (dbias && e < s.NH * M) {
    float sum = 0;
    for (int64_t tile = 0; tile < tiles; tile++) sum += bias_parts[tile * s.NH * M + e];
    dbias[e] += sum;
  }
}

template <bool PAIRED>
int add_parts(const char *name, float *drecurrent, float *dbias, const float *parts, const float *bias_parts,
              const RecurrentShape &s, int64_t splits, int64_t tiles) {
  const int64_t all = s.NH * GATES * s.DH * s.DH;
  add_gradient_parts<PAIRED>
      <<<unsigned(ceil_div(all, 256)), 256, 0, stream()>>>(drecurrent, dbias, parts, bias_parts, s, splits, tiles);
  return launched(name);
}

}  // namespace xl
#endif
