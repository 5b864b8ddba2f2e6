// Products of int8 and int4 rows with a few rows of x by VNNI, which adds products of unsigned with signed bytes to sums
// of 32 bits, four at a time: three such instructions for 4 W weights, one for each digit of x. With vectors of 16 a line
// of int4 in groups of 32 takes 18 instructions of arithmetic, one of int8 6.5 (groups of blocks) or 11 (of 64). Decoding
// reads faster the fewer instructions wait for each cache line: so many more lines are on their way.
//
// x is taken block by block (128 columns) as whole numbers X of 24 bits: whole_numbers() of int4_dot.h. All sums of
// codes and digits are exact; rounded are X, and each block's sums once they become floats.
//
// int8: X is the bytes of its two's complement, h signed, m and l not. m and l are multiplied with the codes; h with
// codes + 128, whose sum therefore starts at -128 times that of h. A lane sums eight products of each digit, so that
// 256 m + l fits 32 bits. 65536 h is added as a float.
//
// int4: signed digits as in int4_dot.h. Bytes change places within four words so that each sum of four bytes lies in one
// group: with groups of 32, sum i of four belongs to group i; with groups of 64, sums 0 and 1 belong to group 0.
#ifndef XL_CPU_VNNI_DOT_H
#define XL_CPU_VNNI_DOT_H
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

// ---- int8 ----

// PARTS of a block: 2 with groups of 64 or 32, 1 with larger ones. A prepared block of x is, for each part, its digits
// from the highest and where the sum of the highest starts; then the unit of X in all lanes.
constexpr int part_vectors(int parts) { return DIGITS * BYTE_VECTORS / parts + 1; }
constexpr int64_t int8_block_vectors(int parts) { return parts * part_vectors(parts) + 1; }

template <int PARTS>
void prepare_vnni_int8(float *to, const float *x, int64_t columns) {
  constexpr int COLUMNS = BLOCK / PARTS;
  vi X[PLANES][16 / W];
  const float unit = whole_numbers(X, x, columns);
  int32_t numbers[BLOCK];
  __builtin_memcpy(numbers, X, sizeof X);
  for (int part = 0; part < PARTS; part++, to += part_vectors(PARTS) * W) {
    int8_t digits[DIGITS][COLUMNS];
    int32_t start[W] = {};
    for (int d = 0; d < DIGITS; d++)
      for (int c = 0; c < COLUMNS; c++) digits[d][c] = int8_t(numbers[part * COLUMNS + c] >> 8 * (DIGITS - 1 - d));
    for (int c = 0; c < COLUMNS; c++) start[c / 4 % W] -= 128 * digits[0][c];
    __builtin_memcpy(to, digits, sizeof digits);
    __builtin_memcpy(to + sizeof digits / sizeof(float), start, sizeof start);
  }
  store(to, splat(unit));
}

// The products of the first VECTORS vectors of a part with X. The part may end before the others, as the row does.
template <int PARTS, int VECTORS>
XL_VNNI_INLINE vf int8_products(const uint8_t *codes, const float *x) {
  constexpr int ALL = BYTE_VECTORS / PARTS;
  const auto digits = [&](int d, int v) { return (vi)load(x + (d * ALL + v) * W); };
  vi high = digits(DIGITS, 0), low = {};
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const vi code = (vi)words_at(codes + v * 4 * W);
    high = add_products(high, code ^ splat_int((int32_t)0x80808080), digits(0, v));
    low = add_products(low, digits(1, v), code);
  }
  low <<= 8;
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) low = add_products(low, digits(2, v), (vi)words_at(codes + v * 4 * W));
  return to_float(high) * 65536.0f + to_float(low);
}

// The first VECTORS vectors of a block of one part.
template <int VECTORS, int R, int M>
XL_VNNI_INLINE void add_int8_block(Sums<R, M> &sum, const uint8_t *codes, int64_t row_bytes, const float *x) {
  constexpr int64_t STEP = int8_block_vectors(1) * W, UNIT = STEP - W;
#pragma GCC unroll 4
  for (int m = 0; m < M; m++, x += STEP)
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sum[r][m] += int8_products<1, VECTORS>(codes + r * row_bytes, x) * load(x + UNIT);
}

