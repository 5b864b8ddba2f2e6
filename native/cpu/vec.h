// Vectors of floats and ints as wide as the instruction set has them, through the compiler's vector extension, so that
// one source serves all of them. + - * / and comparisons work on them as on numbers; a * b + c becomes one fma where
// the machine has it. Elementary functions are in vmath.h.
#ifndef XL_CPU_VEC_H
#define XL_CPU_VEC_H
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace XL_NS {
namespace {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float vf __attribute__((vector_size(4 * W)));
typedef int32_t vi __attribute__((vector_size(4 * W)));
typedef uint32_t vu __attribute__((vector_size(4 * W)));
typedef double vd __attribute__((vector_size(4 * W)));      // W/2 doubles
typedef float vf_half __attribute__((vector_size(2 * W)));  // W/2 floats, to and from vd

typedef float vf_any __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t vi_any __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef float vf_half_any __attribute__((vector_size(2 * W), aligned(4), may_alias));

#define XL_INLINE inline __attribute__((always_inline))

XL_INLINE vf load(const float *p) { return *reinterpret_cast<const vf_any *>(p); }
XL_INLINE void store(float *p, vf v) { *reinterpret_cast<vf_any *>(p) = v; }
XL_INLINE vi load_int(const int32_t *p) { return *reinterpret_cast<const vi_any *>(p); }
XL_INLINE void store_int(int32_t *p, vi v) { *reinterpret_cast<vi_any *>(p) = v; }

// x - 0 is x for every x and costs nothing; 0 + x would turn -0 into 0, so it stays an addition.
XL_INLINE vf splat(float x) { return x - vf{}; }
XL_INLINE vi splat_int(int32_t x) { return vi{} + x; }

// The first n lanes, 0 <= n <= W; the other lanes are zero. Nothing beyond p[n-1] is touched.
XL_INLINE vf load_part(const float *p, int64_t n) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return (vf)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane));
#else
  vf v = {};
  if (n >= 4) return load(p);
  if (n > 0) v[0] = p[0];
  if (n > 1) v[1] = p[1];
  if (n > 2) v[2] = p[2];
  return v;
#endif
}

XL_INLINE void store_part(float *p, vf v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX2__)
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane), (__m256)v);
#else
  if (n >= 4) return store(p, v);
  if (n > 0) p[0] = v[0];
  if (n > 1) p[1] = v[1];
  if (n > 2) p[2] = v[2];
#endif
}

// mask ? a : b, lane by lane; a comparison of vectors gives such a mask (all bits or none).
XL_INLINE vf select(vi mask, vf a, vf b) { return mask ? a : b; }
XL_INLINE vi select_int(vi mask, vi a, vi b) { return mask ? a : b; }

// All bits in the first n lanes.
XL_INLINE vi first_lanes(int64_t n) {
  vi lane;
  for (int i = 0; i < W; i++) lane[i] = i;
  return lane < splat_int((int32_t)n);
}

// (The _maskz_ forms say the same as the plain ones, of which g++ 12 warns wrongly.)
// Of a NaN and a number these give the second argument: vmin(x, limit) loses a NaN in x, vmin(limit, x) keeps it.
XL_INLINE vf vmin(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_min_ps((__mmask16)-1, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
  return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}

XL_INLINE vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_max_ps((__mmask16)-1, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
  return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}

XL_INLINE vf vabs(vf a) { return (vf)((vi)a & 0x7fffffff); }

XL_INLINE vf vsqrt(vf a) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)a);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)a);
#elif defined(__x86_64__)
  return (vf)_mm_sqrt_ps((__m128)a);
#else
  return (vf)vsqrtq_f32((float32x4_t)a);
#endif
}

// a * b + c in one rounding where the machine can; elsewhere two.
XL_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }

// The sum of the lanes, as a tree that halves: always the same order.
XL_INLINE float hsum(vf v) {
#if defined(__AVX512F__)
  const __m256 eight = _mm256_add_ps(_mm512_maskz_extractf32x8_ps((__mmask8)-1, (__m512)v, 0),
                                     _mm512_maskz_extractf32x8_ps((__mmask8)-1, (__m512)v, 1));
#elif defined(__AVX2__)
  const __m256 eight = (__m256)v;
#endif
#if defined(__AVX2__)
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

XL_INLINE float hmax(vf v) {
  float lane[W];
  store(lane, v);
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  return lane[0];
}

XL_INLINE double hsum_double(vd v) {
  double sum = 0;
  for (int i = 0; i < W / 2; i++) sum += v[i];
  return sum;
}

XL_INLINE vd low_double(vf v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  return (vd)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v));  // which g++ 12 does not find
#endif
  vf_half half;
  __builtin_memcpy(&half, &v, sizeof half);
  return __builtin_convertvector(half, vd);
}

XL_INLINE vd high_double(vf v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  return (vd)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1));
#endif
  vf_half half;
  __builtin_memcpy(&half, reinterpret_cast<const char *>(&v) + sizeof half, sizeof half);
  return __builtin_convertvector(half, vd);
}

XL_INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }

}  // namespace
}  // namespace XL_NS
#endif
