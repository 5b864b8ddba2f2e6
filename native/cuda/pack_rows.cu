// Rows of a matrix into storage formats and back, and rows of a table by token. The bytes are prescribed: operations and
// their order are those of src/device/reference/packed.ts. Bytes per weight: 4 and those of the format, packing reads the
// floats twice.
#include "fault.cuh"
#include "reduce.cuh"
#include "weights.cuh"

using namespace xl;

namespace {

// Groups whose largest weight is below this are stored as zeros: their scales would leave the normal numbers. 2^-110
constexpr float SMALLEST = 7.70371977754894e-34f;

// Rounded to nearest even; what is too large becomes infinite.
__device__ uint32_t bfloat_bits(float x) {
  const uint32_t bits = __float_as_uint(x);
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
__device__ float to_bfloat(float x) { return __uint_as_float(bfloat_bits(x) << 16); }

__device__ int code_of(float x, float inverse, float low, float high) {
  return __float2int_rn(fminf(fmaxf(__fmul_rn(x, inverse), low), high));
}

// The scale of each group; a warp has one.
__global__ void __launch_bounds__(256) scales_kernel(uint8_t *packed, const float *x, const Weights w) {
  const int64_t index = (int64_t(blockIdx.x) * 256 + threadIdx.x) / 32;
  if (index >= w.rows * w.scale_count) return;
  const int lane = threadIdx.x % 32;
  const int64_t r = index / w.scale_count, g = index % w.scale_count, begin = g * w.group;
  const int64_t size = w.columns - begin < w.group ? w.columns - begin : w.group;
  const float *from = x + r * w.columns + begin;
  float largest = 0;
  for (int64_t c = lane; c < size; c += 32) largest = fmaxf(largest, fabsf(from[c]));
  largest = warp_max(largest);
  float scale = 0;
  if (!(largest < SMALLEST)) {
    if (w.format == XL_INT8) {
      scale = to_bfloat(__fdiv_rn(largest, 127.0f));
    } else {
      // The first weight of that size decides the sign.
      float sign = -1;
      for (int64_t c = 0; c < size; c += 32) {
        const float mine = c + lane < size ? from[c + lane] : 0.0f;
        const unsigned found = __ballot_sync(0xffffffffu, c + lane < size && fabsf(mine) == largest);
        if (found == 0) continue;
        sign = __shfl_sync(0xffffffffu, mine, __ffs(int(found)) - 1) > 0 ? -1.0f : 1.0f;
        break;
      }
      // Half a warp tries a scale: 16 sums of every 16th weight, added as a tree that halves.
      double least = 0;
      for (int k = 0; k < 16; k += 2) {
        const int tried = k + lane / 16;
        const float candidate = to_bfloat(__fdiv_rn(sign * largest, 7.0f + 0.5f * float(tried)));
        const float inverse = __fdiv_rn(1.0f, candidate);
        double sum = 0;
        for (int64_t c = lane % 16; c < size; c += 16) {
          const float value = from[c], error = value - float(code_of(value, inverse, -8, 7)) * candidate;
          sum += double(error) * double(error);
        }
        for (int half = 8; half >= 1; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half, 16);
        for (int which = 0; which < 2; which++) {
          const double error = __shfl_sync(0xffffffffu, sum, 16 * which);
          const float option = __shfl_sync(0xffffffffu, candidate, 16 * which);
          if ((k == 0 && which == 0) || error < least) scale = option, least = error;
        }
      }
    }
  }
  if (lane == 0) Weights::put_pair(packed + r * w.row_bytes + w.scales + 2 * g, bfloat_bits(scale));
}

// The code of weight c of a row, 0 where there is none.
__device__ int code_at(const Weights &w, const uint8_t *row, const float *x, int64_t c, float low, float high) {
  if (c >= w.columns) return 0;
  const float scale = w.scale(row, c / w.group);
  return scale == 0 ? 0 : code_of(x[c], __fdiv_rn(1.0f, scale), low, high);
}

// Codes by words of four bytes, and zeros where no code and no scale lies.
__global__ void __launch_bounds__(256) codes_kernel(uint8_t *packed, const float *x, const Weights w) {
  const int64_t words = w.row_bytes / 4, index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= w.rows * words) return;
  const int64_t r = index / words, word = index % words;
  uint8_t *row = packed + r * w.row_bytes;
  const float *from = x + r * w.columns;
  if (w.format == XL_INT4 && 4 * word < w.scales) {
    uint32_t bits = 0;
    for (int j = 0; j < 8; j++)
      bits |= uint32_t(code_at(w, row, from, word / 16 * 128 + 16 * j + word % 16, -8, 7) + 8) << (4 * j);
    Weights::put_pair(row + 4 * word, bits);
    Weights::put_pair(row + 4 * word + 2, bits >> 16);
    return;
  }
  for (int64_t byte = 4 * word; byte < 4 * word + 4; byte++) {
    if (byte < w.scales)
      row[byte] = uint8_t(int8_t(code_at(w, row, from, byte, -127, 127)));
    else if (byte >= w.scales + 2 * w.scale_count)
      row[byte] = 0;
  }
}

// The largest number, as bits, that the format holds.
__device__ uint32_t largest_bits(int format) {
  if (format == XL_F16) return 0x477fefffu;   // just below 65520
  if (format == XL_BF16) return 0x7f7f7fffu;  // just below 2^128 (1 - 2^-9)
  return 0x7f7fffffu;
}

// Notes what cannot be stored; 16-bit formats are written as well.
__global__ void __launch_bounds__(256)
    floats_kernel(uint8_t *packed, const float *x, const Weights w, Fault *fault, const char *name) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= w.rows * w.columns) return;
  const float value = x[index];
  if ((__float_as_uint(value) & 0x7fffffffu) > largest_bits(w.format))
    note_fault(fault, FaultKind::misfit, name, index / w.columns, index % w.columns, value, w.format);
  if (w.format == XL_BF16) Weights::put_pair(packed + 2 * index, bfloat_bits(value));
  if (w.format == XL_F16) Weights::put_pair(packed + 2 * index, half_bits(value));
}