// Groups of whole blocks, or one for the row.
template <int R, int M>
XL_VNNI_INLINE void dot_vnni_int8(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  constexpr int64_t STEP = int8_block_vectors(1) * W;
  for (int64_t c = 0, g = 0; c < w.columns; g++) {
    const int64_t end = min_of(w.columns, c + w.group);
    Sums<R, M> sum = {};
    for (; c + BLOCK / 2 < end; c += BLOCK, x += M * STEP) {
      prefetch_tile<R>(row, c, w.row_bytes);
      prefetch_tile<R>(row, c + LINE, w.row_bytes);
      add_int8_block<BYTE_VECTORS, R, M>(sum, row + c, w.row_bytes, x);
    }
    if (c < end) {
      add_int8_block<BYTE_VECTORS / 2, R, M>(sum, row + c, w.row_bytes, x);
      c = end;
    }
    add_scaled<R, M>(total, sum, row + w.scales + 2 * g, w.row_bytes);
  }
}

// The scales of a vector of codes: one with groups of 64, two with groups of 32, which takes vectors of 64 codes.
template <int GROUP>
XL_INLINE vf scales_of_codes(const uint8_t *scales) {
  if constexpr (GROUP == 64) return splat_scale(scales);
  int32_t two;
  __builtin_memcpy(&two, scales, sizeof two);
  vu shift;
  for (int lane = 0; lane < W; lane++) shift[lane] = lane < W / 2 ? 16 : 0;
  return (vf)((vu)splat_int(two) << shift & 0xffff0000u);
}

// 64 columns: their codes, scales, prepared part and unit.
template <int GROUP, int R, int M>
XL_VNNI_INLINE void add_int8_part(Sums<R, M> &total, const uint8_t *codes, int64_t row_bytes, const uint8_t *scales,
                                  int64_t scale_step, const float *part, const float *unit) {
  constexpr int64_t STEP = int8_block_vectors(2) * W;
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    const vf scale = scales_of_codes<GROUP>(scales + r * scale_step);
#pragma GCC unroll 4
    for (int m = 0; m < M; m++)
      total[r][m] += int8_products<2, BYTE_VECTORS / 2>(codes + r * row_bytes, part + m * STEP) *
                     (scale * load(unit + m * STEP));
  }
}

// Groups of 64 or 32.
template <int GROUP, int R, int M>
XL_VNNI_INLINE void dot_vnni_int8_parts(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  constexpr int64_t STEP = int8_block_vectors(2) * W, UNIT = STEP - W, PART = part_vectors(2) * W;
  constexpr int64_t SCALES = BLOCK / GROUP, HALF = BLOCK / 2;  // of a block
  const int64_t row_bytes = w.row_bytes, blocks = w.scale_count / SCALES;
  const uint8_t *scales = row + w.scales;
  for (int64_t block = 0; block < blocks; block++, scales += 2 * SCALES, x += M * STEP) {
    const int64_t c = block * BLOCK;
    prefetch_tile<R>(row, c, row_bytes);
    prefetch_tile<R>(row, c + LINE, row_bytes);
    add_int8_part<GROUP, R, M>(total, row + c, row_bytes, scales, row_bytes, x, x + UNIT);
    add_int8_part<GROUP, R, M>(total, row + c + HALF, row_bytes, scales + SCALES, row_bytes, x + PART, x + UNIT);
  }
  const int64_t left = w.scale_count % SCALES;
  if (left == 0) return;
  const LastScales<R, SCALES> last(scales, row_bytes, left);
  const uint8_t *codes = row + blocks * BLOCK;
  add_int8_part<GROUP, R, M>(total, codes, row_bytes, last.begin(), last.STEP, x, x + UNIT);
  if (2 * left > SCALES)
    add_int8_part<GROUP, R, M>(total, codes + HALF, row_bytes, last.begin() + SCALES, last.STEP, x + PART, x + UNIT);
}

// ---- int4 ----

// A prepared block of x is its digits from the highest, where the sum starts, the unit of X in all lanes.
constexpr int64_t VNNI_INT4_VECTORS = DIGITS * BYTE_VECTORS + 2;
constexpr int64_t INT4_START = DIGITS * BYTE_VECTORS * W, INT4_UNIT = INT4_START + W;

