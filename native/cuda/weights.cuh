// A matrix in a storage format (src/device/packing.ts): where its rows and scales lie, and one weight of it.
#ifndef XL_CUDA_WEIGHTS_CUH
#define XL_CUDA_WEIGHTS_CUH
#include <cuda_fp16.h>

#include "lanes.cuh"

namespace xl {

// float16 and back by integers: nvcc 13.0 loses the low byte where a conversion meets bytes (found by the self-test).
__device__ inline uint32_t half_bits(float x) {
  const uint32_t bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return sign | 0x7e00u;
  if (size >= 0x47800000u) return sign | 0x7c00u;
  if (size < 0x38800000u) return sign | __float2uint_rn(__uint_as_float(size) * 16777216.0f);  // steps of 2^-24
  const uint32_t rebased = size - 0x38000000u;
  return sign | (rebased + 0xfffu + (rebased >> 13 & 1u)) >> 13;
}
__device__ inline float half_value(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 1023u;
  if (exponent == 0) return __uint_as_float(sign | __float_as_uint(float(fraction) * 0x1p-24f));
  return __uint_as_float(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13);
}

struct Weights {
  const uint8_t *data;
  int64_t rows, columns, row_bytes, scales, group, scale_count;
  int format;

  bool is_scaled() const { return format == XL_INT8 || format == XL_INT4; }
  __device__ const uint8_t *row(int64_t r) const { return data + r * row_bytes; }
  // Two bytes at any address.
  static __device__ uint16_t pair(const uint8_t *p) { return uint16_t(p[0] | p[1] << 8); }
  static __device__ void put_pair(uint8_t *p, uint32_t bits) {
    p[0] = uint8_t(bits);
    p[1] = uint8_t(bits >> 8);
  }
  __device__ float scale(const uint8_t *row, int64_t g) const {
    return __uint_as_float(uint32_t(pair(row + scales + 2 * g)) << 16);
  }
  // The same of rows that begin at even addresses.
  __device__ float aligned_scale(const uint8_t *row, int64_t g) const {
    return __uint_as_float(uint32_t(*reinterpret_cast<const uint16_t *>(row + scales + 2 * g)) << 16);
  }
  // Weight c of a row.
  __device__ float at(const uint8_t *row, int64_t c) const {
    if (format == XL_BF16) return __uint_as_float(uint32_t(pair(row + 2 * c)) << 16);
    if (format == XL_F16) return half_value(pair(row + 2 * c));
    const float factor = scale(row, c / group);
    if (format == XL_INT8) return float(int8_t(row[c])) * factor;
    const int64_t j = c % 128 / 16;
    return float(int(row[c / 128 * 64 + c % 16 * 4 + j / 2] >> (j % 2 * 4) & 15) - 8) * factor;
  }
};

// Fills `w`; XL_OK, or an error for a format or a group that cannot be.
inline int describe_weights(Weights &w, const char *name, const uint8_t *data, int64_t rows, int64_t columns,
                            int32_t format, int64_t group) {
  if (format < XL_BF16 || format > XL_INT4)
    return fail(XL_INVALID, "%s: %d is no storage format; there are 0 (bf16) to 3 (int4)", name, format);
  if (columns < 1 || rows < 0)
    return fail(XL_INVALID, "%s: a matrix of %lld rows of %lld columns", name, (long long)rows, (long long)columns);
  const bool is_scaled = format == XL_INT8 || format == XL_INT4;
  const bool is_whole = group >= 16 && group % 16 == 0;
  if (is_scaled ? !is_whole && !(group == 0 && format == XL_INT8) : group != 0)
    return fail(XL_INVALID, "%s: format %d cannot have a group of %lld", name, format, (long long)group);
  w = {data, rows, columns, 2 * columns, 0, 1, 0, format};
  if (is_scaled) {
    w.scales = format == XL_INT8 ? 2 * ceil_div(columns, 2) : 64 * ceil_div(columns, 128);
    w.group = group == 0 ? columns : group;
    w.scale_count = ceil_div(columns, w.group);
    w.row_bytes = round_up(w.scales + 2 * w.scale_count, 64);
  }
  return XL_OK;
}

}  // namespace xl
#endif
