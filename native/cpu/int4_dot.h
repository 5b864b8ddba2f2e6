// Products of int4 rows with a few rows of x by integers, for groups of 32, 64 and of multiples of 128 where the machine
// has pmaddubsw. As floats, a weight costs a mask, a conversion and a multiply-add for every W of them, which is slower
// than memory; here 4 W weights cost two instructions for each of three digits of x. On AVX2 that is 78 instructions of
// arithmetic for 256 weights, 22 cycles at best where four can start at once.
//
// x is taken block by block (128 columns) as whole numbers X of its largest magnitude / 8355584, rounded to nearest: 24
// bits, one more than a float has near that magnitude. X = 65536 h + 256 m + l with digits from -128 to 127, so that
// sums of code * digit fit 16 bits within a block and sums of code * X fit 32 bits: they are exact, and that codes stand
// 8 above their value is taken off exactly. What is rounded is X, and each block's sums once they become floats.
//
// Byte b of word l holds the weights 16 (2 b) + l and 16 (2 b + 1) + l of a block: lower and upper halves of all bytes
// are two vectors of codes, and digits of x are prepared in the same places. Pairs of bytes are summed into 16 bits, of
// which two make 32. So with the bytes as they are, the lower halves of the sums belong to the first 64 columns and the
// upper ones to the others. With the bytes of two words side by side, the halves of two neighbouring sums belong to the
// four groups of 32 columns.
#ifndef XL_CPU_INT4_DOT_H
#define XL_CPU_INT4_DOT_H
#include "tile.h"
#include "weights.h"

