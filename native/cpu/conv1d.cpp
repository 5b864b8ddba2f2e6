// Causal depthwise convolution over time with state and resets, forward and backward. A row is one (b,t); the vectors
// run along D. Weights are transposed to [K,D] once per call.
#include "activation.h"
#include "reduce.h"

using namespace XL_NS;

namespace {

constexpr int64_t max_taps = 64;

struct Conv {
  const float *x, *taps /* [K,D] */, *bias, *state_in;
  const uint8_t *reset;
  int64_t B, T, D, K;

  // The input at time s of sequence b, s >= -(K-1); NULL where it is a zero that nobody stored.
  const float *input(int64_t b, int64_t s) const {
    if (s >= 0) return x + (b * T + s) * D;
    return state_in ? state_in + (b * (K - 1) + s + K - 1) * D : nullptr;
  }

  // How many of the taps of step t lie before the last reset, or before the state where there is none.
  int64_t first_tap(int64_t b, int64_t t) const {
    if (reset) {
      for (int64_t s = t; s > t - K && s >= 0; s--)
        if (reset[b * T + s]) return s - t + K - 1;
    }
    return state_in || t >= K - 1 ? 0 : K - 1 - t;
  }
};

// The inputs that step t sees: tap j reads rows[j], for j from first to K-1.
struct Window {
  const float *rows[max_taps];
  int64_t first;
};

XL_INLINE void look_back(Window *window, const Conv &conv, int64_t b, int64_t t) {
  window->first = conv.first_tap(b, t);
  for (int64_t j = window->first; j < conv.K; j++) window->rows[j] = conv.input(b, t - (conv.K - 1) + j);
}

// bias[d] + sum over taps; the usual width of 4 is unrolled.
template <class Lanes>
XL_INLINE vf convolve(const Conv &conv, const Window &window, int64_t d, Lanes lanes) {
  const int64_t D = conv.D;
  vf sum = conv.bias ? lanes.load(conv.bias + d) : vf{};
  if (conv.K == 4 && window.first == 0) {
    for (int j = 0; j < 4; j++) sum += lanes.load(conv.taps + j * D + d) * lanes.load(window.rows[j] + d);
  } else {
    for (int64_t j = window.first; j < conv.K; j++)
      sum += lanes.load(conv.taps + j * D + d) * lanes.load(window.rows[j] + d);
  }
  return sum;
}

int check_conv(const char *kernel, int64_t K, int32_t activation) {
  if (K < 1 || K > max_taps)
    return xl::fail(XL_INVALID, "%s: K must be 1 to %lld, got %lld", kernel, (long long)max_taps, (long long)K);
  if (activation != XL_ACT_NONE && activation != XL_ACT_SILU)
    return xl::fail(XL_INVALID, "%s: activation must be 0 (none) or 1 (silu), got %d", kernel, (int)activation);
  return XL_OK;
}

void transpose_weight(float *taps, const float *weight, int64_t D, int64_t K) {
  for (int64_t d = 0; d < D; d++)
    for (int64_t j = 0; j < K; j++) taps[j * D + d] = weight[d * K + j];
}

// Time is cut into pieces of this many steps.
int64_t steps_per_task(int64_t D) { return max_of(16, 2 * memory_grain / max_of(D, 1)); }

// The last K-1 inputs, oldest first; right also when state_out is state_in.
void write_state(float *state_out, const Conv &conv) {
  const int64_t D = conv.D, K = conv.K, T = conv.T;
  for (int64_t b = 0; b < conv.B; b++) {
    // first_tap speaks of the K taps of step T-1; the state is the last K-1 of them.
    const int64_t first = T > 0 ? conv.first_tap(b, T - 1) : 0;
    for (int64_t j = 0; j < K - 1; j++) {
      float *row = state_out + (b * (K - 1) + j) * D;
      const float *from = j + 1 >= first ? conv.input(b, T - (K - 1) + j) : nullptr;
      for_lanes(0, D, [=](int64_t d, auto lanes) { lanes.store(row + d, from ? lanes.load(from + d) : vf{}); });
    }
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_conv1d_forward)(float *y, float *state_out, const float *x, const float *weight,
                                            const float *bias, const float *state_in, const uint8_t *reset, int64_t B,
                                            int64_t T, int64_t D, int64_t K, int32_t activation) {
  if (int status = check_conv("conv1d_forward", K, activation)) return status;
  if (B <= 0 || D <= 0) return XL_OK;
  float *taps = xl::shared_scratch(K * D);
  if (!taps) return out_of_scratch("conv1d_forward", K * D);
  transpose_weight(taps, weight, D, K);
  const Conv conv = {x, taps, bias, state_in, reset, B, T, D, K};
  const int64_t steps = steps_per_task(D), pieces = ceil_div(T, steps);
  with_activation(activation, [&](auto tag) {
    parallel_for(B * pieces, [&](int64_t task, int) {
      const int64_t b = task / pieces, begin = (task % pieces) * steps, end = min_of(T, begin + steps);
      for (int64_t t = begin; t < end; t++) {
        Window window;
        look_back(&window, conv, b, t);
        float *row = y + (b * T + t) * D;
        for_lanes(0, D, [&](int64_t d, auto lanes) {
          lanes.store(row + d, activate<decltype(tag)::value>(convolve(conv, window, d, lanes)));
        });
      }
    });
  });
  if (state_out) write_state(state_out, conv);
  return XL_OK;
}

namespace {

struct ConvGradients {
  float *dx, *dstate_in;
  const float *dy, *dstate_out;
};

// dsum[t - begin] = dy * activation'(sum), recomputed from x, for t in begin..end-1; and its share of the gradients
// of weight and bias for t below `own`: the steps from there on belong to the next piece.
template <int A>
void sum_gradients(float *dsum, float *dtaps, float *dbias, const Conv &conv, const float *dy, int64_t b, int64_t begin,
                   int64_t own, int64_t end) {
  const int64_t D = conv.D, K = conv.K;
  for (int64_t t = begin; t < end; t++) {
    Window window;
    look_back(&window, conv, b, t);
    const float *dy_row = dy + (b * conv.T + t) * D;
    float *row = dsum + (t - begin) * D;
    for_lanes(0, D, [&](int64_t d, auto lanes) {
      vf g = lanes.load(dy_row + d);
      if (A != XL_ACT_NONE) g *= activate_both<A>(convolve(conv, window, d, lanes)).derivative;
      lanes.store(row + d, g);
      if (t >= own) return;
      lanes.store(dbias + d, lanes.load(dbias + d) + g);
      // sum = bias + sum_j weight[j] input(t-(K-1)+j)
      for (int64_t j = window.first; j < K; j++)
        lanes.store(dtaps + j * D + d, lanes.load(dtaps + j * D + d) + g * lanes.load(window.rows[j] + d));
    });
  }
}

// out += sum over the steps t that see the input at time s: weight[K-1-(t-s)] * dsum[t], t from `from` to `to`-1.
void add_input_gradient(float *out, const float *dsum, int64_t dsum_begin, const Conv &conv, int64_t s, int64_t from,
                        int64_t to) {
  const int64_t D = conv.D, K = conv.K;
  if (from >= to) return;
  for_lanes(0, D, [&](int64_t d, auto lanes) {
    vf sum = lanes.load(out + d);
    for (int64_t t = from; t < to; t++)
      sum += lanes.load(conv.taps + (K - 1 - (t - s)) * D + d) * lanes.load(dsum + (t - dsum_begin) * D + d);
    lanes.store(out + d, sum);
  });
}

// The first step after s that does not see the input at time s: beyond the window, a reset, or the end.
int64_t horizon(const Conv &conv, int64_t b, int64_t s) {
  const int64_t last = min_of(conv.T, s + conv.K);
  if (conv.reset) {
    for (int64_t t = max_of(s + 1, 0); t < last; t++)
      if (conv.reset[b * conv.T + t]) return t;
  }
  return last;
}

// state_out[j] = input(T-(K-1)+j), where no reset came after it
void add_state_gradient(const ConvGradients &g, const Conv &conv) {
  const int64_t D = conv.D, K = conv.K, T = conv.T;
  for (int64_t b = 0; b < conv.B; b++) {
    for (int64_t j = 0; j < K - 1; j++) {
      const int64_t s = T - (K - 1) + j;
      bool visible = true;
      if (conv.reset)
        for (int64_t t = max_of(s + 1, 0); t < T; t++) visible = visible && !conv.reset[b * T + t];
      float *out = s >= 0        ? g.dx + (b * T + s) * D
                   : g.dstate_in ? g.dstate_in + (b * (K - 1) + s + K - 1) * D
                                 : nullptr;
      if (!visible || !out) continue;
      const float *from = g.dstate_out + (b * (K - 1) + j) * D;
      for_lanes(0, D, [=](int64_t d, auto lanes) { lanes.store(out + d, lanes.load(out + d) + lanes.load(from + d)); });
    }
  }
}

// One piece of one sequence: begin..end-1 of the T steps.
template <int A>
void backward_piece(const ConvGradients &g, float *dsum, float *dtaps, float *dbias, const Conv &conv, int64_t b,
                    int64_t begin, int64_t end) {
  const int64_t D = conv.D, K = conv.K, T = conv.T;
  sum_gradients<A>(dsum, dtaps, dbias, conv, g.dy, b, begin, end, min_of(T, end + K - 1));
  for (int64_t s = begin; s < end; s++)
    add_input_gradient(g.dx + (b * T + s) * D, dsum, begin, conv, s, s, horizon(conv, b, s));
  if (begin != 0 || !g.dstate_in) return;
  for (int64_t s = -(K - 1); s < 0; s++) {
    float *out = g.dstate_in + (b * (K - 1) + s + K - 1) * D;
    add_input_gradient(out, dsum, begin, conv, s, 0, min_of(horizon(conv, b, s), min_of(T, end + K - 1)));
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_conv1d_backward)(float *dx, float *dweight, float *dbias, float *dstate_in, const float *dy,
                                             const float *dstate_out, const float *x, const float *weight,
                                             const float *bias, const float *state_in, const uint8_t *reset, int64_t B,
                                             int64_t T, int64_t D, int64_t K, int32_t activation) {
  if (int status = check_conv("conv1d_backward", K, activation)) return status;
  if (B <= 0 || D <= 0) return XL_OK;
  const ConvGradients gradients = {dx, dstate_in, dy, dstate_out};
  const int64_t steps = steps_per_task(D), pieces = ceil_div(T, steps);
  const RowBlocks blocks = row_blocks(B * pieces, 1);
  const int64_t stride = (K + 1) * D, window = (steps + K - 1) * D;
  float *taps = xl::shared_scratch(K * D, 0), *partials = xl::shared_scratch(max_of(blocks.count, 1) * stride, 1);
  for (int worker = 0; worker < xl::threads(); worker++)
    if (!xl::scratch(worker, window)) taps = nullptr;
  if (!taps || !partials) return out_of_scratch("conv1d_backward", blocks.count * stride);
  transpose_weight(taps, weight, D, K);
  const Conv conv = {x, taps, bias, state_in, reset, B, T, D, K};
  with_activation(activation, [&](auto tag) {
    parallel_for(blocks.count, [&](int64_t block, int worker) {
      float *partial = partials + block * stride, *dsum = xl::scratch(worker, window);
      for_lanes(0, stride, [=](int64_t d, auto lanes) { lanes.store(partial + d, vf{}); });
      for (int64_t piece = blocks.begin(block); piece < blocks.end(block); piece++) {
        const int64_t begin = (piece % pieces) * steps;
        backward_piece<decltype(tag)::value>(gradients, dsum, partial, partial + K * D, conv, piece / pieces, begin,
                                             min_of(T, begin + steps));
      }
    });
  });
  if (dstate_out) add_state_gradient(gradients, conv);
  if (blocks.count == 0) return XL_OK;
  if (dbias) add_partials(dbias, partials + K * D, blocks.count, stride, D);
  for (int64_t d = 0; d < D; d++) {
    for (int64_t j = 0; j < K; j++) {
      float sum = 0;
      for (int64_t block = 0; block < blocks.count; block++) sum += partials[block * stride + j * D + d];
      dweight[d * K + j] += sum;
    }
  }
  return XL_OK;
}
