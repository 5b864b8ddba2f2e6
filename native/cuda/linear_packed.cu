// y = x weight^T + bias with the weights in a storage format. Few rows of x, as in decoding: bound by reading the weights
// once (2, 1 or 1/2 byte each and their scales), 16 bytes per load; a warp has four rows of the weights (two beside eight
// rows of x), so that what it reads of x, from the caches, serves all of them. Codes become floats by their bits (2^23 +
// code), since the conversion instruction has a quarter of the rate. More rows: the weights are unpacked and multiplied as a
// matrix; bfloat16 weights are one already, and a float32 x is the sum of three bfloat16, so that the tensor cores do it.
#include "deferred.h"
#include "product.h"
#include "reduce.cuh"
#include "weights.cuh"

using namespace xl;

extern "C" XL_API int xl_unpack_rows_bf16(bf16 *y, const uint8_t *packed, int64_t R, int64_t C, int32_t format,
                                          int64_t group);

namespace {

constexpr int WARPS = 4;
constexpr int STREAMED = 4;    // rows of x, beyond which a product with bfloat16 weights is faster
constexpr int MOST_ROWS = 32;  // the same of weights that must be unpacked first

// 16 bytes of weights as parts of four: part p holds the weights from column begin(chunk) + column(p) on, times
// factor(p), a power of two that the numbers of x are divided by.
template <int FORMAT>
struct Bytes16;

struct Whole {
  static __device__ float factor(int) { return 1.0f; }
  static __device__ int column(int p) { return 4 * p; }
  static __device__ uint32_t word(const uint4 &bits, int w) { return w == 0 ? bits.x : w == 1 ? bits.y : w == 2 ? bits.z : bits.w; }
};

template <>
struct Bytes16<XL_BF16> : Whole {
  static constexpr int count = 8;
  static __device__ int64_t begin(int64_t chunk) { return chunk * 8; }
  static __device__ Lanes<4> part(const uint4 &bits, int p) {
    const uint32_t low = word(bits, 2 * p), high = word(bits, 2 * p + 1);
    return {__uint_as_float(low << 16), __uint_as_float(low & 0xffff0000u), __uint_as_float(high << 16),
            __uint_as_float(high & 0xffff0000u)};
  }
};

template <>
struct Bytes16<XL_F16> : Whole {
  static constexpr int count = 8;
  static __device__ int64_t begin(int64_t chunk) { return chunk * 8; }
  static __device__ Lanes<4> part(const uint4 &bits, int p) {
    const uint32_t low = word(bits, 2 * p), high = word(bits, 2 * p + 1);
    const float2 a = __half22float2(*reinterpret_cast<const __half2 *>(&low));
    const float2 b = __half22float2(*reinterpret_cast<const __half2 *>(&high));
    return {a.x, a.y, b.x, b.y};
  }
};

template <>
struct Bytes16<XL_INT8> : Whole {
  static constexpr int count = 16;
  static __device__ int64_t begin(int64_t chunk) { return chunk * 16; }
  static __device__ Lanes<4> part(const uint4 &bits, int p) {
    const uint32_t codes = word(bits, p) ^ 0x80808080u;
    Lanes<4> y;
#pragma unroll
    for (int b = 0; b < 4; b++) y[b] = __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7650 + b)) - 8388736.0f;
    return y;
  }
};

// Words 4q..4q+3 of a block of 128: part p holds the weights 16 p + 4 q + 0..3, bits 4p..4p+3 of each word. They stay
// where they are in the lower 16 bits of a half, so that one shift serves four parts.
template <>
struct Bytes16<XL_INT4> : Whole {
  static constexpr int count = 32;
  static __device__ int64_t begin(int64_t chunk) { return chunk / 4 * 128 + chunk % 4 * 4; }
  static __device__ int column(int p) { return 16 * p; }
  static __device__ float factor(int p) { return float(1 << (4 * (p % 4))); }
  static __device__ Lanes<4> part(const uint4 &bits, int p) {
    Lanes<4> y;
#pragma unroll
    for (int w = 0; w < 4; w++) {
      const uint32_t half = p < 4 ? word(bits, w) : word(bits, w) >> 16;
      y[w] = __uint_as_float((half & (15u << (4 * (p % 4)))) | 0x4b000000u) - (8388608.0f + 8.0f * factor(p));
    }
    return y;
  }
};

