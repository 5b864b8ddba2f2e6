// Positions within documents, and the ring of keys or values that attention carries from call to call.
#include "reduce.h"

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_positions)(int32_t *y, float *position_out, const float *position_in, const uint8_t *reset,
                                       int64_t B, int64_t T) {
  for (int64_t b = 0; b < B; b++) {
    const float before = position_in ? position_in[b] : 0;
    if (!(before >= 0 && before <= 16777216))
      return xl::fail(XL_INVALID, "positions: position %g of sequence %lld lies outside of 0..2^24", double(before),
                      (long long)b);
    int32_t position = int32_t(before);
    for (int64_t t = 0; t < T; t++) {
      if (reset && reset[b * T + t]) position = 0;
      y[b * T + t] = position++;
    }
    if (position_out) position_out[b] = float(position);
  }
  return XL_OK;
}

namespace {

// The steps of a sequence that stay in its ring: begin .. T-1, and whether what was in the ring goes on.
struct Ring {
  int64_t start;  // the step of position 0
  int64_t begin, T, window;
  bool goes_on;

  Ring(const int32_t *positions, int64_t b, int64_t steps, int64_t W) : T(steps), window(W) {
    start = T > 0 ? T - 1 - positions[b * T + T - 1] : -1;
    begin = max_of(max_of(0, start), T - W);
    goes_on = start < 0;
  }
  int64_t slot(int64_t t) const { return (t - start) % window; }
  // Whether a step of this call lies in the slot.
  bool holds(int64_t at) const {
    const int64_t written = T - begin;
    return written > 0 && (at - slot(begin) + window) % window < written;
  }
};

int check_ring(const char *name, int64_t B, int64_t T, int64_t W, int64_t R) {
  if (B >= 0 && T >= 0 && W >= 1 && R >= 1) return XL_OK;
  return xl::fail(XL_INVALID, "%s: B and T must not be negative and W, R be positive, got B=%lld T=%lld W=%lld R=%lld",
                  name, (long long)B, (long long)T, (long long)W, (long long)R);
}

// Slots that go to one task: about 64 KB.
int64_t slots_of(int64_t R) { return max_of(1, 16384 / R); }

}  // namespace

extern "C" int XL_KERNEL(xl_attention_cache)(float *k_out, const float *k_in, const float *k, const int32_t *positions,
                                             int64_t B, int64_t T, int64_t W, int64_t R) {
  if (int status = check_ring("attention_cache", B, T, W, R)) return status;
  const int64_t grain = slots_of(R), pieces = ceil_div(W, grain);
  parallel_for(B * pieces, [=](int64_t task, int) {
    const int64_t b = task / pieces, first = task % pieces * grain, last = min_of(W, first + grain);
    const Ring ring(positions, b, T, W);
    float *out = k_out + (b * W + first) * R;
    if (!ring.goes_on || !k_in) {
      __builtin_memset(out, 0, size_t((last - first) * R) * sizeof(float));
    } else if (k_out != k_in) {
      __builtin_memcpy(out, k_in + (b * W + first) * R, size_t((last - first) * R) * sizeof(float));
    }
    for (int64_t t = ring.begin; t < T; t++) {
      const int64_t slot = ring.slot(t);
      if (slot >= first && slot < last)
        __builtin_memcpy(k_out + (b * W + slot) * R, k + (b * T + t) * R, size_t(R) * sizeof(float));
    }
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_attention_cache_backward)(float *dk, float *dk_in, const float *dk_out,
                                                      const int32_t *positions, int64_t B, int64_t T, int64_t W,
                                                      int64_t R) {
  if (int status = check_ring("attention_cache_backward", B, T, W, R)) return status;
  auto add = [=](float *to, const float *from) {
    for_lanes(0, R, [=](int64_t d, auto lanes) { lanes.store(to + d, lanes.load(to + d) + lanes.load(from + d)); });
  };
  if (dk)
    parallel_range(B * T, slots_of(R), [=](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; row++) {
        const int64_t b = row / T, t = row % T;
        const Ring ring(positions, b, T, W);
        if (t >= ring.begin) add(dk + row * R, dk_out + (b * W + ring.slot(t)) * R);
      }
    });
  if (dk_in)
    parallel_range(B * W, slots_of(R), [=](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; row++) {
        const Ring ring(positions, row / W, T, W);
        if (ring.goes_on && !ring.holds(row % W)) add(dk_in + row * R, dk_out + row * R);
      }
    });
  return XL_OK;
}
