// Fourier transforms of W real sequences side by side, one per lane, for convolutions: no shuffles, no reordering.
//
// A real sequence of 2m numbers is the complex one z_j = (x_j + i x_(j+m)) w^j, j < m, w = exp(i pi / (2m)): then the
// transform of z holds the polynomial sum_j x_j t^j at the m points with t^m = i. There t^(2m) = -1, so a product of
// spectra is the product of the polynomials as long as no power from 2m on arises (those come back negated), and the
// conjugate of a spectrum belongs to the sequence read backwards, x(1/t). Twice as short as a transform of 2m numbers.
//
// Stages are radix 4. The forward transform leaves the spectrum in the order in which its stages (decimation in
// frequency) end, the inverse starts from that order, and what stands between them works point by point.
#ifndef XL_CPU_FFT_H
#define XL_CPU_FFT_H
#include <math.h>

#include "lanes.h"

namespace XL_NS {
namespace {

// A point is a vector of real parts and one of imaginary parts.
constexpr int64_t POINT = 2 * W;
// Points that are transformed stage by stage; more are cut into four first, so that they stay in the L1 cache.
constexpr int64_t CACHED = 2048 / W;

struct cf {
  vf re, im;
};

XL_INLINE cf load_point(const float *z) { return {load(z), load(z + W)}; }
XL_INLINE void store_point(float *z, cf v) {
  store(z, v.re);
  store(z + W, v.im);
}
XL_INLINE cf operator+(cf a, cf b) { return {a.re + b.re, a.im + b.im}; }
XL_INLINE cf operator-(cf a, cf b) { return {a.re - b.re, a.im - b.im}; }
XL_INLINE cf operator*(cf a, cf b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
XL_INLINE cf conjugate(cf a) { return {a.re, -a.im}; }
// a times the complex number at p, and times its conjugate.
XL_INLINE cf turn(cf a, const float *p) { return a * cf{splat(p[0]), splat(p[1])}; }
XL_INLINE cf turn_back(cf a, const float *p) { return a * cf{splat(p[0]), splat(-p[1])}; }

// Tables for transforms of m points.
struct Fft {
  int64_t m;  // a power of two
  // w^j, j < m, as pairs; then for each stage of n = m, m/4, ... > 4 points exp(-2 pi i j k / n), k = 1, 2, 3, j < n/4.
  const float *powers, *twiddles;

  static int64_t floats(int64_t m) { return 4 * m; }
  const float *stage(int64_t n) const { return twiddles + 2 * (m - n); }
};

constexpr double PI = 3.14159265358979323846;

// out[2k], out[2k+1] = exp(i step k) for k < count, from two short tables in double.
inline void store_powers(float *out, double step, int64_t count) {
  constexpr int64_t FINE = 64;
  double fine[FINE][2];
  for (int64_t k = 0; k < FINE; k++) {
    fine[k][0] = cos(step * double(k));
    fine[k][1] = sin(step * double(k));
  }
  for (int64_t begin = 0; begin < count; begin += FINE) {
    const double c = cos(step * double(begin)), s = sin(step * double(begin));
    for (int64_t k = 0; k < min_of(FINE, count - begin); k++) {
      out[2 * (begin + k)] = float(c * fine[k][0] - s * fine[k][1]);
      out[2 * (begin + k) + 1] = float(c * fine[k][1] + s * fine[k][0]);
    }
  }
}

// Fills `tables` (Fft::floats(m) floats).
inline Fft make_fft(float *tables, int64_t m) {
  store_powers(tables, PI / (2 * double(m)), m);
  float *out = tables + 2 * m;
  for (int64_t n = m; n > 4; n /= 4) {
    for (int64_t j = 0; j < n / 4; j++) {
      for (int64_t k = 1; k <= 3; k++, out += 2) {
        // exp(-2 pi i j k / n) is the conjugate of w^e; w^m = i.
        const int64_t e = 4 * j * k * (m / n);
        const float *p = tables + 2 * (e % m);
        const int64_t quarters = e / m;
        const float re = quarters == 1 ? -p[1] : quarters == 2 ? -p[0] : p[0];
        const float im = quarters == 1 ? p[0] : quarters == 2 ? -p[1] : p[1];
        out[0] = re;
        out[1] = -im;
      }
    }
  }
  return {m, tables, tables + 2 * m};
}

template <bool TURN>
XL_INLINE void forward_butterfly(float *z, int64_t quarter, const float *w) {
  const int64_t step = quarter * POINT;
  const cf a = load_point(z), b = load_point(z + step), c = load_point(z + 2 * step), d = load_point(z + 3 * step);
  const cf sum = a + c, difference = a - c, other = b + d, cross = b - d;
  const cf turned = {cross.im, -cross.re};  // -i (b - d)
  const cf first = difference + turned, second = sum - other, third = difference - turned;
  store_point(z, sum + other);
  store_point(z + step, TURN ? turn(first, w) : first);
  store_point(z + 2 * step, TURN ? turn(second, w + 2) : second);
  store_point(z + 3 * step, TURN ? turn(third, w + 4) : third);
}

template <bool TURN>
XL_INLINE void inverse_butterfly(float *z, int64_t quarter, const float *w) {
  const int64_t step = quarter * POINT;
  cf a = load_point(z), b = load_point(z + step), c = load_point(z + 2 * step), d = load_point(z + 3 * step);
  if (TURN) {
    b = turn_back(b, w);
    c = turn_back(c, w + 2);
    d = turn_back(d, w + 4);
  }
  const cf sum = a + c, difference = a - c, other = b + d, cross = b - d;
  const cf turned = {-cross.im, cross.re};  // i (b - d)
  store_point(z, sum + other);
  store_point(z + step, difference + turned);
  store_point(z + 2 * step, sum - other);
  store_point(z + 3 * step, difference - turned);
}

// The last stage of the forward transform and the first of the inverse when the number of points is 2 * 4^k.
XL_INLINE void pair_butterfly(float *z) {
  const cf a = load_point(z), b = load_point(z + POINT);
  store_point(z, a + b);
  store_point(z + POINT, a - b);
}

inline void forward_stage(const Fft &fft, float *z, int64_t n) {
  if (n == 4) return forward_butterfly<false>(z, 1, nullptr);
  if (n == 2) return pair_butterfly(z);
  const float *w = fft.stage(n);
  for (int64_t j = 0; j < n / 4; j++) forward_butterfly<true>(z + j * POINT, n / 4, w + 6 * j);
}

inline void inverse_stage(const Fft &fft, float *z, int64_t n) {
  if (n == 4) return inverse_butterfly<false>(z, 1, nullptr);
  if (n == 2) return pair_butterfly(z);
  const float *w = fft.stage(n);
  for (int64_t j = 0; j < n / 4; j++) inverse_butterfly<true>(z + j * POINT, n / 4, w + 6 * j);
}

enum class Pass { forward, inverse, both };

// Transforms the n points of z that begin at point `at` of the whole; `middle(at, count)` works on stretches of the
// spectrum as soon as they are done, and with Pass::both the way back follows at once. Unscaled: both give m times z.
template <Pass PASS, class Middle>
void transform(const Fft &fft, float *z, int64_t at, int64_t n, const Middle &middle) {
  constexpr bool there = PASS != Pass::inverse, back = PASS != Pass::forward;
  float *own = z + at * POINT;
  if (n > CACHED) {
    if (there) forward_stage(fft, own, n);
    for (int64_t k = 0; k < 4; k++) transform<PASS>(fft, z, at + k * (n / 4), n / 4, middle);
    if (back) inverse_stage(fft, own, n);
    return;
  }
  int64_t least = n;
  for (int64_t block = n; block > 1; block /= 4) {
    if (there)
      for (int64_t k = 0; k < n; k += block) forward_stage(fft, own + k * POINT, block);
    least = block;
  }
  middle(at, n);
  if (back)
    for (int64_t block = least; block > 1 && block <= n; block *= 4)
      for (int64_t k = 0; k < n; k += block) inverse_stage(fft, own + k * POINT, block);
}

template <Pass PASS, class Middle>
void transform(const Fft &fft, float *z, const Middle &middle) {
  transform<PASS>(fft, z, 0, fft.m, middle);
}

// W channels of rows `stride` floats apart; rows from `count` on are zero. count <= 2m.
struct Rows {
  const float *first;
  int64_t stride, count;
};

// z = the complex sequence of the rows.
template <class Lanes>
void fold(const Fft &fft, float *z, const Rows &rows, Lanes lanes) {
  constexpr int64_t AHEAD = 8;  // rows lie a page apart, which the processor does not foresee
  const int64_t m = fft.m, low = min_of(m, rows.count), high = max_of(0, rows.count - m);
  const float *w = fft.powers, *x = rows.first;
  for (int64_t j = 0; j < high; j++, w += 2) {
    __builtin_prefetch(x + (j + AHEAD) * rows.stride);
    __builtin_prefetch(x + (j + m + AHEAD) * rows.stride);
    store_point(z + j * POINT, turn({lanes.load(x + j * rows.stride), lanes.load(x + (j + m) * rows.stride)}, w));
  }
  for (int64_t j = high; j < low; j++, w += 2) {
    __builtin_prefetch(x + (j + AHEAD) * rows.stride);
    const vf v = lanes.load(x + j * rows.stride);
    store_point(z + j * POINT, {v * splat(w[0]), v * splat(w[1])});
  }
  for (int64_t j = low; j < m; j++) store_point(z + j * POINT, {vf{}, vf{}});
}

// put(j, value of row j) for the rows below `count` of the sequence whose complex form is z.
template <class Put>
void unfold(const Fft &fft, const float *z, int64_t count, const Put &put) {
  const int64_t m = fft.m, low = min_of(m, count), high = max_of(0, count - m);
  for (int64_t j = 0; j < low; j++) {
    const cf v = turn_back(load_point(z + j * POINT), fft.powers + 2 * j);
    put(j, v.re);
    if (j < high) put(j + m, v.im);
  }
}

}  // namespace
}  // namespace XL_NS
#endif
