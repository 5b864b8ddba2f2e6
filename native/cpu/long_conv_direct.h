// The long convolution of a document that sees few taps, by sums, and the gradient of the filter. Rows are copied to
// memory that lies together first: rows of a wide tensor would all fall into the same few sets of the cache.
#ifndef XL_CPU_LONG_CONV_DIRECT_H
#define XL_CPU_LONG_CONV_DIRECT_H
#include "lanes.h"

namespace XL_NS {
namespace {

// Up to this many taps that a document sees, sums are faster than transforms.
constexpr int64_t most_direct_taps = 64;
constexpr int64_t direct_segment = 192;  // steps that are worked on between two copies
constexpr int64_t direct_tile = 8;       // sums that are held in registers
// Working space: a copy of the first taps, and rows of two tensors.
constexpr int64_t direct_floats = (most_direct_taps + 2 * (direct_segment + most_direct_taps)) * W;

// W channels of a document's rows, `stride` floats apart.
struct Channels {
  const float *first;
  int64_t stride, length;
};

// A copy of the rows from `begin` on.
struct Window {
  float *rows;
  int64_t begin;

  const float *row(int64_t t) const { return rows + (t - begin) * W; }
};

template <class Lanes>
Window copy_rows(float *memory, const Channels &x, int64_t begin, int64_t end, Lanes lanes) {
  begin = max_of(0, begin);
  end = min_of(x.length, end);
  for (int64_t t = begin; t < end; t++) store(memory + (t - begin) * W, lanes.load(x.first + t * x.stride));
  return {memory, begin};
}

// What the taps of steps begin..end-1 read: rows before them, or after them when AHEAD.
template <bool AHEAD, class Lanes>
Window copy_seen(float *memory, const Channels &x, int64_t begin, int64_t end, int64_t taps, Lanes lanes) {
  if (AHEAD) return copy_rows(memory, x, begin, end + taps - 1, lanes);
  return copy_rows(memory, x, begin - taps + 1, end, lanes);
}

// Sums that stay in registers: nothing may take their address.
struct Tile {
  vf a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{};

  // Sum i += factor * the vector at rows + i * stride.
  XL_INLINE void add(vf factor, const float *rows, int64_t stride) {
    a += factor * load(rows);
    b += factor * load(rows + stride);
    c += factor * load(rows + 2 * stride);
    d += factor * load(rows + 3 * stride);
    e += factor * load(rows + 4 * stride);
    f += factor * load(rows + 5 * stride);
    g += factor * load(rows + 6 * stride);
    h += factor * load(rows + 7 * stride);
  }
  XL_INLINE void take(vf (&sums)[direct_tile]) const {
    const vf all[direct_tile] = {a, b, c, d, e, f, g, h};
    for (int64_t i = 0; i < direct_tile; i++) sums[i] = all[i];
  }
};

// put(t, sum over j < taps of kernel[j] x[t - j]), or of x[t + j] when AHEAD, for all steps. kernel is [taps][W].
template <bool AHEAD, class Lanes, class Put>
void direct_sums(float *memory, const float *kernel, int64_t taps, const Channels &x, Lanes lanes, const Put &put) {
  constexpr int64_t sign = AHEAD ? 1 : -1;
  for (int64_t begin = 0; begin < x.length; begin += direct_segment) {
    const int64_t end = min_of(x.length, begin + direct_segment);
    const Window window = copy_seen<AHEAD>(memory, x, begin, end, taps, lanes);
    for (int64_t t = begin; t < end; t += direct_tile) {
      const int64_t outputs = min_of(direct_tile, end - t);
      // Taps that every output of a whole tile has; each output then adds those that only it has.
      const int64_t shared = outputs < direct_tile ? 0 : min_of(taps, AHEAD ? x.length - (t + outputs - 1) : t + 1);
      Tile sum;
      for (int64_t j = 0; j < shared; j++) sum.add(load(kernel + j * W), window.row(t + sign * j), W);
      vf sums[direct_tile];
      sum.take(sums);
      for (int64_t i = 0; i < outputs; i++) {
        const int64_t own = min_of(taps, AHEAD ? x.length - (t + i) : t + i + 1);
        for (int64_t j = shared; j < own; j++) sums[i] += load(kernel + j * W) * load(window.row(t + i + sign * j));
        put(t + i, sums[i]);
      }
    }
  }
}

// dkernel[j] += sum over t of dy[t] x[t - j], or of x[t + j] when AHEAD, for j < taps. dkernel is [taps][W].
template <bool AHEAD, class Lanes>
void direct_filter_gradient(float *memory, float *dkernel, int64_t taps, const Channels &dy, const Channels &x,
                            Lanes lanes) {
  constexpr int64_t sign = AHEAD ? 1 : -1;
  float *gradients = memory + (direct_segment + most_direct_taps) * W;
  for (int64_t begin = 0; begin < x.length; begin += direct_segment) {
    const int64_t end = min_of(x.length, begin + direct_segment);
    const Window window = copy_seen<AHEAD>(memory, x, begin, end, taps, lanes);
    const Window dys = copy_rows(gradients, dy, begin, end, lanes);
    for (int64_t j = 0; j < taps; j += direct_tile) {
      const int64_t count = min_of(direct_tile, taps - j), last = j + count - 1;
      // Steps that all taps of a whole tile have; each tap then adds those that only it has.
      const int64_t from = AHEAD ? begin : max_of(begin, min_of(end, last));
      const int64_t to = count < direct_tile ? from : max_of(from, AHEAD ? min_of(end, x.length - last) : end);
      Tile sum;
      for (int64_t t = from; t < to; t++) sum.add(load(dys.row(t)), window.row(t + sign * j), sign * W);
      vf sums[direct_tile];
      sum.take(sums);
      for (int64_t i = 0; i < count; i++) {
        const auto add = [&](int64_t t) { sums[i] += load(dys.row(t)) * load(window.row(t + sign * (j + i))); };
        for (int64_t t = AHEAD ? begin : max_of(begin, j + i); t < from; t++) add(t);
        for (int64_t t = to; t < (AHEAD ? min_of(end, x.length - (j + i)) : end); t++) add(t);
        store(dkernel + (j + i) * W, load(dkernel + (j + i) * W) + sums[i]);
      }
    }
  }
}

}  // namespace
}  // namespace XL_NS
#endif
