// Causal depthwise convolution over time with state and resets, forward and backward. A row is one (b,t); vectors run
// along D, and a tile of a few steps shares the taps in registers. A tap that sees nothing (before a reset, or before
// the start without a state) reads a row of zeros, so that the inner loops have no cases.
#include "activation.h"
#include "reduce.h"

using namespace XL_NS;

namespace {

constexpr int64_t max_taps = 64;
constexpr int64_t tile = 8;  // steps
constexpr int64_t usual_taps = 4;

struct Conv {
  const float *x, *taps /* [K,D]: the weight transposed */, *zeros /* [D] */, *bias, *state_in;
  const uint8_t *reset;
  int64_t B, T, D, K;

  // Whether a reset after s and up to t hides the input at time s from step t.
  bool hidden(int64_t b, int64_t s, int64_t t) const {
    if (reset)
      for (int64_t between = max_of(s + 1, 0); between <= t; between++)
        if (reset[b * T + between]) return true;
    return false;
  }

  // The input at time s of sequence b as step t sees it, -(K-1) <= s <= t.
  const float *input(int64_t b, int64_t s, int64_t t) const {
    if (hidden(b, s, t)) return zeros;
    if (s >= 0) return x + (b * T + s) * D;
    return state_in ? state_in + (b * (K - 1) + s + K - 1) * D : zeros;
  }
};

// The taps in registers: of a number known to the compiler where TAPS > 0, else conv.K.
template <int TAPS>
struct Taps {
  vf weight[TAPS > 0 ? TAPS : max_taps];
  int64_t K;

  template <class Lanes>
  XL_INLINE Taps(const Conv &conv, int64_t d, Lanes lanes) : K(TAPS > 0 ? TAPS : conv.K) {
    for (int64_t j = 0; j < K; j++) weight[j] = lanes.load(conv.taps + j * conv.D + d);
  }
};

// Rows that the taps of one step read.
struct Window {
  const float *rows[max_taps];
};

void look_back(Window *windows, const Conv &conv, int64_t b, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++)
    for (int64_t j = 0; j < conv.K; j++) windows[t - begin].rows[j] = conv.input(b, t - (conv.K - 1) + j, t);
}

template <int TAPS, class Lanes>
XL_INLINE vf convolve(const Taps<TAPS> &taps, const Window &window, vf bias, int64_t d, Lanes lanes) {
  vf sum = bias;
  for (int64_t j = 0; j < taps.K; j++) sum += taps.weight[j] * lanes.load(window.rows[j] + d);
  return sum;
}

// A tile walks its rows side by side, which the processor does not foresee: each access asks for the same place of the
// next tile. Beyond the end of an array this does nothing.
XL_INLINE void prefetch(const float *p) { __builtin_prefetch(p); }

template <int TAPS, int A>
void forward_tile(float *y, const Window *windows, const Conv &conv, int64_t steps) {
  for_lanes(0, conv.D, [=](int64_t d, auto lanes) {
    const Taps<TAPS> taps(conv, d, lanes);
    const vf bias = conv.bias ? lanes.load(conv.bias + d) : vf{};
    for (int64_t t = 0; t < steps; t++) {
      prefetch(windows[t].rows[taps.K - 1] + tile * conv.D + d);
      lanes.store(y + t * conv.D + d, activate<A>(convolve(taps, windows[t], bias, d, lanes)));
    }
  });
}

int check_conv(const char *kernel, int64_t K, int32_t activation) {
  if (K < 1 || K > max_taps)
    return xl::fail(XL_INVALID, "%s: K must be 1 to %lld, got %lld", kernel, (long long)max_taps, (long long)K);
  if (activation != XL_ACT_NONE && activation != XL_ACT_SILU)
    return xl::fail(XL_INVALID, "%s: activation must be 0 (none) or 1 (silu), got %d", kernel, (int)activation);
  return XL_OK;
}

// Memory for the taps and the zeros; NULL when there is none.
float *prepare(const float *weight, int64_t D, int64_t K) {
  float *taps = xl::shared_scratch((K + 1) * D, 0);
  if (!taps) return nullptr;
  for (int64_t d = 0; d < D; d++) {
    for (int64_t j = 0; j < K; j++) taps[j * D + d] = weight[d * K + j];
    taps[K * D + d] = 0;
  }
  return taps;
}

// Calls body(ActivationTag, number of taps known at compile time or 0).
template <class Body>
void with_variant(int32_t activation, int64_t K, const Body &body) {
  using Usual = ActivationTag<int(usual_taps)>;
  using Any = ActivationTag<0>;
  if (activation == XL_ACT_SILU && K == usual_taps) return body(ActivationTag<XL_ACT_SILU>(), Usual());
  if (activation == XL_ACT_SILU) return body(ActivationTag<XL_ACT_SILU>(), Any());
  if (K == usual_taps) return body(ActivationTag<XL_ACT_NONE>(), Usual());
  body(ActivationTag<XL_ACT_NONE>(), Any());
}

// Time is cut into pieces of this many steps.
int64_t steps_per_task(int64_t D) { return ceil_div(max_of(32, 2 * memory_grain / max_of(D, 1)), tile) * tile; }

