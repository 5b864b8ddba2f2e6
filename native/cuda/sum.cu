// Sums over whole arrays, in double, and of rows for the gradient of a bias. Bound by memory: 4 bytes per element in
// float32, 2 in bfloat16. Partial sums have fixed bounds that depend on the sizes alone, so the result does too.
#include "reduce.cuh"

namespace xl {

// A block sums 32 columns: each of its eight warps every eighth partial, then the warps in order.
__global__ void __launch_bounds__(256) add_partials_kernel(float *to, const float *partials, int P, int64_t D) {
  __shared__ float sums[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t d = int64_t(blockIdx.x) * 32 + lane;
  float sum = 0;
  if (d < D)
#pragma unroll 8
    for (int p = warp; p < P; p += 8) sum += partials[p * D + d];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || d >= D) return;
#pragma unroll
  for (int w = 1; w < 8; w++) sum += sums[w][lane];
  to[d] += sum;
}

int add_partials(const char *name, float *to, const float *partials, int64_t P, int64_t D) {
  add_partials_kernel<<<unsigned(ceil_div(D, 32)), 256, 0, stream()>>>(to, partials, int(P), D);
  return launched(name);
}

}  // namespace xl

using namespace xl;

namespace {

constexpr int PIECE = 16384;  // elements of one partial sum

template <class T, bool SQUARE, int V>
__global__ void __launch_bounds__(256) sum_pieces(double *partials, const T *x, int64_t N) {
  __shared__ double room[8];
  const int64_t begin = int64_t(blockIdx.x) * PIECE, end = begin + PIECE < N ? begin + PIECE : N;
  const int64_t whole = (end - begin) / V * V;
  double sum = 0;
#pragma unroll 4
  for (int64_t n = begin + V * threadIdx.x; n < begin + whole; n += V * 256) {
    const Lanes<V> lanes = load<V>(x + n);
#pragma unroll
    for (int l = 0; l < V; l++) sum += SQUARE ? double(lanes[l]) * double(lanes[l]) : double(lanes[l]);
  }
  for (int64_t n = begin + whole + threadIdx.x; n < end; n += 256) {
    const double value = load<1>(x + n)[0];
    sum += SQUARE ? value * value : value;
  }
  sum = block_sum<256>(sum, room);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(256) sum_partials(float *y, const double *partials, int64_t count, double scale) {
  __shared__ double room[8];
  double sum = 0;
  for (int64_t p = threadIdx.x; p < count; p += 256) sum += partials[p];
  sum = block_sum<256>(sum, room);
  if (threadIdx.x == 0) y[0] = float(scale * sum);
}

template <bool SQUARE, class T>
int sum_all(const char *name, float *y, const T *x, int64_t N, double scale) {
  const int64_t pieces = ceil_div(N, PIECE);
  auto *partials = static_cast<double *>(scratch(8 * (pieces + 1)));
  if (!partials) return XL_OUT_OF_MEMORY;
  if (pieces > 0) {
    if (is_aligned(x))
      sum_pieces<T, SQUARE, lanes_of<T>><<<unsigned(pieces), 256, 0, stream()>>>(partials, x, N);
    else
      sum_pieces<T, SQUARE, 1><<<unsigned(pieces), 256, 0, stream()>>>(partials, x, N);
  }
  sum_partials<<<1, 256, 0, stream()>>>(y, partials, pieces, scale);
  return launched(name);
}

// y = scale * sum x
template <class T>
struct SumBackward {
  T *dx;
  const float *dy;
  float scale;
  template <int V>
  __device__ void at(int64_t n) const {
    add(dx + n, splat<V>(scale * dy[0]));
  }
};

template <class T>
int sum_backward(const char *name, T *dx, const float *dy, int64_t N, float scale) {
  return each<lanes_of<T>>(name, SumBackward<T>{dx, dy, scale}, N, is_aligned(dx));
}

// Partial sums of columns: a thread has V columns, blockIdx.y some rows.
template <class T, int V>
__global__ void __launch_bounds__(128) sum_rows(float *partials, const T *dy, int64_t N, int64_t D, int64_t rows) {
  const int64_t d = (int64_t(blockIdx.x) * 128 + threadIdx.x) * V;
  if (d >= D) return;
  const int64_t begin = blockIdx.y * rows, end = begin + rows < N ? begin + rows : N;
  Lanes<V> sum = splat<V>(0);
#pragma unroll 4
  for (int64_t n = begin; n < end; n++) sum = sum + load<V>(dy + n * D + d);
  store(partials + blockIdx.y * D + d, sum);
}

// y = x + bias
template <class T>
int bias_backward(const char *name, float *dbias, const T *dy, int64_t N, int64_t D) {
  if (N <= 0 || D <= 0) return XL_OK;
  constexpr int V = lanes_of<T>;
  const bool aligned = is_aligned(dy) && D % V == 0;
  const RowSplit split(N, D, aligned ? V : 1);
  auto *partials = static_cast<float *>(scratch(4 * split.parts * D));
  if (!partials) return XL_OUT_OF_MEMORY;
  if (aligned)
    sum_rows<T, V><<<split.grid(), 128, 0, stream()>>>(partials, dy, N, D, split.rows);
  else
    sum_rows<T, 1><<<split.grid(), 128, 0, stream()>>>(partials, dy, N, D, split.rows);
  return add_partials(name, dbias, partials, split.parts, D);
}

}  // namespace

extern "C" {

int xl_sum_forward(float *y, const float *x, int64_t N, float scale) {
  return sum_all<false>("sum_forward", y, x, N, scale);
}
XL_API int xl_sum_forward_bf16(float *y, const bf16 *x, int64_t N, float scale) {
  return sum_all<false>("sum_forward_bf16", y, x, N, scale);
}
int xl_sum_backward(float *dx, const float *dy, int64_t N, float scale) {
  return sum_backward("sum_backward", dx, dy, N, scale);
}
XL_API int xl_sum_backward_bf16(bf16 *dx, const float *dy, int64_t N, float scale) {
  return sum_backward("sum_backward_bf16", dx, dy, N, scale);
}

int xl_sum_of_squares(float *y, const float *x, int64_t N) { return sum_all<true>("sum_of_squares", y, x, N, 1); }

int xl_bias_backward(float *dbias, const float *dy, int64_t N, int64_t D) {
  return bias_backward("bias_backward", dbias, dy, N, D);
}
XL_API int xl_bias_backward_bf16(float *dbias, const bf16 *dy, int64_t N, int64_t D) {
  return bias_backward("bias_backward_bf16", dbias, dy, N, D);
}

}  // extern "C"
