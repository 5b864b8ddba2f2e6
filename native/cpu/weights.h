// Matrices in storage formats: how weights become floats. Products with them are in linear_packed.cpp, whole rows in pack_rows.cpp.
#ifndef XL_CPU_WEIGHTS_H
#define XL_CPU_WEIGHTS_H
#include "kernel.h"
#include "packed_rows.h"

namespace XL_NS {
namespace {

using xl::BLOCK;
using xl::LINE;
constexpr int PLANES = 8;  // nibbles of a word

typedef uint32_t vu_any __attribute__((vector_size(4 * W), aligned(1), may_alias));

// A packed matrix.
struct Weights {
  const uint8_t *data;
  int64_t rows, columns;
  int32_t format;
  int64_t group;        // columns of a scale; of a row of int8 with one scale, all of them
  int64_t scales;       // where they begin, in bytes from the start of a row
  int64_t scale_count;  // of a row
  int64_t row_bytes;
  int64_t stream_left = 0;  // of a tile (dot_rows.h): bytes from its rows to the end of the streams that have them

  const uint8_t *row(int64_t r) const { return data + r * row_bytes; }
};

// Fills `weights`; returns a status.
inline int describe_weights(Weights &weights, const char *kernel, const uint8_t *data, int64_t rows, int64_t columns,
                            int32_t format, int64_t group) {
  if (rows < 0 || columns < 1)
    return xl::fail(XL_INVALID, "%s: rows must not be negative and columns must be positive, got %lld and %lld", kernel,
                    (long long)rows, (long long)columns);
  if (format < XL_BF16 || format > XL_INT4)
    return xl::fail(XL_INVALID, "%s: format must be 0 (bf16) to 3 (int4), got %d", kernel, (int)format);
  static const char *const group_rules[] = {"0 for bf16", "0 for f16",
                                            "a multiple of 16, or 0 for one per row of int8",
                                            "a multiple of 16 for int4"};
  const bool has_scales = format >= XL_INT8, whole_row = format == XL_INT8 && group == 0;
  if (has_scales ? (group < 16 || group % 16 != 0) && !whole_row : group != 0)
    return xl::fail(XL_INVALID, "%s: group must be %s, got %lld", kernel, group_rules[format], (long long)group);
  const xl::RowLayout row = xl::layout_of_row(format, columns, group);
  weights = {data, rows, columns, format, row.group, row.scales, row.scale_count, row.bytes};
  return XL_OK;
}

// ---- W weights as floats; nothing beyond them is read. Intrinsics, since g++ 12 converts narrow vectors one by one. ----

#if defined(__AVX512F__)
XL_INLINE __m256i raw_halves(const uint8_t *p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); }
#elif defined(__AVX2__)
XL_INLINE __m128i raw_halves(const uint8_t *p) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(p)); }
#elif defined(__x86_64__)
XL_INLINE __m128i raw_halves(const uint8_t *p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)); }
#else
XL_INLINE uint16x4_t raw_halves(const uint8_t *p) { return vreinterpret_u16_u8(vld1_u8(p)); }
#endif

XL_INLINE vf bfloats_at(const uint8_t *p) {
#if defined(__AVX512F__)
  return (vf)((vu)_mm512_maskz_cvtepu16_epi32((__mmask16)-1, raw_halves(p)) << 16);
#elif defined(__AVX2__)
  return (vf)((vu)_mm256_cvtepu16_epi32(raw_halves(p)) << 16);
#elif defined(__x86_64__)
  return (vf)_mm_unpacklo_epi16(_mm_setzero_si128(), raw_halves(p));
#else
  return (vf)vshll_n_u16(raw_halves(p), 16);
#endif
}

XL_INLINE vf halves_at(const uint8_t *p) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_cvtph_ps((__mmask16)-1, raw_halves(p));
#elif defined(__AVX2__)
  return (vf)_mm256_cvtph_ps(raw_halves(p));
#elif defined(__x86_64__)
  // Subnormal halves by their integer, since as the bits of a float they would be denormal and flushed to zero.
  const vi wide = (vi)_mm_unpacklo_epi16(raw_halves(p), _mm_setzero_si128()), size = wide & 0x7fff;
  const vi normal = (size << 13) + (112 << 23), special = (size << 13) | 0x7f800000;
  const vi subnormal = (vi)(to_float(size) * 0x1p-24f);
  const vi value = select_int(size < 0x0400, subnormal, select_int(size < 0x7c00, normal, special));
  return (vf)(value | ((wide & 0x8000) << 16));
#else
  return (vf)vcvt_f32_f16(vreinterpret_f16_u16(raw_halves(p)));
#endif
}

template <int32_t F>
XL_INLINE vf small_floats_at(const uint8_t *p) {
  return F == XL_BF16 ? bfloats_at(p) : halves_at(p);
}

