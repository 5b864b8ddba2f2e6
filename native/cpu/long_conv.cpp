// Long convolution over time, one filter per channel, forward and backward: documents that see more than a few dozen
// taps by Fourier transforms (fft.h), the others by direct sums. Vectors run along the channels.
//
// With the spectra X of the input, G of dy and H of the filter, a document has Y = H X, dX = conj(H) G and
// dH = conj(X) G, summed over documents; reversed, H is conjugated, so Y = conj(H) X, dX = H G, dH = X conj(G).
// Documents share a transform length in classes, and each class has one spectrum of the filter.
#include "chunks.h"
#include "fft.h"
#include "long_conv_direct.h"
#include "reduce.h"

using namespace XL_NS;

namespace {

constexpr int64_t max_classes = 48;
constexpr int64_t least_tasks = 32;
// Blocks of W channels that one task works on in turn: those that share cache lines.
constexpr int64_t blocks_per_task = W < 16 ? 16 / W : 1;

struct Document {
  int64_t row, length;  // first row b * T + t, steps
  int64_t group;
  int64_t size;  // log2 of the points of its transform, or -1 for direct sums
};

struct Plan {
  const float *kernel;
  int64_t D, K;
  bool reversed;
  Document *documents;
  int64_t count, groups;
  int64_t blocks;               // of W channels
  Fft ffts[max_classes];        // by log2 of their points; m = 0 where no document needs it
  int64_t place[max_classes];   // where a class begins among the points of all classes
  int64_t points;               // of all classes
  int64_t longest;              // of one class
  float *spectra;               // of the filter, [blocks][points], already divided by m

  int64_t taps(const Document &document) const { return min_of(K, document.length); }
  float *spectrum(int64_t block, int64_t size) const { return spectra + (block * points + place[size]) * POINT; }
};

int64_t size_of(int64_t length, int64_t K) {
  const int64_t taps = min_of(length, K);
  if (taps <= most_direct_taps) return -1;
  int64_t size = 0;
  while ((int64_t(2) << size) < length + taps - 1) size++;
  return size;
}

int64_t count_documents(const uint8_t *reset, int64_t B, int64_t T) {
  int64_t count = B;
  for (int64_t b = 0; reset && b < B; b++)
    for (int64_t t = 1; t < T; t++) count += reset[b * T + t] != 0;
  return count;
}

// Fills documents, groups (so that there are tasks enough; by sizes alone) and classes.
void list_documents(Plan &plan, const uint8_t *reset, int64_t B, int64_t T) {
  plan.groups = max_of(1, min_of(plan.count, ceil_div(least_tasks, ceil_div(plan.blocks, blocks_per_task))));
  Document *next = plan.documents;
  for (int64_t b = 0; b < B; b++) {
    for (int64_t t = 0, end; t < T; t = end) {
      end = stretch_end(reset, b, T, t, T);
      *next++ = {b * T + t, end - t, (b * T + t) * plan.groups / (B * T), size_of(end - t, plan.K)};
    }
  }
}

// The documents of a group lie together: body(document) for each.
template <class Body>
void each_document(const Plan &plan, int64_t group, const Body &body) {
  for (int64_t k = 0; k < plan.count; k++)
    if (plan.documents[k].group == group) body(plan.documents[k]);
}

// Runs body(d, lanes) for the channels of a block.
template <class Body>
void with_lanes(const Plan &plan, int64_t block, const Body &body) {
  const int64_t d = block * W;
  if (d + W <= plan.D) return body(d, AllLanes{});
  body(d, SomeLanes{plan.D - d});
}

// Scratch of the plan, its tables and the spectra of the filter. False when memory is exhausted.
bool prepare(Plan &plan, const uint8_t *reset, int64_t B, int64_t T) {
  plan.blocks = ceil_div(plan.D, W);
  plan.count = T > 0 ? count_documents(reset, B, T) : 0;
  plan.documents =
      reinterpret_cast<Document *>(xl::shared_scratch(max_of(1, plan.count) * int64_t(sizeof(Document) / 4), 0));
  if (!plan.documents) return false;
  list_documents(plan, reset, B, T);
  for (Fft &fft : plan.ffts) fft.m = 0;
  for (int64_t k = 0; k < plan.count; k++)
    if (plan.documents[k].size >= 0) plan.ffts[plan.documents[k].size].m = int64_t(1) << plan.documents[k].size;
  plan.points = plan.longest = 0;
  for (int64_t size = 0; size < max_classes; size++) {
    plan.place[size] = plan.points;
    plan.points += plan.ffts[size].m;
    plan.longest = max_of(plan.longest, plan.ffts[size].m);
  }
  if (plan.points == 0) return true;
  float *tables = xl::shared_scratch(4 * plan.points, 1);
  plan.spectra = xl::shared_scratch(plan.blocks * plan.points * POINT, 2);
  if (!tables || !plan.spectra) return false;
  for (int64_t size = 0; size < max_classes; size++)
    if (plan.ffts[size].m > 0) plan.ffts[size] = make_fft(tables + 4 * plan.place[size], plan.ffts[size].m);
  parallel_for(plan.blocks * max_classes, [&](int64_t task, int) {
    const int64_t block = task / max_classes, size = task % max_classes;
    const Fft &fft = plan.ffts[size];
    if (fft.m == 0) return;
    float *z = plan.spectrum(block, size);
    with_lanes(plan, block, [&](int64_t d, auto lanes) {
      // No document of the class is longer than m where the filter is.
      fold(fft, z, {plan.kernel + d, plan.D, min_of(plan.K, fft.m)}, lanes);
    });
    const float scale = 1 / float(fft.m);
    transform<Pass::forward>(fft, z, [=](int64_t at, int64_t n) {
      for (float *p = z + at * POINT; p < z + (at + n) * POINT; p += W) store(p, load(p) * scale);
    });
  });
  return true;
}

// z H or z conj(H), point by point.
template <bool CONJUGATE>
XL_INLINE void filter_points(float *z, const float *h, int64_t n) {
  for (int64_t k = 0; k < n * POINT; k += POINT) {
    const cf factor = load_point(h + k);
    store_point(z + k, load_point(z + k) * (CONJUGATE ? conjugate(factor) : factor));
  }
}

// put(t, the filter applied to x), reading later rows with `ahead`; kernel is [taps][W].
template <class Lanes, class Put>
void filter_direct(bool ahead, float *memory, const float *kernel, int64_t taps, const Channels &x, Lanes lanes,
                   const Put &put) {
  if (ahead) return direct_sums<true>(memory, kernel, taps, x, lanes, put);
  direct_sums<false>(memory, kernel, taps, x, lanes, put);
}

// Working space of a thread: the first taps of the filter [taps][W], windows for sums, points of some transforms.
struct Space {
  float *taps, *windows, *points;