template <class T>
__global__ void __launch_bounds__(256) unpack_kernel(T *y, const Weights w) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index < w.rows * w.columns) store(y + index, w.at(w.row(index / w.columns), index % w.columns));
}

template <class T>
__global__ void __launch_bounds__(256) lookup_kernel(T *y, const Tokens tokens, const Weights w, int64_t N) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (index >= N * w.columns) return;
  const int64_t row = tokens.at(index / w.columns);
  store(y + index, row < 0 ? 0.0f : w.at(w.row(row), index % w.columns));
}

template <class T>
int unpack(const char *name, T *y, const uint8_t *packed, int64_t R, int64_t C, int32_t format, int64_t group) {
  Weights w;
  if (int status = describe_weights(w, name, packed, R, C, format, group)) return status;
  if (R == 0) return XL_OK;
  unpack_kernel<<<unsigned(ceil_div(R * C, 256)), 256, 0, stream()>>>(y, w);
  return launched(name);
}

template <class T>
int lookup(const char *name, T *y, const int32_t *tokens, const uint8_t *table, int64_t N, int64_t D, int64_t V,
           int32_t format, int64_t group) {
  Weights w;
  if (int status = describe_weights(w, name, table, V, D, format, group)) return status;
  if (N <= 0) return XL_OK;
  lookup_kernel<<<unsigned(ceil_div(N * D, 256)), 256, 0, stream()>>>(y, Tokens{tokens, V, faults(), name, 0}, w, N);
  return launched(name);
}

}  // namespace

extern "C" {

int xl_pack_rows(uint8_t *packed, const float *x, int64_t R, int64_t C, int32_t format, int64_t group) {
  Weights w;
  if (int status = describe_weights(w, "pack_rows", packed, R, C, format, group)) return status;
  if (R == 0) return XL_OK;
  floats_kernel<<<unsigned(ceil_div(R * C, 256)), 256, 0, stream()>>>(packed, x, w, faults(), "pack_rows");
  if (w.is_scaled()) {
    scales_kernel<<<unsigned(ceil_div(R * w.scale_count, 8)), 256, 0, stream()>>>(packed, x, w);
    codes_kernel<<<unsigned(ceil_div(R * w.row_bytes / 4, 256)), 256, 0, stream()>>>(packed, x, w);
  }
  return launched("pack_rows");
}

int xl_unpack_rows(float *y, const uint8_t *packed, int64_t R, int64_t C, int32_t format, int64_t group) {
  return unpack("unpack_rows", y, packed, R, C, format, group);
}
XL_API int xl_unpack_rows_bf16(bf16 *y, const uint8_t *packed, int64_t R, int64_t C, int32_t format, int64_t group) {
  return unpack("unpack_rows_bf16", y, packed, R, C, format, group);
}

int xl_embedding_packed(float *y, const int32_t *tokens, const uint8_t *table, int64_t N, int64_t D, int64_t V,
                        int32_t format, int64_t group) {
  return lookup("embedding_packed", y, tokens, table, N, D, V, format, group);
}
XL_API int xl_embedding_packed_bf16(bf16 *y, const int32_t *tokens, const uint8_t *table, int64_t N, int64_t D,
                                    int64_t V, int32_t format, int64_t group) {
  return lookup("embedding_packed_bf16", y, tokens, table, N, D, V, format, group);
}

}  // extern "C"
