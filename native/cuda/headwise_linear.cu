// Block-diagonal linear maps: y[n,g] = weight[g] x[n,g] + bias[g]. Small blocks (the usual 4 x 4) are bound by memory, 8
// bytes per element of x and y together in float32, and computed one thread per output; blocks beyond 16 go through the
// batched matrix product, with the weights cast to bfloat16 where x is.
#include "product.h"
#include "reduce.cuh"
#include "xl_cuda.h"

using namespace xl;

extern "C" XL_API int xl_bias_backward_bf16(float *dbias, const bf16 *dy, int64_t N, int64_t D);

namespace {

struct Sizes {
  int64_t N, G, O, I;
  bool is_small() const { return O <= 16 && I <= 16; }
};

template <class T>
__global__ void __launch_bounds__(256)
    forward_kernel(T *y, const T *x, const float *weight, const float *bias, const Sizes s) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= s.N * s.G * s.O) return;
  const int64_t row = index / s.O, column = index % (s.G * s.O);
  float sum = bias ? bias[column] : 0.0f;
  for (int i = 0; i < int(s.I); i++) sum += weight[column * s.I + i] * load(x + row * s.I + i);
  store(y + index, sum);
}

template <class T>
__global__ void __launch_bounds__(256) dx_kernel(T *dx, const T *dy, const float *weight, const Sizes s) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= s.N * s.G * s.I) return;
  const int64_t row = index / s.I, g = row % s.G, i = index % s.I;
  float sum = load(dx + index);
  for (int o = 0; o < int(s.O); o++) sum += weight[(g * s.O + o) * s.I + i] * load(dy + row * s.O + o);
  store(dx + index, sum);
}

// The usual blocks, 4 x 4: a thread has the weights of V / 4 blocks in registers and goes down some rows.
template <int V>
struct Blocks {
  alignas(16) float w[V / 4][4][4];
  __device__ void read(const float *weight, int64_t column) {
#pragma unroll
    for (int k = 0; k < V / 4; k++)
#pragma unroll
      for (int o = 0; o < 4; o++)
        *reinterpret_cast<float4 *>(w[k][o]) = *reinterpret_cast<const float4 *>(weight + 4 * column + 16 * k + 4 * o);
  }
};

template <class T, int V>
__global__ void __launch_bounds__(128)
    forward4_kernel(T *y, const T *x, const float *weight, const float *bias, int64_t N, int64_t D, int64_t rows) {
  const int64_t d = (int64_t(blockIdx.x) * 128 + threadIdx.x) * V;
  if (d >= D) return;
  Blocks<V> block;
  block.read(weight, d);
  const Lanes<V> start = bias ? load<V>(bias + d) : splat<V>(0);
  const int64_t begin = blockIdx.y * rows, end = begin + rows < N ? begin + rows : N;
#pragma unroll 4
  for (int64_t n = begin; n < end; n++) {
    const Lanes<V> in = load<V>(x + n * D + d);
    Lanes<V> out = start;
#pragma unroll
    for (int l = 0; l < V; l++)
#pragma unroll
      for (int i = 0; i < 4; i++) out[l] += block.w[l / 4][l % 4][i] * in[l / 4 * 4 + i];
    store(y + n * D + d, out);
  }
}

template <class T, int V>
__global__ void __launch_bounds__(128) backward4_kernel(T *dx, float *partials, const T *dy, const T *x,
                                                        const float *weight, int64_t N, int64_t D, int64_t rows) {
  const int64_t d = (int64_t(blockIdx.x) * 128 + threadIdx.x) * V;
  if (d >= D) return;
  Blocks<V> block, gradient = {};
  block.read(weight, d);
  const int64_t begin = blockIdx.y * rows, end = begin + rows < N ? begin + rows : N;
#pragma unroll 2
  for (int64_t n = begin; n < end; n++) {
    const Lanes<V> in = load<V>(x + n * D + d), g = load<V>(dy + n * D + d);
    Lanes<V> out = dx ? load<V>(dx + n * D + d) : splat<V>(0);
#pragma unroll
    for (int l = 0; l < V; l++)
#pragma unroll
      for (int o = 0; o < 4; o++) {
        out[l] += block.w[l / 4][o][l % 4] * g[l / 4 * 4 + o];
        gradient.w[l / 4][l % 4][o] += g[l] * in[l / 4 * 4 + o];
      }
    if (dx) store(dx + n * D + d, out);
  }
#pragma unroll
  for (int k = 0; k < V / 4; k++)
#pragma unroll
    for (int o = 0; o < 4; o++)
      *reinterpret_cast<float4 *>(partials + (blockIdx.y * D + d) * 4 + 16 * k + 4 * o) =
          *reinterpret_cast<const float4 *>(gradient.w[k][o]);
}

// Partial sums over some rows of dy[n,g,o] x[n,g,i]; a thread has one (g,o,i).
template <class T>
__global__ void __launch_bounds__(128)
    dweight_kernel(float *partials, const T *dy, const T *x, const Sizes s, int64_t rows) {
  const int64_t width = s.G * s.O * s.I, index = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (index >= width) return;
  const int64_t go = index / s.I, gi = go / s.O * s.I + index % s.I;
  const int64_t begin = blockIdx.y * rows, end = begin + rows < s.N ? begin + rows : s.N;
  float sum = 0;
#pragma unroll 4
  for (int64_t n = begin; n < end; n++) sum += load(dy + n * s.G * s.O + go) * load(x + n * s.G * s.I + gi);
  partials[blockIdx.y * width + index] = sum;
}