  static int64_t floats(const Plan &plan, int64_t sequences) {
    return direct_floats + sequences * plan.longest * POINT;
  }
  explicit Space(float *memory)
      : taps(memory), windows(memory + most_direct_taps * W), points(memory + direct_floats) {}
};

// Runs body(document, block, d, lanes, space) for the documents and the channels of a task.
template <class Body>
void each_stretch(const Plan &plan, int64_t task, float *memory, const Body &body) {
  const int64_t sets = ceil_div(plan.blocks, blocks_per_task), first = task % sets * blocks_per_task;
  const Space space(memory);
  each_document(plan, task / sets, [&](const Document &document) {
    for (int64_t block = first; block < min_of(plan.blocks, first + blocks_per_task); block++)
      with_lanes(plan, block, [&](int64_t d, auto lanes) {
        if (document.size < 0)
          copy_rows(space.taps, {plan.kernel + d, plan.D, plan.taps(document)}, 0, plan.K, lanes);
        body(document, block, d, lanes, space);
      });
  });
}

int64_t count_tasks(const Plan &plan) { return plan.groups * ceil_div(plan.blocks, blocks_per_task); }

int check_long_conv(const char *kernel, int64_t K) {
  if (K < 1) return xl::fail(XL_INVALID, "%s: K must be at least 1, got %lld", kernel, (long long)K);
  return XL_OK;
}

int64_t needed(const Plan &plan) { return (plan.blocks * plan.points + 2 * plan.longest) * POINT; }

}  // namespace

