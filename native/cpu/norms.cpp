// Layer norm and RMS norm over the last axis of [N,G,D], forward and backward. A row is one (n,g).
#include "gradient.h"
#include "reduce.h"

using namespace XL_NS;

namespace {

int64_t rows_per_task(int64_t D) { return max_of(1, memory_grain / D); }

int check_width(const char *kernel, int64_t D) {
  if (D > 0) return XL_OK;
  return xl::fail(XL_INVALID, "%s: D must be positive, got %lld", kernel, (long long)D);
}

struct Moments {
  float mean, variance;
};

// The second pass over x measures what the first sum rounded off, so that a large common offset costs no digits. y is
// what is written then.
XL_INLINE Moments moments(const float *x, float *y, int64_t D) {
  vf sum = {};
  for_lanes_ahead(0, D, [&](int64_t d, auto lanes) {
    lanes.will_load(x + d);
    lanes.will_store(y + d);
    sum += lanes.load(x + d);
  });
  const float rough = hsum(sum) / float(D);
  vf rest = {}, square = {};
  for_lanes(0, D, [&](int64_t d, auto lanes) {
    const vf centred = lanes.inside(lanes.load(x + d) - rough);
    rest += centred;
    square += centred * centred;
  });
  const float shift = hsum(rest) / float(D);
  return {rough + shift, hsum(square) / float(D) - shift * shift};
}

}  // namespace

extern "C" int XL_KERNEL(xl_layernorm_forward)(float *y, float *mean, float *rstd, const float *x, const float *weight,
                                               const float *bias, int64_t N, int64_t G, int64_t D, float eps,
                                               float weight_offset) {
  if (int status = check_width("layernorm_forward", D)) return status;
  parallel_range(N * G, rows_per_task(D), [=](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float *xr = x + row * D, *w = weight + (row % G) * D, *b = bias ? bias + (row % G) * D : nullptr;
      float *yr = y + row * D;
      const Moments moment = moments(xr, yr, D);
      const float m = moment.mean, s = 1.0f / __builtin_sqrtf(moment.variance + eps);
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        const vf scaled = (lanes.load(xr + d) - m) * s * (weight_offset + lanes.load(w + d));
        lanes.store(yr + d, b ? scaled + lanes.load(b + d) : scaled);
      });
      mean[row] = m;
      rstd[row] = s;
    }
  });
  return XL_OK;
}

