// Complex numbers in double, W/2 lanes at once: what powers e^(l z) with large l need before they are rounded to float.
// Exponential and sine are Taylor polynomials on reduced arguments, accurate to 1e-15 or so; that is plenty for float
// results and is not meant for anything finer. It holds no loops over arrays.
#ifndef XL_CPU_COMPLEX_DOUBLE_H
#define XL_CPU_COMPLEX_DOUBLE_H
#include "lanes.h"

namespace XL_NS {
namespace {

typedef int64_t vl __attribute__((vector_size(4 * W)));  // W/2 integers, as wide as doubles

XL_INLINE vd splat_double(double x) { return x - vd{}; }

// The lower (0) or upper (1) half of the lanes of v.
XL_INLINE vd half_of(vf v, int half) { return half == 0 ? low_double(v) : high_double(v); }

XL_INLINE vf join(vd low, vd high) {
  const vf_half a = __builtin_convertvector(low, vf_half), b = __builtin_convertvector(high, vf_half);
  vf v;
  __builtin_memcpy(&v, &a, sizeof a);
  __builtin_memcpy(reinterpret_cast<char *>(&v) + sizeof a, &b, sizeof b);
  return v;
}

// Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits of the sum.
constexpr double ROUND_DOUBLE = 6755399441055744.0;

// e^x; x is taken into [-700, 700].
XL_INLINE vd exp_double(vd x) {
  constexpr double LOG2E = 1.44269504088896340736, LN2_TOP = 6.93147180369123816490e-1,
                   LN2_REST = 1.90821492927058770002e-10;
  x = x < -700.0 ? splat_double(-700) : x;
  x = x > 700.0 ? splat_double(700) : x;
  const vd shifted = x * LOG2E + ROUND_DOUBLE, n = shifted - ROUND_DOUBLE;
  const vd r = (x - n * LN2_TOP) - n * LN2_REST;
  vd p = splat_double(1.0 / 479001600);
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const vl power = ((vl)shifted - (vl)splat_double(ROUND_DOUBLE) + 1023) << 52;
  return p * (vd)power;
}

struct cd {
  vd re, im;

  cd() = default;
  cd(const cd &) = default;
  // Part by part: g++ 12 moves the whole through registers of other sizes, which then wait for the memory.
  XL_INLINE cd &operator=(const cd &other) {
    re = other.re;
    im = other.im;
    return *this;
  }
};

XL_INLINE cd operator+(cd a, cd b) { return {a.re + b.re, a.im + b.im}; }
XL_INLINE cd operator-(cd a, cd b) { return {a.re - b.re, a.im - b.im}; }
XL_INLINE cd operator*(cd a, cd b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
XL_INLINE cd operator*(cd a, vd b) { return {a.re * b, a.im * b}; }
XL_INLINE cd operator*(cd a, double b) { return {a.re * b, a.im * b}; }
XL_INLINE cd conjugate(cd a) { return {a.re, -a.im}; }
// (A function, since g++ 12 fails on the member of a product in a template.)
XL_INLINE vd re_of(cd a) { return a.re; }
XL_INLINE vd square(cd a) { return a.re * a.re + a.im * a.im; }
XL_INLINE cd choose(vl mask, cd a, cd b) { return {mask ? a.re : b.re, mask ? a.im : b.im}; }
XL_INLINE cd real_double(double x) { return {splat_double(x), vd{}}; }

// cos y + i sin y, |y| up to 1e6.
XL_INLINE cd cis_double(vd y) {
  // pi/2 in three parts, the first two with 33 bits.
  constexpr double PART1 = 1.57079632673412561417, PART2 = 6.07710050630396597660e-11,
                   PART3 = 2.02226624879595063154e-21;
  const vd shifted = y * 0.636619772367581343076 + ROUND_DOUBLE, n = shifted - ROUND_DOUBLE;
  const vd r = ((y - n * PART1) - n * PART2) - n * PART3, s = r * r;
  vd sine = splat_double(-1.0 / 1307674368000);
  sine = sine * s + 1.0 / 6227020800;
  sine = sine * s - 1.0 / 39916800;
  sine = sine * s + 1.0 / 362880;
  sine = sine * s - 1.0 / 5040;
  sine = sine * s + 1.0 / 120;
  sine = sine * s - 1.0 / 6;
  sine = (sine * s) * r + r;
  vd cosine = splat_double(-1.0 / 87178291200);
  cosine = cosine * s + 1.0 / 479001600;
  cosine = cosine * s - 1.0 / 3628800;
  cosine = cosine * s + 1.0 / 40320;
  cosine = cosine * s - 1.0 / 720;
  cosine = cosine * s + 1.0 / 24;
  cosine = cosine * s - 0.5;
  cosine = cosine * s + 1.0;
  const vl quarter = (vl)shifted;
  const vl swap = (quarter & 1) != 0;
  const vd c = swap ? sine : cosine, d = swap ? cosine : sine;
  return {((quarter + 1) & 2) != 0 ? -c : c, (quarter & 2) != 0 ? -d : d};
}

// e^z
XL_INLINE cd exp_complex(cd z) { return cis_double(z.im) * exp_double(z.re); }

// W complex numbers as two halves.
struct cd_pair {
  cd half[2];
};

// W numbers of a complex array whose imaginary parts lie `size` floats behind the real ones.
template <class Lanes>
XL_INLINE cd_pair load_complex(const float *p, int64_t size, Lanes lanes) {
  const vf re = lanes.load(p), im = lanes.load(p + size);
  return {{{half_of(re, 0), half_of(im, 0)}, {half_of(re, 1), half_of(im, 1)}}};
}

XL_INLINE vf real_of(const cd_pair &v) { return join(v.half[0].re, v.half[1].re); }
XL_INLINE vf imaginary_of(const cd_pair &v) { return join(v.half[0].im, v.half[1].im); }

template <class Lanes>
XL_INLINE void add_complex(float *p, int64_t size, const cd_pair &v, Lanes lanes) {
  lanes.store(p, lanes.load(p) + real_of(v));
  lanes.store(p + size, lanes.load(p + size) + imaginary_of(v));
}

}  // namespace
}  // namespace XL_NS
#endif