// The first n of them, the others zero. The last row may end where memory does.
template <int32_t F>
XL_INLINE vf small_floats_part(const uint8_t *p, int64_t n) {
  uint8_t bytes[2 * W] = {};
  __builtin_memcpy(bytes, p, size_t(2 * n));
  return small_floats_at<F>(bytes);
}

// Codes of int8.
XL_INLINE vf bytes_at(const uint8_t *p) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
  return to_float((vi)_mm512_maskz_cvtepi8_epi32((__mmask16)-1, bytes));
#elif defined(__AVX2__)
  return to_float((vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))));
#else
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
#if defined(__x86_64__)
  const __m128i bytes = _mm_cvtsi32_si128(four), pairs = _mm_unpacklo_epi8(bytes, bytes);
  return to_float((vi)_mm_srai_epi32(_mm_unpacklo_epi16(pairs, pairs), 24));
#else
  const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
  return to_float((vi)vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
#endif
#endif
}

XL_INLINE vu words_at(const uint8_t *p) { return *reinterpret_cast<const vu_any *>(p); }

XL_INLINE float scale_at(const uint8_t *p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  const uint32_t wide = uint32_t(bits) << 16;
  float scale;
  __builtin_memcpy(&scale, &wide, sizeof scale);
  return scale;
}

// The same in all lanes. Broadcasting from memory costs no instruction of arithmetic, unlike a detour through a register
// of integers; the two bytes before the scale belong to the row.
XL_INLINE vf splat_scale(const uint8_t *p) {
#if defined(__AVX512F__)
  int32_t pair;
  __builtin_memcpy(&pair, p - 2, sizeof pair);
  return (vf)((vu)_mm512_set1_epi32(pair) & 0xffff0000u);
#elif defined(__AVX2__)
  return (vf)((vu)_mm256_broadcast_ss(reinterpret_cast<const float *>(p - 2)) & 0xffff0000u);
#else
  return splat(scale_at(p));
#endif
}

// ---- blocks ----

// The columns from c on (a multiple of BLOCK) of a row, at most BLOCK of them, into to[0 .. BLOCK - 1]; what lies beyond
// the last column is unspecified.
template <int32_t F>
inline void unpack_block_as(const Weights &w, const uint8_t *row, int64_t c, float *to) {
  const int64_t n = min_of(BLOCK, w.columns - c);
  if constexpr (F == XL_BF16 || F == XL_F16) {
    const uint8_t *from = row + 2 * c;
    int64_t i = 0;
    for (; i + W <= n; i += W) store(to + i, small_floats_at<F>(from + 2 * i));
    if (i < n) store(to + i, small_floats_part<F>(from + 2 * i, n - i));
  } else if constexpr (F == XL_INT8) {
    // A row ends at a multiple of 64 bytes, so that whole vectors can be read.
    for (int64_t i = 0; i < n;) {
      const int64_t g = (c + i) / w.group, end = min_of(n, (g + 1) * w.group - c);
      const vf scale = splat(scale_at(row + w.scales + 2 * g));
      for (; i < end; i += W) store(to + i, bytes_at(row + c + i) * scale);
    }
  } else {
    const uint8_t *words = row + c / BLOCK * LINE;
    for (int64_t j = 0; 16 * j < n; j++) {
      const vf scale = splat(scale_at(row + w.scales + (c + 16 * j) / w.group * 2));
#pragma GCC unroll 4
      for (int64_t l = 0; l < 16; l += W) {
        const vi code = (vi)((words_at(words + 4 * l) >> (uint32_t)(4 * j)) & 15u) - 8;
        store(to + 16 * j + l, to_float(code) * scale);
      }
    }
  }
}

inline void unpack_block(const Weights &w, const uint8_t *row, int64_t c, float *to) {
  switch (w.format) {
    case XL_BF16:
      return unpack_block_as<XL_BF16>(w, row, c, to);
    case XL_F16:
      return unpack_block_as<XL_F16>(w, row, c, to);
    case XL_INT8:
      return unpack_block_as<XL_INT8>(w, row, c, to);
    default:
      return unpack_block_as<XL_INT4>(w, row, c, to);
  }
}

// A whole row of floats; nothing beyond to[columns - 1] is written.
inline void unpack_row(const Weights &w, const uint8_t *row, float *to) {
  const int64_t full = w.columns / BLOCK * BLOCK;
  for (int64_t c = 0; c < full; c += BLOCK) unpack_block(w, row, c, to + c);
  if (full < w.columns) {
    float last[BLOCK];
    unpack_block(w, row, full, last);
    __builtin_memcpy(to + full, last, size_t(w.columns - full) * sizeof(float));
  }
}

}  // namespace
}  // namespace XL_NS
#endif
