// Rotary embedding: pairs (d, d + DH/2) of each head turned by an angle that grows with the position.
#include <math.h>

#include "reduce.h"

using namespace XL_NS;

namespace {

// Rows of one task. Within it the angles of a position come from those of the position before by one more turn, in
// double: 128 such turns err by less than 3e-14, and a cosine costs 20 times as much.
constexpr int64_t ROWS = 128;

// cos and sin per pair d: doubles of the angle now and of one position more, floats of the angle now.
struct Angles {
  double *cos_now, *sin_now, *cos_step, *sin_step, *frequency;
  float *cosines, *sines;
  int64_t half;
  int64_t position = -1;

  static int64_t floats(int64_t half) { return 12 * round_to_lanes(half); }
  static int64_t round_to_lanes(int64_t n) { return ceil_div(n, 16) * 16; }

  Angles(float *memory, int64_t DH, double theta) : half(DH / 2) {
    const int64_t n = round_to_lanes(half);
    double *d = reinterpret_cast<double *>(memory);
    cos_now = d, sin_now = d + n, cos_step = d + 2 * n, sin_step = d + 3 * n, frequency = d + 4 * n;
    cosines = memory + 10 * n, sines = memory + 11 * n;
    for (int64_t i = 0; i < half; i++) {
      frequency[i] = pow(theta, -2.0 * double(i) / double(DH));
      cos_step[i] = cos(frequency[i]);
      sin_step[i] = sin(frequency[i]);
    }
  }

  void move_to(int64_t next) {
    if (next == position) return;
    if (next == position + 1 && position >= 0) {
      for (int64_t i = 0; i < half; i++) {
        const double c = cos_now[i], s = sin_now[i];
        cos_now[i] = c * cos_step[i] - s * sin_step[i];
        sin_now[i] = s * cos_step[i] + c * sin_step[i];
      }
    } else {
      for (int64_t i = 0; i < half; i++) {
        const double angle = double(next) * frequency[i];
        cos_now[i] = cos(angle);
        sin_now[i] = sin(angle);
      }
    }
    for (int64_t i = 0; i < half; i++) {
      cosines[i] = float(cos_now[i]);
      sines[i] = float(sin_now[i]);
    }
    position = next;
  }
};

// to = from turned by sign * angle, or to += with `add`.
int turn(const char *name, float *to, const float *from, const int32_t *positions, int64_t N, int64_t NH, int64_t DH,
         double theta, float sign, bool add) {
  if (N < 0 || NH < 1 || DH < 2 || DH % 2 != 0 || !(theta > 0))
    return xl::fail(XL_INVALID, "%s: N must not be negative, NH and theta positive, DH even, got N=%lld NH=%lld DH=%lld",
                    name, (long long)N, (long long)NH, (long long)DH);
  const int64_t half = DH / 2;
  int failed = 0;
  parallel_range(N, ROWS, [&](int64_t begin, int64_t end, int worker) {
    float *memory = xl::scratch(worker, Angles::floats(half));
    if (!memory) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    Angles angles(memory, DH, theta);
    for (int64_t n = begin; n < end; n++) {
      angles.move_to(positions[n]);
      for (int64_t head = 0; head < NH; head++) {
        const float *x = from + (n * NH + head) * DH;
        float *y = to + (n * NH + head) * DH;
        for_lanes(0, half, [&](int64_t d, auto lanes) {
          const vf c = lanes.load(angles.cosines + d), s = lanes.load(angles.sines + d) * sign;
          const vf a = lanes.load(x + d), b = lanes.load(x + half + d);
          vf first = a * c - b * s, second = b * c + a * s;
          if (add) {
            first += lanes.load(y + d);
            second += lanes.load(y + half + d);
          }
          lanes.store(y + d, first);
          lanes.store(y + half + d, second);
        });
      }
    }
  });
  if (failed) return out_of_scratch(name, Angles::floats(half));
  return XL_OK;
}

}  // namespace

extern "C" int XL_KERNEL(xl_rope_forward)(float *y, const float *x, const int32_t *positions, int64_t N, int64_t NH,
                                          int64_t DH, double theta) {
  return turn("rope_forward", y, x, positions, N, NH, DH, theta, 1, false);
}

extern "C" int XL_KERNEL(xl_rope_backward)(float *dx, const float *dy, const int32_t *positions, int64_t N, int64_t NH,
                                           int64_t DH, double theta) {
  return turn("rope_backward", dx, dy, positions, N, NH, DH, theta, -1, true);
}
