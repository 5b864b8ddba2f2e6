// Dropout: element n is kept iff word n of the Philox stream, as a fraction of 2^32, is at least `rate`.
#include "lanes.h"
#include "philox.h"

using namespace XL_NS;

namespace {

int check_rate(const char *kernel, double rate) {
  if (rate >= 0 && rate < 1) return XL_OK;
  return xl::fail(XL_INVALID, "%s: rate must be at least 0 and below 1, got %g", kernel, rate);
}

// body(n, kept, lanes): the mask of the kept elements for W elements from n on.
template <class Body>
void for_kept(int64_t N, double rate, uint32_t key0, uint32_t key1, const Body &body) {
  // word / 2^32 >= rate, exactly: the smallest word that is kept
  const uint32_t least = uint32_t(__builtin_fmin(__builtin_ceil(rate * 4294967296.0), 4294967295.0));
  parallel_range(N, compute_grain, [=](int64_t begin, int64_t end, int) {
    int64_t n = begin;
    for (; n < end; n += 4 * W) {
      const RandomWords random = philox(n / 4, key0, key1);
      for (int part = 0; part < 4; part++) {
        const int64_t at = n + part * W;
        const vi kept = (vi)(random.words[part] >= least);
        if (at + W <= end) {
          body(at, kept, AllLanes{});
        } else if (at < end) {
          body(at, kept, SomeLanes{end - at});
        }
      }
    }
  });
}

}  // namespace

extern "C" int XL_KERNEL(xl_dropout_forward)(float *y, const float *x, int64_t N, double rate, uint32_t key0,
                                             uint32_t key1) {
  if (int status = check_rate("dropout_forward", rate)) return status;
  const float scale = static_cast<float>(1 / (1 - rate));
  for_kept(N, rate, key0, key1,
           [=](int64_t n, vi kept, auto lanes) { lanes.store(y + n, select(kept, lanes.load(x + n) * scale, vf{})); });
  return XL_OK;
}

// y = kept ? x / (1 - rate) : 0
extern "C" int XL_KERNEL(xl_dropout_backward)(float *dx, const float *dy, int64_t N, double rate, uint32_t key0,
                                              uint32_t key1) {
  if (int status = check_rate("dropout_backward", rate)) return status;
  const float scale = static_cast<float>(1 / (1 - rate));
  for_kept(N, rate, key0, key1, [=](int64_t n, vi kept, auto lanes) {
    lanes.store(dx + n, lanes.load(dx + n) + select(kept, lanes.load(dy + n) * scale, vf{}));
  });
  return XL_OK;
}
