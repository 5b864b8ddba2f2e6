// Measures native/cpu/vmath.h against float64 and fails when a stated error is exceeded. No part of the library.
//
//   vmath_error [STRIDE]   takes every STRIDE-th float of all 2^32 (1: all of them, some minutes; 997 without argument)
//
// It prints, per function, the largest error and where it is. Special values are checked in each run.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "denormals.h"
#include "vmath.h"

using namespace XL_NS;

namespace {

double log_sigmoid(double x) { return (x < 0 ? x : 0) - log1p(exp(-fabs(x))); }
double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }
double silu(double x) { return x * sigmoid(x); }
double silu_derivative(double x) { return sigmoid(x) * (1 + x * sigmoid(-x)); }
double normal(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
double gelu(double x) { return x * normal(x); }
double gelu_derivative(double x) { return normal(x) + x * exp(-x * x / 2) * 0.5 * M_SQRT1_2 * M_2_SQRTPI; }

vf log_of_magnitude(vf x) { return vlog(vabs(x)); }
double log_of_magnitude(double x) { return log(fabs(x)); }

struct Function {
  const char *name;
  vf (*vector)(vf);
  double (*exact)(double);
  double limit;  // in ulp, or absolute where the function has a root away from 0
  bool absolute;
  float at_minus_infinity, at_infinity;
};

const float INF = INFINITY;
const Function functions[] = {
    {"exp", [](vf x) { return vexp(x); }, exp, 1.1, false, 0, INF},
    {"log", log_of_magnitude, log_of_magnitude, 1, false, INF, INF},
    {"logsigmoid", [](vf x) { return vlogsigmoid(x); }, log_sigmoid, 2, false, -INF, 0},
    {"sigmoid", [](vf x) { return vsigmoid(x); }, sigmoid, 2.5, false, 0, 1},
    {"tanh", [](vf x) { return vtanh(x); }, tanh, 2.6, false, -1, 1},
    {"silu", [](vf x) { return vsilu(x); }, silu, 2.6, false, 0, INF},
    {"silu derivative", [](vf x) { return vsilu_derivative(x); }, silu_derivative, 3e-7, true, 0, 1},
    {"gelu", [](vf x) { return vgelu(x); }, gelu, 7, false, 0, INF},
    {"gelu derivative", [](vf x) { return vgelu_derivative(x); }, gelu_derivative, 3e-7, true, 0, 1},
};

// Distance of neighbouring floats at y.
double ulp(double y) {
  int exponent;
  frexp(y, &exponent);
  return ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

// Error of y in the units of the limit; infinity where a special value is wrong.
double error_of(const Function &f, float x, float y) {
  const double exact = f.exact(x);
  if (isnan(exact) || isnan(y)) return isnan(exact) && isnan(y) ? 0 : HUGE_VAL;
  if (fabs(exact) > 3.40282357e38) return isinf(y) && (y > 0) == (exact > 0) ? 0 : HUGE_VAL;
  // Results around the smallest normal number may be flushed to zero, with the factors that they are made of.
  if (fabs(exact) < 1e-36 && y == 0) return 0;
  const double error = fabs(y - exact);
  return f.absolute ? error : error / ulp(exact);
}

bool check(const Function &f, uint64_t stride) {
  double worst = 0;
  float worst_at = 0;
  for (uint64_t bits = 0; bits < uint64_t(1) << 32;) {
    float x[W], y[W];
    for (int lane = 0; lane < W; lane++, bits += stride) {
      const uint32_t pattern = uint32_t(bits);  // the last vector wraps around
      memcpy(&x[lane], &pattern, sizeof pattern);
    }
    store(y, f.vector(load(x)));
    for (int lane = 0; lane < W; lane++) {
      if (isinf(x[lane]) || (x[lane] != 0 && fabsf(x[lane]) < 1.17549435e-38f)) continue;  // denormals count as 0
      const double error = error_of(f, x[lane], y[lane]);
      if (!(error <= worst)) worst = error, worst_at = x[lane];
    }
  }
  float y[W];
  store(y, f.vector(splat(INF)));
  bool specials = y[0] == f.at_infinity;
  store(y, f.vector(splat(-INF)));
  specials = specials && y[0] == f.at_minus_infinity;
  store(y, f.vector(splat(NAN)));
  specials = specials && isnan(y[0]);
  const bool good = worst <= f.limit && specials;
  printf("%-16s %.3g %s at %.9g, limit %g, special values %s: %s\n", f.name, worst, f.absolute ? "absolute" : "ulp",
         worst_at, f.limit, specials ? "right" : "WRONG", good ? "ok" : "FAILED");
  return good;
}

}  // namespace

int main(int argc, char **argv) {
  const long stride = argc > 1 ? atol(argv[1]) : 997;
  if (stride < 1) {
    fprintf(stderr, "vmath_error: STRIDE must be a positive number, got %s\n", argv[1]);
    return 2;
  }
  xl::FlushDenormals flush;
  bool good = true;
  for (const Function &f : functions) good = check(f, uint64_t(stride)) && good;
  return good ? 0 : 1;
}