namespace XL_NS {
namespace {

#if defined(__AVX2__)
constexpr bool HAS_INT4_DOT = true;

typedef int16_t vs __attribute__((vector_size(4 * W)));

constexpr int DIGITS = 3;
constexpr int CODE_VECTORS = 2 * 16 / W;  // of a block: lower and upper halves of its words
constexpr int64_t INT4_BLOCK_VECTORS = DIGITS * CODE_VECTORS + 3;  // of a prepared row of x
// The digits 127, 127, 0: the largest, 127, 127, 127, less what rounding may add.
constexpr float LARGEST_X = 8355584.0f;

// Sums of pairs of products of unsigned with signed bytes, and of pairs of products of 16 bits.
XL_INLINE vs multiply_bytes(vi codes, vi digits) {
#if defined(__AVX512F__)
  return (vs)_mm512_maddubs_epi16((__m512i)codes, (__m512i)digits);
#else
  return (vs)_mm256_maddubs_epi16((__m256i)codes, (__m256i)digits);
#endif
}
XL_INLINE vi multiply_pairs(vs a, vi b) {
#if defined(__AVX512F__)
  return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#else
  return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#endif
}

XL_INLINE vi round_x(vf x) {
#if defined(__AVX512F__)
  return (vi)_mm512_maskz_cvtps_epi32((__mmask16)-1, (__m512)x);
#else
  return (vi)_mm256_cvtps_epi32((__m256)x);
#endif
}

// The whole numbers of one block of x, and what one of them stands for. Where x is not finite that is NaN.
inline float whole_numbers(vi (&X)[PLANES][16 / W], const float *x, int64_t columns, float most_of_X = LARGEST_X) {
  vf part[PLANES][16 / W], most = {}, strange = {};
  for (int j = 0; j < PLANES; j++)
    for (int v = 0; v < 16 / W; v++) {
      const int64_t c = 16 * j + v * W;
      part[j][v] = load_lanes(x + c, max_of(columns - c, 0));
      most = vmax(vabs(part[j][v]), most);
      strange += part[j][v] - part[j][v];
    }
  const float largest = hmax(most);
  const bool is_zero = !(largest > 1e-30f);
  const float factor = is_zero ? 0.0f : most_of_X / largest;
  for (int j = 0; j < PLANES; j++)
    for (int v = 0; v < 16 / W; v++) X[j][v] = round_x(part[j][v] * factor);
  return (is_zero ? 0.0f : largest / most_of_X) + hsum(strange);
}

// x in a register from here on: the compiler would rather load it again for each instruction that uses it, and loads are
// what there are too few of, or make many of them early and have no registers left.
XL_INLINE vi keep(vi x) {
  #if defined(__AVX512F__)
  __asm__ volatile("" : "+v"(x));
#else
  __asm__ volatile("" : "+x"(x));
#endif
  return x;
}
XL_INLINE vi load_digits(const float *x) { return keep((vi)load(x)); }

// RUNS: scales of a block, 1, 2 or 4. Sums of 32 bits that are kept apart:
constexpr int sums_of(int runs) { return runs == 1 ? 1 : 2; }

// Sums of 16 bits of a digit, as 32 bits and times 256^(2 - digit): added to `sum`.
template <int RUNS>
XL_INLINE void widen(vi (&sum)[sums_of(RUNS)], vs pairs, int digit) {
  if constexpr (RUNS == 1) {
    const vi ones = splat_int(0x00010001), hundreds = splat_int(0x01000100);
    if (digit == 0) sum[0] += multiply_pairs(pairs, ones) << 16;
    if (digit == 1) sum[0] += multiply_pairs(pairs, hundreds);
    if (digit == 2) sum[0] += multiply_pairs(pairs, ones);
  } else {
    if (digit == 0) {
      sum[0] += (vi)pairs << 16;
      sum[1] += (vi)pairs & (int32_t)0xffff0000;
    } else {
      const int32_t weight = digit == 1 ? 256 : 1;
      sum[0] += multiply_pairs(pairs, splat_int(weight));
      sum[1] += multiply_pairs(pairs, splat_int(weight << 16));
    }
  }
}

// The bytes of two words side by side: 0 4 1 5 2 6 3 7 and so on. Only with four runs.
template <int RUNS>
XL_INLINE vi in_pairs(vi bytes) {
  if constexpr (RUNS != 4) return bytes;
#if defined(__AVX512F__)
  const __m128i order = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  return (vi)_mm512_shuffle_epi8((__m512i)bytes, _mm512_maskz_broadcast_i32x4((__mmask16)-1, order));
#else
  const __m256i order = _mm256_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15, 0, 4, 1, 5, 2, 6, 3, 7, 8,
                                         12, 9, 13, 10, 14, 11, 15);
  return (vi)_mm256_shuffle_epi8((__m256i)bytes, order);
#endif
}

// The scales that belong to sum i, lane by lane.
template <int RUNS>
XL_INLINE vf scales_of(const uint8_t *scales, int i) {
  if constexpr (RUNS == 4) {
    int64_t four;
    __builtin_memcpy(&four, scales, sizeof four);
    typedef int64_t vl __attribute__((vector_size(4 * W)));
    const vi pairs = (vi)(vl{} + four);
    return (vf)(i == 0 ? pairs << 16 : pairs & (int32_t)0xffff0000);
  } else {
    return splat_scale(scales + 2 * i);
  }
}

// The digits of a block of x, from the highest: those of the columns that stand in the lower (k even) or upper halves of
// the bytes of vector k / 2 of its words. Returns the unit of X.
inline float int4_digits(vi (&digits)[CODE_VECTORS][DIGITS], const float *x, int64_t columns) {
  vi X[PLANES][16 / W];
  const float unit = whole_numbers(X, x, columns);
  for (int j = 0; j < PLANES; j++)
    for (int v = 0; v < 16 / W; v++) {
      vi rest = X[j][v];
      for (int d = DIGITS - 1; d >= 0; d--) {
        const vi digit = ((rest + 128) & 255) - 128;
        digits[2 * v + j % 2][d] |= (vi)((vu)(digit & 255) << (uint32_t)(8 * (j / 2)));
        rest = (rest - digit) >> 8;
      }
    }
  return unit;
}

// One block of a row of x: for the lower and upper halves of each vector of words its digits from the highest; then what
// is to be added for the codes' 8; then the unit of X in all lanes.
template <int RUNS>
void prepare_block(float *to, const float *x, int64_t columns) {
  vi digits[CODE_VECTORS][DIGITS] = {};
  const float unit = int4_digits(digits, x, columns);
  vi eights[sums_of(RUNS)] = {};
  for (int k = 0; k < CODE_VECTORS; k++)
    for (int d = 0; d < DIGITS; d++, to += W) {
      const vi bytes = in_pairs<RUNS>(digits[k][d]);
      store(to, (vf)bytes);
      widen<RUNS>(eights, multiply_bytes(splat_int(0x08080808), bytes), d);
    }
  store(to, (vf)-eights[0]);
  if (RUNS > 1) store(to + W, (vf)-eights[sums_of(RUNS) - 1]);
  store(to + 2 * W, splat(unit));
}

// The codes in the lower (k even) or upper halves of the bytes of vector k / 2 of a block.
XL_INLINE vi codes_at(const uint8_t *words, int k) {
  const vu word = words_at(words + 4 * W * (k / 2));
  return (vi)((k % 2 == 0 ? word : word >> 4) & 0x0f0f0f0fu);
}

// One block: total[r][m] += the product of R rows of codes with M prepared rows of x. Rows lie word_step bytes apart,
// their scales scale_step.
template <int RUNS, int R, int M>
XL_INLINE void dot_int4_block(vf (&total)[R][M], const uint8_t *words, int64_t word_step, const uint8_t *scales,
                              int64_t scale_step, const float *x) {
  constexpr int SUMS = sums_of(RUNS);
#pragma GCC unroll 4
  for (int m = 0; m < M; m++, x += INT4_BLOCK_VECTORS * W) {
    vs pairs[R][DIGITS];
#pragma GCC unroll 4
    for (int k = 0; k < CODE_VECTORS; k++) {
      vi codes[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) codes[r] = keep(in_pairs<RUNS>(codes_at(words + r * word_step, k)));
#pragma GCC unroll 3
      for (int d = 0; d < DIGITS; d++) {
        const vi digits = load_digits(x + (k * DIGITS + d) * W);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
          const vs products = multiply_bytes(codes[r], digits);
          pairs[r][d] = (vs)keep((vi)(k == 0 ? products : pairs[r][d] + products));
        }
      }
    }
    const float *tail = x + DIGITS * CODE_VECTORS * W;
    const vf unit = load(tail + 2 * W);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      vi sum[SUMS];
#pragma GCC unroll 2
      for (int i = 0; i < SUMS; i++) sum[i] = (vi)load(tail + i * W);
#pragma GCC unroll 3
      for (int d = 0; d < DIGITS; d++) widen<RUNS>(sum, pairs[r][d], d);
#pragma GCC unroll 2
      for (int i = 0; i < SUMS; i++) {
        const vf scale = scales_of<RUNS>(scales + r * scale_step, i) * unit;
        total[r][m] = scale * to_float(sum[i]) + total[r][m];
      }
    }
  }
}

#else
constexpr bool HAS_INT4_DOT = false;
#endif

}  // namespace
}  // namespace XL_NS
#endif
