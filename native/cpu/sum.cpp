// Sums over whole arrays, in double: of the elements, of their squares, and of rows for the gradient of a bias.
#include "reduce.h"

using namespace XL_NS;

namespace {

constexpr int64_t piece = 8192;  // elements of one partial sum; a constant, so that N alone decides the order

// The sum of term(x[n]) as a double; false if there is no memory for the partial sums.
template <class Term>
bool sum_in_double(double *result, const float *x, int64_t N, const Term &term) {
  const int64_t pieces = ceil_div(N, piece);
  double *partials = reinterpret_cast<double *>(xl::shared_scratch(2 * pieces));
  if (!partials) return false;
  parallel_range(N, piece, [=](int64_t begin, int64_t end, int) {
    vd low = {}, high = {};
    for_lanes(begin, end, [&](int64_t n, auto lanes) {
      const vf v = lanes.load(x + n);
      low += term(low_double(v));
      high += term(high_double(v));
    });
    partials[begin / piece] = hsum_double(low + high);
  });
  double sum = 0;
  for (int64_t p = 0; p < pieces; p++) sum += partials[p];
  *result = sum;
  return true;
}

}  // namespace

extern "C" int XL_KERNEL(xl_sum_forward)(float *y, const float *x, int64_t N, float scale) {
  double sum;
  if (!sum_in_double(&sum, x, N, [](vd v) { return v; })) return out_of_scratch("sum_forward", N / piece);
  y[0] = float(double(scale) * sum);
  return XL_OK;
}

// y = scale * sum x
extern "C" int XL_KERNEL(xl_sum_backward)(float *dx, const float *dy, int64_t N, float scale) {
  const vf g = splat(scale * dy[0]);
  parallel_lanes(N, memory_grain, [=](int64_t n, auto lanes) { lanes.store(dx + n, lanes.load(dx + n) + g); });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_sum_of_squares)(float *y, const float *x, int64_t N) {
  double sum;
  if (!sum_in_double(&sum, x, N, [](vd v) { return v * v; })) return out_of_scratch("sum_of_squares", N / piece);
  y[0] = float(sum);
  return XL_OK;
}

// y = x + bias
extern "C" int XL_KERNEL(xl_bias_backward)(float *dbias, const float *dy, int64_t N, int64_t D) {
  if (N <= 0 || D <= 0) return XL_OK;
  const RowBlocks blocks = row_blocks(N, max_of(16, memory_grain / D));
  float *partials = xl::shared_scratch(blocks.count * D);
  if (!partials) return out_of_scratch("bias_backward", blocks.count * D);
  parallel_for(blocks.count, [=](int64_t block, int) {
    float *partial = partials + block * D;
    const int64_t begin = blocks.begin(block), end = blocks.end(block);
    for_lanes(0, D, [=](int64_t d, auto lanes) { lanes.store(partial + d, lanes.load(dy + begin * D + d)); });
    int64_t n = begin + 1;
    for (; n + 4 <= end; n += 4) {
      const float *row = dy + n * D;
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        const vf first = lanes.load(row + d) + lanes.load(row + D + d);
        const vf second = lanes.load(row + 2 * D + d) + lanes.load(row + 3 * D + d);
        lanes.store(partial + d, lanes.load(partial + d) + (first + second));
      });
    }
    for (; n < end; n++) {
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        lanes.store(partial + d, lanes.load(partial + d) + lanes.load(dy + n * D + d));
      });
    }
  });
  add_partials(dbias, partials, blocks.count, D, D);
  return XL_OK;
}
