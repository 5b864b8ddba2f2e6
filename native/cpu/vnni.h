// What products by VNNI share (vnni_int8.h, vnni_int4.h): the instruction, and scales times units.
//
// VNNI adds products of unsigned with signed bytes to sums of 32 bits, four at a time: three such instructions for 4 W
// weights, one for each digit of x. Decoding reads faster the fewer instructions wait for each cache line, and the shorter
// the chains of those that wait for each other: so many more lines are on their way. Hence what rows of weights do stands
// side by side, and the codes of the next step are loaded before those of this one are multiplied.
//
// x is taken block by block (128 columns) as whole numbers X: whole_numbers() of int4_dot.h. All sums of codes and digits
// are exact; rounded are X, and sums once they become floats.
#ifndef XL_CPU_VNNI_H
#define XL_CPU_VNNI_H
#include "dot_rows.h"
#include "int4_dot.h"
#include "isa.h"

namespace XL_NS {
namespace {

#if defined(__AVX2__)
constexpr bool HAS_VNNI = true;  // in this build; whether the machine does is xl::uses_vnni()

#if defined(__AVX512F__)
#define XL_VNNI __attribute__((target("avx512vnni")))
#define XL_VNNI_INLINE inline __attribute__((always_inline, target("avx512vnni")))
#else
#define XL_VNNI __attribute__((target("avxvnni")))
#define XL_VNNI_INLINE inline __attribute__((always_inline, target("avxvnni")))
#endif

constexpr int BYTE_VECTORS = BLOCK / (4 * W);  // of a block of bytes

XL_VNNI_INLINE vi add_products(vi sum, vi unsigned_bytes, vi signed_bytes) {
#if defined(__AVX512F__)
  return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)unsigned_bytes, (__m512i)signed_bytes);
#else
  return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)unsigned_bytes, (__m256i)signed_bytes);
#endif
}

// The bytes of each 16 in another order; -1 is a zero.
XL_INLINE vi shuffle_bytes(vi bytes, __m128i order) {
#if defined(__AVX512F__)
  return (vi)_mm512_shuffle_epi8((__m512i)bytes, _mm512_maskz_broadcast_i32x4((__mmask16)-1, order));
#else
  return (vi)_mm256_shuffle_epi8((__m256i)bytes, _mm256_broadcastsi128_si256(order));
#endif
}

// ---- scales ----

// Scales are made floats SCALES at a time, each times the unit of X there: a block then adds its sums with one instruction.
// After the blocks of prepared x stand its units: one for each group, up to a multiple of SCALES, row of x by row.
constexpr int64_t SCALES = 16;

inline int64_t units_of_row(const Weights &w) { return ceil_div(w.scale_count, SCALES) * SCALES; }

// W scales of which `left` are there, as floats; zeros beyond them.
XL_INLINE vf scales_at(const uint8_t *scales, int64_t left) {
  if (left >= W) return bfloats_at(scales);
#if defined(__AVX512F__)
  const auto there = __mmask16((1u << max_of(left, 0)) - 1);
  return (vf)((vu)_mm512_maskz_cvtepu16_epi32((__mmask16)-1, _mm256_maskz_loadu_epi16(there, scales)) << 16);
#else
  return small_floats_part<XL_BF16>(scales, max_of(left, 0));
#endif
}

// Those of R rows of weights by M rows of x. Of scales beyond the last group, which are `left` away, there is a zero.
template <int R, int M>
struct ScaledUnits {
  alignas(64) float at[R][M][SCALES];

  XL_INLINE ScaledUnits(const uint8_t *scales, int64_t row_bytes, int64_t left, const float *units, int64_t units_row) {
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int64_t i = 0; i < SCALES; i += W) {
        const vf own = scales_at(scales + r * row_bytes + 2 * i, left - i);
#pragma GCC unroll 4
        for (int m = 0; m < M; m++) store(at[r][m] + i, own * load(units + m * units_row + i));
      }
  }
};

#else
constexpr bool HAS_VNNI = false;
#endif

}  // namespace
}  // namespace XL_NS
#endif
