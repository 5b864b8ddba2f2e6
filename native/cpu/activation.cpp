// Activations, gated activations and the skip-and-gate of the mLSTM block, forward and backward.
#include "activation.h"

#include "gradient.h"
#include "reduce.h"

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_activation_forward)(float *y, const float *x, int64_t N, int32_t activation) {
  const bool known = with_activation(activation, [=](auto tag) {
    parallel_lanes(N, compute_grain, [=](int64_t n, auto lanes) {
      lanes.store(y + n, activate<decltype(tag)::value>(lanes.load(x + n)));
    });
  });
  return known ? XL_OK : no_such_activation("activation_forward", activation);
}

// y = activation(x)
extern "C" int XL_KERNEL(xl_activation_backward)(float *dx, const float *dy, const float *x, int64_t N,
                                                 int32_t activation) {
  const Gradient to_dx(dx, N);
  xl::settle_zeros();
  const bool known = with_activation(activation, [=](auto tag) {
    parallel_lanes(N, compute_grain, [=](int64_t n, auto lanes) {
      const vf slope = activate_both<decltype(tag)::value>(lanes.load(x + n)).derivative;
      to_dx.add(n, lanes, lanes.load(dy + n) * slope);
    });
  });
  return known ? XL_OK : no_such_activation("activation_backward", activation);
}

extern "C" int XL_KERNEL(xl_gated_activation_forward)(float *y, const float *gate, const float *up, int64_t N,
                                                      int32_t activation) {
  const bool known = with_activation(activation, [=](auto tag) {
    parallel_lanes(N, compute_grain, [=](int64_t n, auto lanes) {
      lanes.store(y + n, activate<decltype(tag)::value>(lanes.load(gate + n)) * lanes.load(up + n));
    });
  });
  return known ? XL_OK : no_such_activation("gated_activation_forward", activation);
}

// y = activation(gate) * up
extern "C" int XL_KERNEL(xl_gated_activation_backward)(float *dgate, float *dup, const float *dy, const float *gate,
                                                       const float *up, int64_t N, int32_t activation) {
  const Gradient to_dgate(dgate, N), to_dup(dup, N);
  xl::settle_zeros();
  const bool known = with_activation(activation, [=](auto tag) {
    parallel_lanes(N, compute_grain, [=](int64_t n, auto lanes) {
      const vf g = lanes.load(dy + n);
      const ValueAndDerivative a = activate_both<decltype(tag)::value>(lanes.load(gate + n));
      to_dgate.add(n, lanes, g * lanes.load(up + n) * a.derivative);
      to_dup.add(n, lanes, g * a.value);
    });
  });
  return known ? XL_OK : no_such_activation("gated_activation_backward", activation);
}

extern "C" int XL_KERNEL(xl_skip_gate_forward)(float *y, const float *h, const float *c, const float *skip,
                                               const float *z, int64_t N, int64_t D) {
  parallel_range(N, compute_grain / max_of(D, 1), [=](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; n++) {
      const int64_t row = n * D;
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        const vf sum = lanes.load(h + row + d) + lanes.load(skip + d) * lanes.load(c + row + d);
        lanes.store(y + row + d, sum * vsilu(lanes.load(z + row + d)));
      });
    }
  });
  return XL_OK;
}

// y = (h + skip * c) * silu(z)
extern "C" int XL_KERNEL(xl_skip_gate_backward)(float *dh, float *dc, float *dskip, float *dz, const float *dy,
                                                const float *h, const float *c, const float *skip, const float *z,
                                                int64_t N, int64_t D) {
  if (N <= 0 || D <= 0) return XL_OK;
  const Gradient to_dh(dh, N * D), to_dc(dc, N * D), to_dz(dz, N * D);
  xl::settle_zeros();
  const RowBlocks blocks = row_blocks(N, 16);
  float *partials = xl::shared_scratch(blocks.count * D);
  if (!partials) return out_of_scratch("skip_gate_backward", blocks.count * D);
  parallel_for(blocks.count, [=](int64_t block, int) {
    float *partial = partials + block * D;
    for_lanes(0, D, [=](int64_t d, auto lanes) { lanes.store(partial + d, vf{}); });
    for (int64_t n = blocks.begin(block); n < blocks.end(block); n++) {
      const int64_t row = n * D;
      for_lanes(0, D, [=](int64_t d, auto lanes) {
        const vf g = lanes.load(dy + row + d), cc = lanes.load(c + row + d), s = lanes.load(skip + d);
        const ValueAndDerivative gate = activate_both<XL_ACT_SILU>(lanes.load(z + row + d));
        const vf dsum = g * gate.value;
        to_dh.add(row + d, lanes, dsum);
        to_dc.add(row + d, lanes, dsum * s);
        lanes.store(partial + d, lanes.load(partial + d) + dsum * cc);
        const vf slope = g * (lanes.load(h + row + d) + s * cc);
        to_dz.add(row + d, lanes, slope * gate.derivative);
      });
    }
  });
  add_partials(dskip, partials, blocks.count, D, D);
  return XL_OK;
}