extern "C" int XL_KERNEL(xl_long_conv_forward)(float *y, const float *x, const float *kernel, const float *skip,
                                               const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t K,
                                               int32_t reversed) {
  if (int status = check_long_conv("long_conv_forward", K)) return status;
  if (B <= 0 || T <= 0 || D <= 0) return XL_OK;
  Plan plan = {};
  plan.kernel = kernel, plan.D = D, plan.K = K, plan.reversed = reversed != 0;
  bool ready = prepare(plan, reset, B, T);
  const int64_t own = Space::floats(plan, 1);
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, own);
  if (!ready) return out_of_scratch("long_conv_forward", needed(plan));
  const auto stretch = [&](const Document &document, int64_t block, int64_t d, auto lanes, const Space &space) {
    const Channels in = {x + document.row * D + d, D, document.length};
    float *out = y + document.row * D + d, *z = space.points;
    const vf direct = skip ? lanes.load(skip + d) : vf{};
    const auto put = [&](int64_t t, vf sum) { lanes.store(out + t * D, sum + direct * lanes.load(in.first + t * D)); };
    if (document.size < 0)
      return filter_direct(plan.reversed, space.windows, space.taps, plan.taps(document), in, lanes, put);
    const Fft &fft = plan.ffts[document.size];
    const float *h = plan.spectrum(block, document.size);
    fold(fft, z, {in.first, D, in.length}, lanes);
    transform<Pass::both>(fft, z, [&](int64_t at, int64_t n) {
      if (plan.reversed) return filter_points<true>(z + at * POINT, h + at * POINT, n);
      filter_points<false>(z + at * POINT, h + at * POINT, n);
    });
    unfold(fft, z, document.length, put);
  };
  parallel_for(count_tasks(plan), [&](int64_t task, int worker) {
    each_stretch(plan, task, xl::scratch(worker, own), stretch);
  });
  return XL_OK;
}

namespace {

struct Gradients {
  float *dx, *dkernel, *dskip;
  const float *dy, *x, *skip;
};

// Sums of one group of documents over one block of channels: the filter's gradient as spectra of all classes and as
// the first taps, and the gradient of skip.
struct Sums {
  float *spectra, *taps, *skip;

