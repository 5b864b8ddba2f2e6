// Philox4x32-10, the counter-based random generator (Salmon et al. 2011), for 4 W words of a stream at once.
// The stream is that of src/device/philox.ts: word n is word n % 4 of the block with counter n / 4.
#ifndef XL_CPU_PHILOX_H
#define XL_CPU_PHILOX_H
#include "kernel.h"

namespace XL_NS {
namespace {

typedef uint64_t vq __attribute__((vector_size(4 * W)));  // W/2 64-bit words

// The 64-bit products of the even lanes.
XL_INLINE vq mul_even(vu a, uint32_t b) {
#if defined(__AVX512F__)
  return (vq)_mm512_maskz_mul_epu32((__mmask8)-1, (__m512i)a, _mm512_set1_epi32((int)b));
#elif defined(__AVX2__)
  return (vq)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int)b));
#elif defined(__x86_64__)
  return (vq)_mm_mul_epu32((__m128i)a, _mm_set1_epi32((int)b));
#else
  return (vq)vmull_n_u32(vmovn_u64((uint64x2_t)a), b);
#endif
}

struct HighLow {
  vu high, low;
};

XL_INLINE HighLow mul_wide(vu a, uint32_t b) {
  const vq even = mul_even(a, b), odd = mul_even((vu)((vq)a >> 32), b);
  const vq upper = vq{} + 0xffffffff00000000u;
  return {(vu)((even >> 32) | (odd & upper)), (vu)((even & ~upper) | (odd << 32))};
}

// The lanes of a and b in turn: first half in `low` (a0 b0 a1 b1 ...), second half in `high`.
struct Zipped {
  vu low, high;
};

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define XL_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#if !defined(XL_SHUFFLE)
#define XL_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, vu{__VA_ARGS__})
#endif

XL_INLINE Zipped zip(vu a, vu b) {
#if defined(__AVX512F__)
  return {XL_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          XL_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)};
#elif defined(__AVX2__)
  return {XL_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11), XL_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)};
#else
  return {XL_SHUFFLE(a, b, 0, 4, 1, 5), XL_SHUFFLE(a, b, 2, 6, 3, 7)};
#endif
}

struct RandomWords {
  vu words[4];  // 4 W words of the stream, in order
};

// Words 4 * block to 4 * block + 4 W - 1.
XL_INLINE RandomWords philox(int64_t block, uint32_t key0, uint32_t key1) {
  vu lane;
  for (int i = 0; i < W; i++) lane[i] = uint32_t(i);
  const vu low = lane + uint32_t(uint64_t(block));
  // The lanes whose low counter word wrapped around belong to the next high word.
  const vu carry = (vu)(low < lane) & 1u;
  vu c0 = low, c1 = carry + uint32_t(uint64_t(block) >> 32), c2 = {}, c3 = {};
  for (int round = 0; round < 10; round++) {
    const HighLow p0 = mul_wide(c0, 0xd2511f53u), p1 = mul_wide(c2, 0xcd9e8d57u);
    c0 = p1.high ^ c1 ^ key0;
    c1 = p1.low;
    c2 = p0.high ^ c3 ^ key1;
    c3 = p0.low;
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  const Zipped even = zip(c0, c2), odd = zip(c1, c3);
  const Zipped first = zip(even.low, odd.low), second = zip(even.high, odd.high);
  return {{first.low, first.high, second.low, second.high}};
}

}  // namespace
}  // namespace XL_NS
#endif
