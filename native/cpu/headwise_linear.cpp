// Block-diagonal linear map, forward and backward: y[n,g,:] = weight[g] x[n,g,:] + bias[g]. Blocks of 4 and 8 are in
// headwise_small.h; the others are one matrix product per block and piece of the rows.
#include "headwise_small.h"
#include "matmul.h"

namespace XL_NS {
namespace {

constexpr int64_t ROW_PIECE = 256;
constexpr int64_t TASKS_WANTED = 16;

struct Headwise {
  int64_t N, G, O, I;
};

// Runs body(g, n, rows, worker) over all blocks and pieces of rows.
template <class Body>
void for_blocks_and_rows(const Headwise &s, const Body &body) {
  const int64_t pieces = ceil_div(s.N, ROW_PIECE);
  parallel_for(s.G * pieces, [&](int64_t task, int worker) {
    const int64_t g = task % s.G, n = task / s.G * ROW_PIECE;
    body(g, n, min_of(ROW_PIECE, s.N - n), worker);
  });
}

int large_forward(float *y, const float *x, const float *weight, const float *bias, const Headwise &s) {
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const int64_t GO = s.G * s.O, GI = s.G * s.I;
  for_blocks_and_rows(s, [&](int64_t g, int64_t n, int64_t rows, int worker) {
    matmul_in_task({y + n * GO + g * s.O, x + n * GI + g * s.I, weight + g * s.O * s.I, bias ? bias + g * s.O : nullptr,
                    rows, s.O, s.I, false, true, GI, s.I, GO, false, XL_ACT_NONE},
                   worker);
  });
  return XL_OK;
}

// dx[n,g,:] += weight[g]^T dy[n,g,:]
int large_dx(float *dx, const float *dy, const float *weight, const Headwise &s) {
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const int64_t GO = s.G * s.O, GI = s.G * s.I;
  for_blocks_and_rows(s, [&](int64_t g, int64_t n, int64_t rows, int worker) {
    matmul_in_task({dx + n * GI + g * s.I, dy + n * GO + g * s.O, weight + g * s.O * s.I, nullptr, rows, s.I, s.O,
                    false, false, GO, s.I, GI, true, XL_ACT_NONE},
                   worker);
  });
  return XL_OK;
}

// dweight[g] += dy[:,g,:]^T x[:,g,:]: pieces of the outputs, each over all rows.
int large_dweight(float *dweight, const float *dy, const float *x, const Headwise &s) {
  const int status = matmul_reserve(true);
  if (status != XL_OK) return status;
  const int64_t GO = s.G * s.O, GI = s.G * s.I;
  const int64_t wanted = ceil_div(s.O, max_of(1, TASKS_WANTED / s.G));
  const int64_t height = ceil_div(max_of(wanted, 2 * PRODUCT_ROWS), PRODUCT_ROWS) * PRODUCT_ROWS;
  const int64_t pieces = ceil_div(s.O, height);
  parallel_for(s.G * pieces, [&](int64_t task, int worker) {
    const int64_t g = task / pieces, o = task % pieces * height;
    matmul_in_task({dweight + (g * s.O + o) * s.I, dy + g * s.O + o, x + g * s.I, nullptr, min_of(height, s.O - o), s.I,
                    s.N, true, false, GO, GI, s.I, true, XL_ACT_NONE},
                   worker);
  });
  return XL_OK;
}

int check(const char *kernel, const Headwise &s) {
  if (s.N >= 0 && s.G > 0 && s.O > 0 && s.I > 0) return XL_OK;
  return xl::fail(XL_INVALID, "%s: N must not be negative and G, O, I must be positive, got %lld, %lld, %lld, %lld",
                  kernel, (long long)s.N, (long long)s.G, (long long)s.O, (long long)s.I);
}

}  // namespace
}  // namespace XL_NS

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_headwise_linear_forward)(float *y, const float *x, const float *weight, const float *bias,
                                                     int64_t N, int64_t G, int64_t O, int64_t I) {
  const char *kernel = "headwise_linear_forward";
  const Headwise sizes = {N, G, O, I};
  const int status = check(kernel, sizes);
  if (status != XL_OK || N == 0) return status;
  if (O == 4 && I == 4) return small_map<4, false>(kernel, y, x, weight, bias, N, G * 4, true);
  if (O == 8 && I == 8) return small_map<8, false>(kernel, y, x, weight, bias, N, G * 8, true);
  return large_forward(y, x, weight, bias, sizes);
}

extern "C" int XL_KERNEL(xl_headwise_linear_backward)(float *dx, float *dweight, float *dbias, const float *dy,
                                                      const float *x, const float *weight, int64_t N, int64_t G,
                                                      int64_t O, int64_t I) {
  const char *kernel = "headwise_linear_backward";
  const Headwise sizes = {N, G, O, I};
  int status = check(kernel, sizes);
  if (status != XL_OK || N == 0) return status;
  const bool four = O == 4 && I == 4, eight = O == 8 && I == 8;
  if (dx) {
    status = four    ? small_map<4, true>(kernel, dx, dy, weight, nullptr, N, G * 4, false)
             : eight ? small_map<8, true>(kernel, dx, dy, weight, nullptr, N, G * 8, false)
                     : large_dx(dx, dy, weight, sizes);
    if (status != XL_OK) return status;
  }
  if (dweight) {
    status = four    ? small_dweight<4>(kernel, dweight, dy, x, N, G * 4)
             : eight ? small_dweight<8>(kernel, dweight, dy, x, N, G * 8)
                     : large_dweight(dweight, dy, x, sizes);
    if (status != XL_OK) return status;
  }
  return dbias ? XL_KERNEL(xl_bias_backward)(dbias, dy, N, G * O) : XL_OK;
}