// The weights in the type of x: themselves, or a copy in the workspace.
const float *weights_as(const float *weight, int64_t, const float *) { return weight; }
const bf16 *weights_as(const float *weight, int64_t count, const bf16 *) {
  auto *copy = static_cast<uint8_t *>(scratch(2 * count));
  if (copy) xl_cast_to_bf16(copy, weight, count);
  return reinterpret_cast<const bf16 *>(copy);
}

int bias_sum(float *dbias, const float *dy, int64_t N, int64_t D) { return xl_bias_backward(dbias, dy, N, D); }
int bias_sum(float *dbias, const bf16 *dy, int64_t N, int64_t D) { return xl_bias_backward_bf16(dbias, dy, N, D); }

template <class T>
int forward(const char *name, T *y, const T *x, const float *weight, const float *bias, const Sizes &s) {
  const auto [N, G, O, I] = s;
  if (N * G * O <= 0) return XL_OK;
  constexpr int V = lanes_of<T>;
  if (O == 4 && I == 4 && G * 4 % V == 0 && is_aligned(y, x, weight, bias)) {
    const RowSplit split(N, 4 * G, V);
    forward4_kernel<T, V><<<split.grid(), 128, 0, stream()>>>(y, x, weight, bias, N, 4 * G, split.rows);
    return launched(name);
  }
  if (s.is_small()) {
    forward_kernel<<<unsigned(ceil_div(N * G * O, 256)), 256, 0, stream()>>>(y, x, weight, bias, s);
    return launched(name);
  }
  const T *w = weights_as(weight, G * O * I, x);
  if (!w) return XL_OUT_OF_MEMORY;
  const Product shape{N, O, I, false, true, G * I, I, G * O, false, G, I, O * I, O};
  if (int status = product(name, y, x, w, shape)) return status;
  return epilogue(name, y, bias, N, G * O, G * O, XL_ACT_NONE);
}

template <class T>
int small_backward(const char *name, T *dx, float *dweight, const T *dy, const T *x, const float *weight,
                   const Sizes &s) {
  const auto [N, G, O, I] = s;
  constexpr int V = lanes_of<T>;
  if (O == 4 && I == 4 && G * 4 % V == 0 && is_aligned(dx, dy, x, weight)) {
    const RowSplit split(N, 4 * G, V);
    auto *partials = static_cast<float *>(scratch(64 * split.parts * G));
    if (!partials) return XL_OUT_OF_MEMORY;
    backward4_kernel<T, V><<<split.grid(), 128, 0, stream()>>>(dx, partials, dy, x, weight, N, 4 * G, split.rows);
    return add_partials(name, dweight, partials, split.parts, 16 * G);
  }
  if (dx && I > 0) dx_kernel<<<unsigned(ceil_div(N * G * I, 256)), 256, 0, stream()>>>(dx, dy, weight, s);
  const int64_t width = G * O * I, across = ceil_div(width, 128);
  if (width == 0) return XL_OK;
  const int64_t rows = ceil_div(N, 1024 / across + 1), parts = ceil_div(N, rows);
  auto *partials = static_cast<float *>(scratch(4 * parts * width));
  if (!partials) return XL_OUT_OF_MEMORY;
  dweight_kernel<<<dim3(unsigned(across), unsigned(parts)), 128, 0, stream()>>>(partials, dy, x, s, rows);
  return add_partials(name, dweight, partials, parts, width);
}

template <class T>
int large_backward(const char *name, T *dx, float *dweight, const T *dy, const T *x, const float *weight,
                   const Sizes &s) {
  const auto [N, G, O, I] = s;
  // y_g = x_g weight_g^T
  const Product for_weight{O, I, N, true, false, G * O, G * I, I, true, G, O, I, O * I};
  if (int status = product(name, dweight, dy, x, for_weight)) return status;
  if (!dx) return XL_OK;
  const T *w = weights_as(weight, G * O * I, x);
  if (!w) return XL_OUT_OF_MEMORY;
  const Product for_x{N, I, O, false, false, G * O, I, G * I, true, G, O, O * I, I};
  return product(name, dx, dy, w, for_x);
}

template <class T>
int backward(const char *name, T *dx, float *dweight, float *dbias, const T *dy, const T *x, const float *weight,
             const Sizes &s) {
  if (s.N * s.G * s.O <= 0) return XL_OK;
  const int status = s.is_small() ? small_backward(name, dx, dweight, dy, x, weight, s)
                                  : large_backward(name, dx, dweight, dy, x, weight, s);
  if (status != XL_OK || !dbias) return status;
  return bias_sum(dbias, dy, s.N, s.G * s.O);
}

}  // namespace

extern "C" {

int xl_headwise_linear_forward(float *y, const float *x, const float *weight, const float *bias, int64_t N, int64_t G,
                               int64_t O, int64_t I) {
  return forward("headwise_linear_forward", y, x, weight, bias, {N, G, O, I});
}
XL_API int xl_headwise_linear_forward_bf16(bf16 *y, const bf16 *x, const float *weight, const float *bias, int64_t N,
                                           int64_t G, int64_t O, int64_t I) {
  return forward("headwise_linear_forward_bf16", y, x, weight, bias, {N, G, O, I});
}
int xl_headwise_linear_backward(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                                const float *weight, int64_t N, int64_t G, int64_t O, int64_t I) {
  return backward("headwise_linear_backward", dx, dweight, dbias, dy, x, weight, {N, G, O, I});
}
XL_API int xl_headwise_linear_backward_bf16(bf16 *dx, float *dweight, float *dbias, const bf16 *dy, const bf16 *x,
                                            const float *weight, int64_t N, int64_t G, int64_t O, int64_t I) {
  return backward("headwise_linear_backward_bf16", dx, dweight, dbias, dy, x, weight, {N, G, O, I});
}

}  // extern "C"