// A warp has ROWS rows of the weights and NB of x. ONE_SCALE: all weights of 16 bytes have one scale.
template <int FORMAT, class T, int NB, int ROWS, bool ONE_SCALE>
__global__ void __launch_bounds__(32 * WARPS)
    stream_kernel(T *y, const T *x, const float *bias, const Weights w, int64_t N) {
  using Part = Bytes16<FORMAT>;
  constexpr int PARTS = Part::count / 4;
  constexpr bool IS_SCALED = FORMAT == XL_INT8 || FORMAT == XL_INT4;
  const int lane = threadIdx.x % 32;
  const int64_t first = (int64_t(blockIdx.x) * WARPS + threadIdx.x / 32) * ROWS, n0 = int64_t(blockIdx.y) * NB;
  if (first >= w.rows) return;
  const uint8_t *rows[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) rows[r] = w.row(first + r < w.rows ? first + r : w.rows - 1);
  float sums[ROWS][NB] = {};
  const int64_t chunks = w.columns / Part::count;
#pragma unroll 2
  for (int64_t chunk = lane; chunk < chunks; chunk += 32) {
    const int64_t begin = Part::begin(chunk);
    uint4 bits[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) bits[r] = __ldcs(reinterpret_cast<const uint4 *>(rows[r]) + chunk);
    float parts[ROWS][NB] = {};
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
      Lanes<4> weights[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        weights[r] = Part::part(bits[r], p);
        if constexpr (!ONE_SCALE) weights[r] = w.aligned_scale(rows[r], (begin + Part::column(p)) / w.group) * weights[r];
      }
#pragma unroll
      for (int n = 0; n < NB; n++) {
        const int64_t row = n0 + n < N ? n0 + n : N - 1;
        const Lanes<4> value = (1.0f / Part::factor(p)) * load<4>(x + row * w.columns + begin + Part::column(p));
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
          for (int l = 0; l < 4; l++) parts[r][n] += weights[r][l] * value[l];
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const float scale = IS_SCALED && ONE_SCALE ? w.aligned_scale(rows[r], begin / w.group) : 1.0f;
#pragma unroll
      for (int n = 0; n < NB; n++) sums[r][n] += scale * parts[r][n];
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int n = 0; n < NB; n++) {
      const float sum = warp_sum(sums[r][n]);
      if (lane == 0 && first + r < w.rows && n0 + n < N)
        store(y + (n0 + n) * w.rows + first + r, sum + (bias ? bias[first + r] : 0.0f));
    }
}

// Rows of any width at any address: a warp has one output.
template <class T>
__global__ void __launch_bounds__(256) plain_kernel(T *y, const T *x, const float *bias, const Weights w, int64_t N) {
  const int64_t index = (int64_t(blockIdx.x) * 256 + threadIdx.x) / 32;
  if (index >= N * w.rows) return;
  const int64_t n = index / w.rows, o = index % w.rows;
  const uint8_t *row = w.row(o);
  float sum = 0;
  for (int64_t c = threadIdx.x % 32; c < w.columns; c += 32) sum += w.at(row, c) * load(x + n * w.columns + c);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) store(y + index, sum + (bias ? bias[o] : 0.0f));
}

template <int FORMAT, class T, int NB>
void stream_rows(T *y, const T *x, const float *bias, const Weights &w, int64_t N) {
  constexpr int ROWS = NB <= 4 ? 4 : 2;
  const dim3 grid{unsigned(ceil_div(w.rows, ROWS * WARPS)), unsigned(ceil_div(N, NB))};
  if constexpr (FORMAT == XL_INT4) {
    if (w.group % 128 != 0) {
      stream_kernel<FORMAT, T, NB, ROWS, false><<<grid, 32 * WARPS, 0, stream()>>>(y, x, bias, w, N);
      return;
    }
  }
  stream_kernel<FORMAT, T, NB, ROWS, true><<<grid, 32 * WARPS, 0, stream()>>>(y, x, bias, w, N);
}

template <int FORMAT, class T>
void stream_few(T *y, const T *x, const float *bias, const Weights &w, int64_t N) {
  if (N == 1) return stream_rows<FORMAT, T, 1>(y, x, bias, w, N);
  if (N == 2) return stream_rows<FORMAT, T, 2>(y, x, bias, w, N);
  if (N <= 4) return stream_rows<FORMAT, T, 4>(y, x, bias, w, N);
  stream_rows<FORMAT, T, 8>(y, x, bias, w, N);
}

template <class T>
bool can_stream(const T *x, const Weights &w) {
  const int64_t whole = w.format == XL_INT4 ? 128 : w.format == XL_INT8 ? 16 : 8;
  return is_aligned(x, w.data) && w.columns % whole == 0;
}

int unpack_as(float *y, const uint8_t *data, int64_t R, int64_t C, int32_t format, int64_t group) {
  return xl_unpack_rows(y, data, R, C, format, group);
}
int unpack_as(bf16 *y, const uint8_t *data, int64_t R, int64_t C, int32_t format, int64_t group) {
  return xl_unpack_rows_bf16(y, data, R, C, format, group);
}

// x [N,I] = parts[0] + parts[1] + parts[2], each of 8 of its 24 bits; one after the other [3,N,I].
__global__ void __launch_bounds__(256) split_kernel(bf16 *parts, const float *x, int64_t size) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= size) return;
  float rest = x[index];
#pragma unroll
  for (int p = 0; p < 3; p++) {
    const bf16 part = __float2bfloat16_rn(rest);
    parts[p * size + index] = part;
    // Where x is not finite its first part is all of it.
    rest = isfinite(rest) ? rest - __bfloat162float(part) : 0.0f;
  }
}