  static int64_t floats(const Plan &plan) { return plan.points * POINT + (most_direct_taps + 1) * W; }
  Sums(const Plan &plan, float *all, int64_t group, int64_t block)
      : spectra(all + (group * plan.blocks + block) * floats(plan)),
        taps(spectra + plan.points * POINT),
        skip(taps + most_direct_taps * W) {}
};

// acc += conj(x) g, or x conj(g) when reversed.
XL_INLINE void correlate_points(float *acc, const float *x, const float *g, int64_t n, bool reversed) {
  for (int64_t k = 0; k < n * POINT; k += POINT) {
    const cf product = load_point(g + k) * conjugate(load_point(x + k));
    store_point(acc + k, load_point(acc + k) + (reversed ? conjugate(product) : product));
  }
}

// The rows of one document at one block of channels, with the offset of the first and the skip factor.
struct Stretch {
  const Document &document;
  int64_t block, d, at;
  vf skip;
};

template <class Lanes>
void backward_direct(const Plan &plan, const Gradients &g, const Sums &sums, const Space &space, const Stretch &s,
                     Lanes lanes) {
  const int64_t D = plan.D, taps = plan.taps(s.document);
  const Channels dy = {g.dy + s.at, D, s.document.length}, x = {g.x + s.at, D, s.document.length};
  if (g.dx) {
    float *dx = g.dx + s.at;
    filter_direct(!plan.reversed, space.windows, space.taps, taps, dy, lanes, [&](int64_t t, vf sum) {
      lanes.store(dx + t * D, lanes.load(dx + t * D) + (sum + s.skip * lanes.load(dy.first + t * D)));
    });
  }
  if (!g.dkernel) return;
  if (plan.reversed) return direct_filter_gradient<true>(space.windows, sums.taps, taps, dy, x, lanes);
  direct_filter_gradient<false>(space.windows, sums.taps, taps, dy, x, lanes);
}

template <class Lanes>
void backward_transformed(const Plan &plan, const Gradients &g, const Sums &sums, const Space &space, const Stretch &s,
                          Lanes lanes) {
  const int64_t D = plan.D, length = s.document.length, size = s.document.size;
  const Fft &fft = plan.ffts[size];
  float *z = space.points, *spectrum = z + plan.longest * POINT, *acc = sums.spectra + plan.place[size] * POINT;
  const float *h = plan.spectrum(s.block, size);
  if (g.dkernel) {
    fold(fft, spectrum, {g.x + s.at, D, length}, lanes);
    transform<Pass::forward>(fft, spectrum, [](int64_t, int64_t) {});
  }
  fold(fft, z, {g.dy + s.at, D, length}, lanes);
  const auto correlate = [&](int64_t from, int64_t n) {
    correlate_points(acc + from * POINT, spectrum + from * POINT, z + from * POINT, n, plan.reversed);
  };
  if (!g.dx) return transform<Pass::forward>(fft, z, correlate);
  transform<Pass::both>(fft, z, [&](int64_t from, int64_t n) {
    if (g.dkernel) correlate(from, n);
    if (plan.reversed) return filter_points<false>(z + from * POINT, h + from * POINT, n);
    filter_points<true>(z + from * POINT, h + from * POINT, n);
  });
  float *dx = g.dx + s.at;
  unfold(fft, z, length, [&](int64_t t, vf sum) {
    lanes.store(dx + t * D, lanes.load(dx + t * D) + (sum + s.skip * lanes.load(g.dy + s.at + t * D)));
  });
}

// The sum over the rows of dy x, in pieces so that rounding errors do not grow with their number.
template <class Lanes>
vf skip_gradient(const Plan &plan, const Gradients &g, const Stretch &s, Lanes lanes) {
  constexpr int64_t piece = 64;
  vf sum = {};
  for (int64_t begin = 0; begin < s.document.length; begin += piece) {
    vf part = {};
    for (int64_t t = begin; t < min_of(s.document.length, begin + piece); t++)
      part += lanes.load(g.dy + s.at + t * plan.D) * lanes.load(g.x + s.at + t * plan.D);
    sum += part;
  }
  return sum;
}

// Adds what the groups have summed to the gradients of one block of channels.
template <class Lanes>
void finish_block(const Plan &plan, const Gradients &g, float *all, int64_t block, int64_t d, Lanes lanes) {
  const int64_t D = plan.D;
  const Sums first(plan, all, 0, block);
  for (int64_t group = 1; group < plan.groups; group++) {
    const Sums other(plan, all, group, block);
    for (int64_t k = 0; k < Sums::floats(plan); k += W)
      store(first.spectra + k, load(first.spectra + k) + load(other.spectra + k));
  }
  if (g.dskip) lanes.store(g.dskip + d, lanes.load(g.dskip + d) + load(first.skip));
  if (!g.dkernel) return;
  const auto add = [&](int64_t j, vf sum) {
    float *out = g.dkernel + j * D + d;
    lanes.store(out, lanes.load(out) + sum);
  };
  for (int64_t j = 0; j < min_of(plan.K, most_direct_taps); j++) add(j, load(first.taps + j * W));
  for (int64_t size = 0; size < max_classes; size++) {
    const Fft &fft = plan.ffts[size];
    if (fft.m == 0) continue;
    float *z = first.spectra + plan.place[size] * POINT;
    transform<Pass::inverse>(fft, z, [](int64_t, int64_t) {});
    const float scale = 1 / float(fft.m);
    unfold(fft, z, min_of(plan.K, fft.m), [&](int64_t j, vf sum) { add(j, sum * scale); });
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_long_conv_backward)(float *dx, float *dkernel, float *dskip, const float *dy,
                                                const float *x, const float *kernel, const float *skip,
                                                const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t K,
                                                int32_t reversed) {
  if (int status = check_long_conv("long_conv_backward", K)) return status;
  if (B <= 0 || T <= 0 || D <= 0) return XL_OK;
  Plan plan = {};
  plan.kernel = kernel, plan.D = D, plan.K = K, plan.reversed = reversed != 0;
  bool ready = prepare(plan, reset, B, T);
  const int64_t own = Space::floats(plan, 2), each = Sums::floats(plan);
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, own);
  float *all = ready ? xl::shared_scratch(plan.groups * plan.blocks * each, 3) : nullptr;
  if (!all) return out_of_scratch("long_conv_backward", needed(plan));
  const Gradients gradients = {dx, dkernel, dskip, dy, x, skip};
  const int64_t floats = plan.groups * plan.blocks * each;
  parallel_lanes(floats, memory_grain, [=](int64_t k, auto lanes) { lanes.store(all + k, vf{}); });
  const auto stretch = [&](const Document &document, int64_t block, int64_t d, auto lanes, const Space &space) {
    const Sums sums(plan, all, document.group, block);
    const Stretch s = {document, block, d, document.row * D + d, skip ? lanes.load(skip + d) : vf{}};
    if (dskip) store(sums.skip, load(sums.skip) + skip_gradient(plan, gradients, s, lanes));
    if (document.size < 0) return backward_direct(plan, gradients, sums, space, s, lanes);
    backward_transformed(plan, gradients, sums, space, s, lanes);
  };
  parallel_for(count_tasks(plan), [&](int64_t task, int worker) {
    each_stretch(plan, task, xl::scratch(worker, own), stretch);
  });
  parallel_for(plan.blocks, [&](int64_t block, int) {
    with_lanes(plan, block, [&](int64_t d, auto lanes) { finish_block(plan, gradients, all, block, d, lanes); });
  });
  return XL_OK;
}