// norm = (x - mean) rstd;  y = norm (weight_offset + weight) + bias;  dnorm = dy (weight_offset + weight)
// dx = rstd (dnorm - mean(dnorm) - norm mean(dnorm norm))
extern "C" int XL_KERNEL(xl_layernorm_backward)(float *dx, float *dweight, float *dbias, const float *dy,
                                                const float *x, const float *weight, const float *mean,
                                                const float *rstd, int64_t N, int64_t G, int64_t D,
                                                float weight_offset) {
  if (int status = check_width("layernorm_backward", D)) return status;
  if (N <= 0 || G <= 0) return XL_OK;
  const Gradient to_dx(dx, N * G * D);
  xl::settle_zeros();
  const int64_t GD = G * D, stride = 2 * GD;
  const RowBlocks blocks = row_blocks(N, max_of(16, memory_grain / GD));
  float *partials = xl::shared_scratch(blocks.count * stride);
  if (!partials) return out_of_scratch("layernorm_backward", blocks.count * stride);
  parallel_for(blocks.count, [=](int64_t block, int) {
    float *partial = partials + block * stride;
    for_lanes(0, stride, [=](int64_t d, auto lanes) { lanes.store(partial + d, vf{}); });
    for (int64_t row = blocks.begin(block) * G; row < blocks.end(block) * G; row++) {
      const int64_t group = (row % G) * D;
      const float *dyr = dy + row * D, *xr = x + row * D, *w = weight + group;
      float *dw = partial + group, *db = partial + GD + group;
      const float m = mean[row], s = rstd[row];
      vf sum = {}, sum_norm = {};
      for_lanes_ahead(0, D, [&](int64_t d, auto lanes) {
        lanes.will_load(dyr + d);
        lanes.will_load(xr + d);
        to_dx.will_add(row * D + d, lanes);
        const vf g = lanes.load(dyr + d), norm = (lanes.load(xr + d) - m) * s;
        const vf dnorm = g * (weight_offset + lanes.load(w + d));
        sum += dnorm;
        sum_norm += dnorm * norm;
        lanes.store(dw + d, lanes.load(dw + d) + g * norm);
        lanes.store(db + d, lanes.load(db + d) + g);
      });
      const float mean_dnorm = hsum(sum) / float(D), mean_norm = hsum(sum_norm) / float(D);
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        const vf norm = (lanes.load(xr + d) - m) * s;
        const vf dnorm = lanes.load(dyr + d) * (weight_offset + lanes.load(w + d));
        to_dx.add(row * D + d, lanes, (dnorm - mean_dnorm - norm * mean_norm) * s);
      });
    }
  });
  add_partials(dweight, partials, blocks.count, stride, GD);
  if (dbias) add_partials(dbias, partials + GD, blocks.count, stride, GD);
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_rmsnorm_forward)(float *y, float *rstd, const float *x, const float *weight, int64_t N,
                                             int64_t G, int64_t D, float eps, float weight_offset) {
  if (int status = check_width("rmsnorm_forward", D)) return status;
  parallel_range(N * G, rows_per_task(D), [=](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float *xr = x + row * D, *w = weight + (row % G) * D;
      float *yr = y + row * D;
      vf square = {};
      for_lanes_ahead(0, D, [&](int64_t d, auto lanes) {
        lanes.will_load(xr + d);
        lanes.will_store(yr + d);
        const vf v = lanes.load(xr + d);
        square += v * v;
      });
      const float s = 1.0f / __builtin_sqrtf(hsum(square) / float(D) + eps);
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        lanes.store(yr + d, lanes.load(xr + d) * s * (weight_offset + lanes.load(w + d)));
      });
      rstd[row] = s;
    }
  });
  return XL_OK;
}

// norm = x rstd;  y = norm (weight_offset + weight);  dx = rstd (dnorm - norm mean(dnorm norm))
extern "C" int XL_KERNEL(xl_rmsnorm_backward)(float *dx, float *dweight, const float *dy, const float *x,
                                              const float *weight, const float *rstd, int64_t N, int64_t G, int64_t D,
                                              float weight_offset) {
  if (int status = check_width("rmsnorm_backward", D)) return status;
  if (N <= 0 || G <= 0) return XL_OK;
  const Gradient to_dx(dx, N * G * D);
  xl::settle_zeros();
  const int64_t GD = G * D;
  const RowBlocks blocks = row_blocks(N, max_of(16, memory_grain / GD));
  float *partials = xl::shared_scratch(blocks.count * GD);
  if (!partials) return out_of_scratch("rmsnorm_backward", blocks.count * GD);
  parallel_for(blocks.count, [=](int64_t block, int) {
    float *partial = partials + block * GD;
    for_lanes(0, GD, [=](int64_t d, auto lanes) { lanes.store(partial + d, vf{}); });
    for (int64_t row = blocks.begin(block) * G; row < blocks.end(block) * G; row++) {
      const int64_t group = (row % G) * D;
      const float *dyr = dy + row * D, *xr = x + row * D, *w = weight + group;
      float *dw = partial + group;
      const float s = rstd[row];
      vf sum_norm = {};
      for_lanes_ahead(0, D, [&](int64_t d, auto lanes) {
        lanes.will_load(dyr + d);
        lanes.will_load(xr + d);
        to_dx.will_add(row * D + d, lanes);
        const vf g = lanes.load(dyr + d), norm = lanes.load(xr + d) * s;
        sum_norm += g * (weight_offset + lanes.load(w + d)) * norm;
        lanes.store(dw + d, lanes.load(dw + d) + g * norm);
      });
      const float mean_norm = hsum(sum_norm) / float(D);
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        const vf dnorm = lanes.load(dyr + d) * (weight_offset + lanes.load(w + d));
        to_dx.add(row * D + d, lanes, (dnorm - lanes.load(xr + d) * s * mean_norm) * s);
      });
    }
  });
  add_partials(dweight, partials, blocks.count, GD, GD);
  return XL_OK;
}