// y [N,O] = the sum of the products with the parts, and bias; rounded once.
template <int PARTS, class T>
__global__ void __launch_bounds__(256)
    join_kernel(T *y, const float *products, const float *bias, int64_t size, int64_t O) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= size) return;
  float sum = products[index];
  if constexpr (PARTS == 3) sum += products[size + index] + products[2 * size + index];
  store(y + index, bias ? sum + bias[index % O] : sum);
}

// The matrix of bfloat16 weights that a product can read, else NULL.
const bf16 *as_matrix(const Weights &w) {
  const bool is_one = w.format == XL_BF16 && w.columns % 8 == 0 && reinterpret_cast<uintptr_t>(w.data) % 16 == 0;
  return is_one ? reinterpret_cast<const bf16 *>(w.data) : nullptr;
}

constexpr int64_t SPLIT_ROWS = 1024;  // of x at a time, which bounds the workspace

int by_product(const char *name, float *y, const float *x, const bf16 *matrix, const float *bias, int64_t N, int64_t O,
               int64_t I) {
  for (int64_t first = 0; first < N; first += SPLIT_ROWS) {
    const int64_t rows = N - first < SPLIT_ROWS ? N - first : SPLIT_ROWS;
    auto *products = static_cast<float *>(scratch(3 * rows * (4 * O + 2 * I)));
    if (!products) return XL_OUT_OF_MEMORY;
    bf16 *parts = reinterpret_cast<bf16 *>(products + 3 * rows * O);
    split_kernel<<<unsigned(ceil_div(rows * I, 256)), 256, 0, stream()>>>(parts, x + first * I, rows * I);
    if (int status = product(name, products, static_cast<const bf16 *>(parts), matrix,
                             {3 * rows, O, I, false, true, I, I, O, false}))
      return status;
    join_kernel<3><<<unsigned(ceil_div(rows * O, 256)), 256, 0, stream()>>>(y + first * O, products, bias, rows * O, O);
  }
  return launched(name);
}

int by_product(const char *name, bf16 *y, const bf16 *x, const bf16 *matrix, const float *bias, int64_t N, int64_t O,
               int64_t I) {
  if (!bias) return product(name, y, x, matrix, {N, O, I, false, true, I, I, O, false});
  for (int64_t first = 0; first < N; first += SPLIT_ROWS) {
    const int64_t rows = N - first < SPLIT_ROWS ? N - first : SPLIT_ROWS;
    auto *products = static_cast<float *>(scratch(4 * rows * O));
    if (!products) return XL_OUT_OF_MEMORY;
    if (int status = product(name, products, x + first * I, matrix, {rows, O, I, false, true, I, I, O, false}))
      return status;
    join_kernel<1><<<unsigned(ceil_div(rows * O, 256)), 256, 0, stream()>>>(y + first * O, products, bias, rows * O, O);
  }
  return launched(name);
}

template <class T>
int linear(const char *name, T *y, const T *x, const uint8_t *weight, const float *bias, int64_t N, int64_t O,
           int64_t I, int32_t format, int64_t group) {
  Weights w;
  if (int status = describe_weights(w, name, weight, O, I, format, group)) return status;
  if (N <= 0 || O <= 0) return XL_OK;
  const bf16 *there = as_matrix(w);
  if constexpr (sizeof(T) == 4) {
    if (there && defer(FewRowsProduct{y, x, there, false, bias, N, O, I})) return XL_OK;
  }
  if (there && N > STREAMED) return by_product(name, y, x, there, bias, N, O, I);
  if (N > MOST_ROWS) {
    auto *matrix = static_cast<T *>(scratch(int64_t(sizeof(T)) * O * I));
    if (!matrix) return XL_OUT_OF_MEMORY;
    if (int status = unpack_as(matrix, weight, O, I, format, group)) return status;
    if (int status = product(name, y, x, static_cast<const T *>(matrix), {N, O, I, false, true, I, I, O, false}))
      return status;
    return epilogue(name, y, bias, N, O, O, XL_ACT_NONE);
  }
  if (!can_stream(x, w))
    plain_kernel<<<unsigned(ceil_div(N * O, 8)), 256, 0, stream()>>>(y, x, bias, w, N);
  else if (format == XL_BF16)
    stream_few<XL_BF16>(y, x, bias, w, N);
  else if (format == XL_F16)
    stream_few<XL_F16>(y, x, bias, w, N);
  else if (format == XL_INT8)
    stream_few<XL_INT8>(y, x, bias, w, N);
  else
    stream_few<XL_INT4>(y, x, bias, w, N);
  return launched(name);
}

}  // namespace

extern "C" {

int xl_linear_packed(float *y, const float *x, const uint8_t *weight, const float *bias, int64_t N, int64_t O,
                     int64_t I, int32_t format, int64_t group) {
  return linear("linear_packed", y, x, weight, bias, N, O, I, format, group);
}
XL_API int xl_linear_packed_bf16(bf16 *y, const bf16 *x, const uint8_t *weight, const float *bias, int64_t N, int64_t O,
                                 int64_t I, int32_t format, int64_t group) {
  return linear("linear_packed_bf16", y, x, weight, bias, N, O, I, format, group);
}

}  // extern "C"