// The last K-1 inputs, oldest first; right also when state_out is state_in.
void write_state(float *state_out, const Conv &conv) {
  const int64_t D = conv.D, K = conv.K, T = conv.T;
  for (int64_t b = 0; b < conv.B; b++) {
    for (int64_t j = 0; j < K - 1; j++) {
      float *row = state_out + (b * (K - 1) + j) * D;
      const float *from = conv.input(b, T - (K - 1) + j, T - 1);
      for_lanes(0, D, [=](int64_t d, auto lanes) { lanes.store(row + d, lanes.load(from + d)); });
    }
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_conv1d_forward)(float *y, float *state_out, const float *x, const float *weight,
                                            const float *bias, const float *state_in, const uint8_t *reset, int64_t B,
                                            int64_t T, int64_t D, int64_t K, int32_t activation) {
  if (int status = check_conv("conv1d_forward", K, activation)) return status;
  if (B <= 0 || D <= 0) return XL_OK;
  const float *taps = prepare(weight, D, K);
  if (!taps) return out_of_scratch("conv1d_forward", (K + 1) * D);
  const Conv conv = {x, taps, taps + K * D, bias, state_in, reset, B, T, D, K};
  const int64_t steps = steps_per_task(D), pieces = ceil_div(T, steps);
  with_variant(activation, K, [&](auto tag, auto known_taps) {
    parallel_for(B * pieces, [&](int64_t task, int) {
      const int64_t b = task / pieces, begin = (task % pieces) * steps, end = min_of(T, begin + steps);
      Window windows[tile];
      for (int64_t t = begin; t < end; t += tile) {
        const int64_t count = min_of(tile, end - t);
        look_back(windows, conv, b, t, t + count);
        forward_tile<known_taps.value, tag.value>(y + (b * T + t) * D, windows, conv, count);
      }
    });
  });
  if (state_out) write_state(state_out, conv);
  return XL_OK;
}

namespace {

// Where the gradients of weight and bias are summed: [K,D] and [D] of one block of pieces.
struct Sums {
  float *taps, *bias;
};

// dsum = dy * activation'(sum), recomputed from x, and its share of the gradients of weight and bias.
template <int TAPS, int A>
void gradient_tile(float *dsum, const Sums &sums, const float *dy, const Window *windows, const Conv &conv,
                   int64_t steps) {
  for_lanes(0, conv.D, [=](int64_t d, auto lanes) {
    const int64_t D = conv.D;
    const Taps<TAPS> taps(conv, d, lanes);
    const vf bias = conv.bias ? lanes.load(conv.bias + d) : vf{};
    Taps<TAPS> dtaps = taps;
    for (int64_t j = 0; j < taps.K; j++) dtaps.weight[j] = vf{};
    vf dbias = {};
    for (int64_t t = 0; t < steps; t++) {
      prefetch(dy + (t + tile) * D + d);
      prefetch(windows[t].rows[taps.K - 1] + tile * D + d);
      vf g = lanes.load(dy + t * D + d);
      if (A != XL_ACT_NONE) g *= activate_both<A>(convolve(taps, windows[t], bias, d, lanes)).derivative;
      lanes.store(dsum + t * D + d, g);
      // sum = bias + sum_j weight[j] input(t-(K-1)+j)
      dbias += g;
      for (int64_t j = 0; j < taps.K; j++) dtaps.weight[j] += g * lanes.load(windows[t].rows[j] + d);
    }
    lanes.store(sums.bias + d, lanes.load(sums.bias + d) + dbias);
    for (int64_t j = 0; j < taps.K; j++)
      lanes.store(sums.taps + j * D + d, lanes.load(sums.taps + j * D + d) + dtaps.weight[j]);
  });
}

// out[s] += sum over the steps t = s + i that see the input at time s: weight[K-1-i] * dsum[t].
template <int TAPS>
void input_tile(float *out, const Window *windows, const Conv &conv, int64_t steps) {
  for_lanes(0, conv.D, [=](int64_t d, auto lanes) {
    const Taps<TAPS> taps(conv, d, lanes);
    for (int64_t s = 0; s < steps; s++) {
      prefetch(out + (s + tile) * conv.D + d);
      vf sum = lanes.load(out + s * conv.D + d);
      for (int64_t i = 0; i < taps.K; i++) sum += taps.weight[taps.K - 1 - i] * lanes.load(windows[s].rows[i] + d);
      lanes.store(out + s * conv.D + d, sum);
    }
  });
}

// Gradient of the sums of steps begin..end-1 of one sequence, and the rows of it that the inputs read.
struct Piece {
  const float *dsum;
  int64_t b, begin, end;
};

void look_ahead(Window *windows, const Conv &conv, const Piece &piece, int64_t from, int64_t to) {
  for (int64_t s = from; s < to; s++) {
    for (int64_t i = 0; i < conv.K; i++) {
      const int64_t t = s + i;
      const bool sees = t >= piece.begin && t < piece.end && !conv.hidden(piece.b, s, t);
      windows[s - from].rows[i] = sees ? piece.dsum + (t - piece.begin) * conv.D : conv.zeros;
    }
  }
}

struct ConvGradients {
  float *dx, *dstate_in;
  const float *dy, *dstate_out;
};

// One piece of one sequence: steps begin..end-1. The K-1 steps after it see its inputs too, so their dsum is computed
// here once more; what they give to weight and bias goes to `waste`.
template <int TAPS, int A>
void backward_piece(const ConvGradients &g, float *dsum, const Sums &sums, const Sums &waste, const Conv &conv,
                    int64_t b, int64_t begin, int64_t end) {
  const int64_t D = conv.D, K = conv.K, beyond = min_of(conv.T, end + K - 1);
  Window windows[tile];
  for (int64_t t = begin, count; t < beyond; t += count) {
    const bool own = t < end;
    count = min_of(tile, (own ? end : beyond) - t);
    look_back(windows, conv, b, t, t + count);
    gradient_tile<TAPS, A>(dsum + (t - begin) * D, own ? sums : waste, g.dy + (b * conv.T + t) * D, windows, conv,
                           count);
  }
  const Piece piece = {dsum, b, begin, beyond};
  for (int64_t s = begin; s < end; s += tile) {
    const int64_t count = min_of(tile, end - s);
    look_ahead(windows, conv, piece, s, s + count);
    input_tile<TAPS>(g.dx + (b * conv.T + s) * D, windows, conv, count);
  }
  if (begin != 0 || !g.dstate_in) return;
  for (int64_t s = -(K - 1); s < 0; s++) {
    look_ahead(windows, conv, piece, s, s + 1);
    input_tile<TAPS>(g.dstate_in + (b * (K - 1) + s + K - 1) * D, windows, conv, 1);
  }
}

// state_out[j] = input(T-(K-1)+j), or zero where a reset came after it
void add_state_gradient(const ConvGradients &g, const Conv &conv) {
  const int64_t D = conv.D, K = conv.K, T = conv.T;
  for (int64_t b = 0; b < conv.B; b++) {
    for (int64_t j = 0; j < K - 1; j++) {
      const int64_t s = T - (K - 1) + j;
      float *state = g.dstate_in ? g.dstate_in + (b * (K - 1) + s + K - 1) * D : nullptr;
      float *out = s >= 0 ? g.dx + (b * T + s) * D : state;
      if (!out || conv.hidden(b, s, T - 1)) continue;
      const float *from = g.dstate_out + (b * (K - 1) + j) * D;
      for_lanes(0, D, [=](int64_t d, auto lanes) { lanes.store(out + d, lanes.load(out + d) + lanes.load(from + d)); });
    }
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_conv1d_backward)(float *dx, float *dweight, float *dbias, float *dstate_in, const float *dy,
                                             const float *dstate_out, const float *x, const float *weight,
                                             const float *bias, const float *state_in, const uint8_t *reset, int64_t B,
                                             int64_t T, int64_t D, int64_t K, int32_t activation) {
  if (int status = check_conv("conv1d_backward", K, activation)) return status;
  if (B <= 0 || D <= 0) return XL_OK;
  const int64_t steps = steps_per_task(D), pieces = ceil_div(T, steps), stride = (K + 1) * D;
  const RowBlocks blocks = row_blocks(B * pieces, 1);
  const int64_t dsum_floats = (steps + K - 1) * D;
  const float *taps = prepare(weight, D, K);
  float *partials = xl::shared_scratch(max_of(blocks.count, 1) * stride, 1);
  bool ready = taps && partials;
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, dsum_floats + stride);
  if (!ready) return out_of_scratch("conv1d_backward", blocks.count * stride);
  const Conv conv = {x, taps, taps + K * D, bias, state_in, reset, B, T, D, K};
  const ConvGradients gradients = {dx, dstate_in, dy, dstate_out};
  with_variant(activation, K, [&](auto tag, auto known_taps) {
    parallel_for(blocks.count, [&](int64_t block, int worker) {
      float *partial = partials + block * stride, *dsum = xl::scratch(worker, dsum_floats + stride);
      float *rest = dsum + dsum_floats;
      for_lanes(0, stride, [=](int64_t d, auto lanes) {
        lanes.store(partial + d, vf{});
        lanes.store(rest + d, vf{});
      });
      for (int64_t piece = blocks.begin(block); piece < blocks.end(block); piece++) {
        const int64_t begin = (piece % pieces) * steps;
        backward_piece<known_taps.value, tag.value>(gradients, dsum, {partial, partial + K * D}, {rest, rest + K * D},
                                                    conv, piece / pieces, begin, min_of(T, begin + steps));
      }
    });
  });
  if (dstate_out) add_state_gradient(gradients, conv);
  if (blocks.count == 0) return XL_OK;
  if (blocks.count > 1) add_partials(partials, partials + stride, blocks.count - 1, stride, stride);
  for (int64_t d = 0; d < D; d++) {
    for (int64_t j = 0; j < K; j++) dweight[d * K + j] += partials[j * D + d];
    if (dbias) dbias[d] += partials[K * D + d];
  }
  return XL_OK;
}
