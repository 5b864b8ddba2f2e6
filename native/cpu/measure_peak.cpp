// What the machine can do at most with the instruction set in use: multiply-adds from registers, and reading memory.
// Kernels are measured against it.
#include <chrono>
#if defined(__linux__)
#include <unistd.h>
#endif

#include "kernel.h"
#include "streams.h"
#include "system_memory.h"

namespace XL_NS {
namespace {

// Independent sums: enough for the latency of an fma, few enough to stay in registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int SUMS = 24;
#else
constexpr int SUMS = 12;
#endif
constexpr int64_t ROUNDS = 4096;  // some 10 us
constexpr int STREAMS = 8;
constexpr int64_t SLICE_BYTES = int64_t(4) << 20;

// Far more than caches hold: four times the last one, which can be hundreds of megabytes.
int64_t buffer_bytes() {
  constexpr int64_t LEAST = int64_t(256) << 20, MOST = int64_t(1) << 30;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  return max_of(LEAST, min_of(MOST, 4 * int64_t(sysconf(_SC_LEVEL3_CACHE_SIZE)) / SLICE_BYTES * SLICE_BYTES));
#else
  return LEAST;
#endif
}

double now() {
  using namespace std::chrono;
  return double(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count()) * 1e-9;
}

// A value that the compiler cannot know.
float opaque(float x) {
  volatile float y = x;
  return y;
}

// Multiply-adds of `rounds` rounds; each depends on the one before through its factor, so that none can be left out.
float multiply_add(int64_t rounds) {
  vf sum[SUMS];
  for (int i = 0; i < SUMS; i++) sum[i] = splat(opaque(float(i)));
  const vf factor = splat(opaque(0.999f)), term = splat(opaque(0.001f));
  for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * factor + term;
  for (int i = 1; i < SUMS; i++) sum[0] += sum[i];
  return hsum(sum[0]);
}

// Streams of some bytes side by side, each line asked for twice (streams.h). Pages are best on Xeons, where hardware
// follows one stream in each and waits anew where a page begins: up to 1.3 times as fast as a loop from front to back.
// Longer streams are best on an EPYC (Zen 4): 1.2 times as fast as pages.
template <int64_t BYTES>
float read_all(const float *x, int64_t floats) {
  constexpr int64_t LENGTH = BYTES / int64_t(sizeof(float));
  vf sum[STREAMS] = {};
  for (int64_t first = 0; first < floats; first += STREAMS * LENGTH)
    for (int64_t i = first; i < first + LENGTH; i += LINE_FLOATS) {
      prefetch_streams<STREAMS>(x + first, i - first, LENGTH, LENGTH);
#pragma GCC unroll 4
      for (int64_t j = i; j < i + LINE_FLOATS; j += W)
#pragma GCC unroll 8
        for (int s = 0; s < STREAMS; s++) sum[s] += load(x + j + s * LENGTH);
    }
  for (int s = 1; s < STREAMS; s++) sum[0] += sum[s];
  return hsum(sum[0]);
}

struct Rates {
  double best, overall;
};

// Runs body() again and again for `seconds`: the best rate of `amount` per call, and that of all calls together.
template <class Body>
Rates rates_of(double seconds, double amount, const Body &body) {
  const double start = now();
  double best = 0, all = 0, begin = start;
  while (begin < start + seconds) {
    opaque(body());
    const double after = now();
    if (amount / (after - begin) > best) best = amount / (after - begin);
    all += amount;
    begin = after;
  }
  return {best, all / (begin - start)};
}

// Task after task on its own thread, all at once: none begins before all have been taken up.
template <class Body>
void on_each_thread(int threads, const Body &body) {
  int waiting = threads;
  parallel_for(threads, [&](int64_t task, int) {
    __atomic_sub_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) > 0) {
    }
    body(task);
  });
}

}  // namespace
}  // namespace XL_NS

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_measure_peak)(double *flops_and_bandwidth, int32_t threads, double seconds) {
  const int available = xl::threads();
  if (threads < 0 || threads > available)
    return xl::fail(XL_INVALID, "measure_peak: threads must be 0 (all) to %d, got %d", available, (int)threads);
  if (!(seconds > 0 && seconds <= 60))
    return xl::fail(XL_INVALID, "measure_peak: seconds must be above 0 and at most 60, got %g", seconds);
  const int count = threads == 0 ? available : threads;
  const int64_t buffer_size = buffer_bytes();
  auto *buffer = static_cast<float *>(xl::system_alloc(buffer_size));
  auto *rates = reinterpret_cast<double *>(xl::shared_scratch(4 * int64_t(count)));
  if (!buffer || !rates) {
    if (buffer) xl::system_free(buffer, buffer_size);
    return xl::fail(XL_OUT_OF_MEMORY, "measure_peak: no memory for %lld MB", (long long)(buffer_size >> 20));
  }

  on_each_thread(count, [&](int64_t task) {
    rates[task] = rates_of(seconds / 2, 2.0 * ROUNDS * SUMS * W, [] { return multiply_add(ROUNDS); }).best;
  });
  // Of all passes, since what it is compared with takes its time as well: on a machine that others use, single megabytes
  // can be a quarter faster for a moment, and single passes too.
  const int64_t slices = buffer_size / SLICE_BYTES, share = slices / count > 0 ? slices / count : 1;
  const int64_t bytes = share * SLICE_BYTES, floats = bytes / int64_t(sizeof(float));
  on_each_thread(count, [&](int64_t task) {
    float *own = buffer + task % slices * floats;
    for (int64_t i = 0; i < floats; i += W) store(own + i, splat(1.0f));
    const Rates pages = rates_of(seconds / 4, double(bytes), [&] { return read_all<4096>(own, floats); });
    const Rates longer = rates_of(seconds / 4, double(bytes), [&] { return read_all<STREAM_BYTES>(own, floats); });
    rates[count + task] = pages.overall > longer.overall ? pages.overall : longer.overall;
  });
  flops_and_bandwidth[0] = flops_and_bandwidth[1] = 0;
  for (int task = 0; task < count; task++) {
    flops_and_bandwidth[0] += rates[task];
    flops_and_bandwidth[1] += rates[count + task];
  }
  xl::system_free(buffer, buffer_size);
  return XL_OK;
}
