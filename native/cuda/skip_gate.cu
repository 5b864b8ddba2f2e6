// y = (h + skip * c) * SiLU(z) and its gradient. Bound by memory; bytes per element in float32, half in bfloat16: 16
// forward, 40 backward. A thread has V columns and goes down some rows, so that dskip stays in registers.
#include "activation.cuh"
#include "reduce.cuh"

using namespace xl;

namespace {

template <class T, int V>
__global__ void __launch_bounds__(128)
    forward_kernel(T *y, const T *h, const T *c, const float *skip, const T *z, int64_t N, int64_t D, int64_t rows) {
  const int64_t d = (int64_t(blockIdx.x) * 128 + threadIdx.x) * V;
  if (d >= D) return;
  const Lanes<V> weight = load<V>(skip + d);
  const int64_t begin = blockIdx.y * rows, end = begin + rows < N ? begin + rows : N;
#pragma unroll 2
  for (int64_t n = begin; n < end; n++) {
    const int64_t e = n * D + d;
    store(y + e, (load<V>(h + e) + weight * load<V>(c + e)) * activate<sizeof(T) == 2>(load<V>(z + e), XL_ACT_SILU));
  }
}

template <class T, int V>
__global__ void __launch_bounds__(128)
    backward_kernel(T *dh, T *dc, float *partials, T *dz, const T *dy, const T *h, const T *c, const float *skip,
                    const T *z, int64_t N, int64_t D, int64_t rows) {
  const int64_t d = (int64_t(blockIdx.x) * 128 + threadIdx.x) * V;
  if (d >= D) return;
  const Lanes<V> weight = load<V>(skip + d);
  Lanes<V> dskip = splat<V>(0);
  const int64_t begin = blockIdx.y * rows, end = begin + rows < N ? begin + rows : N;
  for (int64_t n = begin; n < end; n++) {
    const int64_t e = n * D + d;
    const Lanes<V> g = load<V>(dy + e), x = load<V>(z + e), conv = load<V>(c + e);
    const Lanes<V> dsum = g * activate<sizeof(T) == 2>(x, XL_ACT_SILU);
    add(dh + e, dsum);
    add(dc + e, dsum * weight);
    dskip = dskip + dsum * conv;
    add(dz + e, g * (load<V>(h + e) + weight * conv) * activate_derivative<sizeof(T) == 2>(x, XL_ACT_SILU));
  }
  store(partials + blockIdx.y * D + d, dskip);
}

template <class T>
int forward(const char *name, T *y, const T *h, const T *c, const float *skip, const T *z, int64_t N, int64_t D) {
  if (N <= 0 || D <= 0) return XL_OK;
  constexpr int V = lanes_of<T>;
  if (is_aligned(y, h, c, skip, z) && D % V == 0) {
    const RowSplit split(N, D, V);
    forward_kernel<T, V><<<split.grid(), 128, 0, stream()>>>(y, h, c, skip, z, N, D, split.rows);
  } else {
    const RowSplit split(N, D, 1);
    forward_kernel<T, 1><<<split.grid(), 128, 0, stream()>>>(y, h, c, skip, z, N, D, split.rows);
  }
  return launched(name);
}

template <class T>
int backward(const char *name, T *dh, T *dc, float *dskip, T *dz, const T *dy, const T *h, const T *c,
             const float *skip, const T *z, int64_t N, int64_t D) {
  if (N <= 0 || D <= 0) return XL_OK;
  constexpr int V = lanes_of<T>;
  const bool aligned = is_aligned(dh, dc, dz, dy, h, c, skip, z) && D % V == 0;
  const RowSplit split(N, D, aligned ? V : 1);
  auto *partials = static_cast<float *>(scratch(4 * split.parts * D));
  if (!partials) return XL_OUT_OF_MEMORY;
  if (aligned)
    backward_kernel<T, V>
        <<<split.grid(), 128, 0, stream()>>>(dh, dc, partials, dz, dy, h, c, skip, z, N, D, split.rows);
  else
    backward_kernel<T, 1>
        <<<split.grid(), 128, 0, stream()>>>(dh, dc, partials, dz, dy, h, c, skip, z, N, D, split.rows);
  return add_partials(name, dskip, partials, split.parts, D);
}

}  // namespace

extern "C" {

int xl_skip_gate_forward(float *y, const float *h, const float *c, const float *skip, const float *z, int64_t N,
                         int64_t D) {
  return forward("skip_gate_forward", y, h, c, skip, z, N, D);
}
XL_API int xl_skip_gate_forward_bf16(bf16 *y, const bf16 *h, const bf16 *c, const float *skip, const bf16 *z, int64_t N,
                                     int64_t D) {
  return forward("skip_gate_forward_bf16", y, h, c, skip, z, N, D);
}
int xl_skip_gate_backward(float *dh, float *dc, float *dskip, float *dz, const float *dy, const float *h,
                          const float *c, const float *skip, const float *z, int64_t N, int64_t D) {
  return backward("skip_gate_backward", dh, dc, dskip, dz, dy, h, c, skip, z, N, D);
}
XL_API int xl_skip_gate_backward_bf16(bf16 *dh, bf16 *dc, float *dskip, bf16 *dz, const bf16 *dy, const bf16 *h,
                                      const bf16 *c, const float *skip, const bf16 *z, int64_t N, int64_t D) {
  return backward("skip_gate_backward_bf16", dh, dc, dskip, dz, dy, h, c, skip, z, N, D);
}

}  // extern "C"
