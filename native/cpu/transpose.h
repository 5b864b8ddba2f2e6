// Shuffles that turn rows into columns: blocks of W by W floats in registers, and sums over the lanes of W vectors.
// Copies into whole layouts are the business of those who use them.
#ifndef XL_CPU_TRANSPOSE_H
#define XL_CPU_TRANSPOSE_H
#include "vec.h"

namespace XL_NS {
namespace {

#if defined(__clang__)
#define XL_LANES(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define XL_LANES(a, b, ...) __builtin_shuffle(a, b, vi{__VA_ARGS__})
#endif

// zip: a0 b0 a1 b1 ... of the lower halves, and of the upper ones. The lanes of a and of b with even and with odd numbers.
#if defined(__AVX512F__)
XL_INLINE vf zip_low(vf a, vf b) { return XL_LANES(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
XL_INLINE vf zip_high(vf a, vf b) {
  return XL_LANES(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
XL_INLINE vf even_lanes(vf a, vf b) {
  return XL_LANES(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
XL_INLINE vf odd_lanes(vf a, vf b) {
  return XL_LANES(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
#elif defined(__AVX2__)
XL_INLINE vf zip_low(vf a, vf b) { return XL_LANES(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
XL_INLINE vf zip_high(vf a, vf b) { return XL_LANES(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
XL_INLINE vf even_lanes(vf a, vf b) { return XL_LANES(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
XL_INLINE vf odd_lanes(vf a, vf b) { return XL_LANES(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
#else
XL_INLINE vf zip_low(vf a, vf b) { return XL_LANES(a, b, 0, 4, 1, 5); }
XL_INLINE vf zip_high(vf a, vf b) { return XL_LANES(a, b, 2, 6, 3, 7); }
XL_INLINE vf even_lanes(vf a, vf b) { return XL_LANES(a, b, 0, 2, 4, 6); }
XL_INLINE vf odd_lanes(vf a, vf b) { return XL_LANES(a, b, 1, 3, 5, 7); }
#endif
#undef XL_LANES

// [R][W] floats become [W][R], in the same R vectors; R is a power of two. Each round zips row i with row i + R/2, which
// rotates the bits of (row, lane) by one.
template <int R>
XL_INLINE void transpose_rows(vf (&x)[R]) {
#pragma GCC unroll 4
  for (int round = 1; round < R; round *= 2) {
    vf y[R];
#pragma GCC unroll 8
    for (int i = 0; i < R / 2; i++) {
      y[2 * i] = zip_low(x[i], x[i + R / 2]);
      y[2 * i + 1] = zip_high(x[i], x[i + R / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) x[i] = y[i];
  }
}

// x[i][j] becomes x[j][i].
XL_INLINE void transpose_square(vf (&x)[W]) { transpose_rows(x); }

// Lane i of the result is the sum of the lanes of x[i], always in the same order. x is used up.
XL_INLINE vf sums_of_lanes(vf (&x)[W]) {
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) x[i] = zip_low(x[i], x[i + half]) + zip_high(x[i], x[i + half]);
  return x[0];
}

}  // namespace
}  // namespace XL_NS
#endif