// Bytes in the order of their groups; RUNS: scales of a block, 1, 2 or 4.
template <int RUNS>
XL_INLINE vi by_group(vi bytes) {
  if constexpr (RUNS == 4)
    return shuffle_bytes(bytes, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  if constexpr (RUNS == 2)
    return shuffle_bytes(bytes, _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
  return bytes;
}

// The scale of each sum.
template <int RUNS>
XL_INLINE vf scales_by_group(const uint8_t *scales) {
  if constexpr (RUNS == 1) return splat_scale(scales);
  int64_t bits = 0;
  __builtin_memcpy(&bits, scales, 2 * RUNS);
  typedef int64_t vl __attribute__((vector_size(4 * W)));
  return (vf)shuffle_bytes((vi)(vl{} + bits),
                           RUNS == 4 ? _mm_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7)
                                     : _mm_setr_epi8(-1, -1, 0, 1, -1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 2, 3));
}

// start + the sum of products of codes with X, whose digits are at x. The sums of the digits do not wait for each other.
XL_VNNI_INLINE vi int4_products(const vi (&codes)[CODE_VECTORS], const float *x, vi start) {
  vi sum[DIGITS] = {vi{}, vi{}, start};
#pragma GCC unroll 3
  for (int d = 0; d < DIGITS; d++)
#pragma GCC unroll 4
    for (int k = 0; k < CODE_VECTORS; k++)
      sum[d] = add_products(sum[d], codes[k], (vi)load(x + (d * CODE_VECTORS + k) * W));
  return (((sum[0] << 8) + sum[1]) << 8) + sum[2];
}

template <int RUNS>
XL_VNNI void prepare_vnni_int4(float *to, const float *x, int64_t columns) {
  vi digits[CODE_VECTORS][DIGITS] = {};
  const float unit = int4_digits(digits, x, columns);
  for (int d = 0; d < DIGITS; d++)
    for (int k = 0; k < CODE_VECTORS; k++) store(to + (d * CODE_VECTORS + k) * W, (vf)by_group<RUNS>(digits[k][d]));
  vi eights[CODE_VECTORS];
  for (vi &codes : eights) codes = splat_int(0x08080808);
  store(to + INT4_START, (vf)-int4_products(eights, to, vi{}));
  store(to + INT4_UNIT, splat(unit));
}

// total[r][m] += the product of a block of R rows of codes with M prepared rows of x. Scales lie scale_step bytes apart.
template <int RUNS, int R, int M>
XL_VNNI_INLINE void add_int4_block(Sums<R, M> &total, const uint8_t *words, int64_t row_bytes, const uint8_t *scales,
                                   int64_t scale_step, const float *x) {
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    vi codes[CODE_VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < CODE_VECTORS / 2; v++) {
      const vu word = (vu)by_group<RUNS>((vi)words_at(words + r * row_bytes + 4 * W * v));
      codes[2 * v] = (vi)(word & 0x0f0f0f0fu);
      codes[2 * v + 1] = (vi)(word >> 4 & 0x0f0f0f0fu);
    }
    const vf scale = scales_by_group<RUNS>(scales + r * scale_step);
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      const float *prepared = x + m * VNNI_INT4_VECTORS * W;
      const vf sum = to_float(int4_products(codes, prepared, (vi)load(prepared + INT4_START)));
      total[r][m] = sum * (scale * load(prepared + INT4_UNIT)) + total[r][m];
    }
  }
}

template <int RUNS, int R, int M>
XL_VNNI_INLINE void dot_vnni_int4(Sums<R, M> &total, const Weights &w, const uint8_t *row, const float *x) {
  const int64_t row_bytes = w.row_bytes, blocks = ceil_div(w.columns, BLOCK);
  const int64_t whole = RUNS == 1 ? blocks : w.scale_count / RUNS;  // blocks that have all their scales
  const int64_t blocks_of_scale = RUNS == 1 ? w.group / BLOCK : 1;
  const uint8_t *scales = row + w.scales;
  int64_t left = blocks_of_scale;
  ReadAhead ahead(row, R * row_bytes, whole, R);
  for (int64_t block = 0; block < whole; block++, row += LINE, x += M * VNNI_INT4_VECTORS * W) {
    ahead.template ask<R>();
    add_int4_block<RUNS, R, M>(total, row, row_bytes, scales, row_bytes, x);
    if (--left == 0) {
      scales += 2 * RUNS;
      left = blocks_of_scale;
    }
  }
  if (whole == blocks) return;
  const LastScales<R, RUNS> last(scales, row_bytes, w.scale_count - whole * RUNS);
  add_int4_block<RUNS, R, M>(total, row, row_bytes, last.begin(), last.STEP, x);
}

#else
constexpr bool HAS_VNNI = false;
#endif

}  // namespace
}  // namespace XL_NS
#endif
