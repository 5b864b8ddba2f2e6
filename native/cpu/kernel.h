// What each kernel file includes. It is compiled once per instruction set, so everything here has internal linkage:
// an inline function with external linkage would be merged by the linker across instruction sets, and baseline code
// would then run AVX-512 instructions.
//
//   #include "kernel.h"
//   using namespace XL_NS;
//   extern "C" int XL_KERNEL(xl_add)(float *y, const float *a, const float *b, int64_t N) { ...; return XL_OK; }
//
// Helpers go in an anonymous namespace; what several files share goes in `namespace XL_NS`.
#ifndef XL_CPU_KERNEL_H
#define XL_CPU_KERNEL_H
#include <stddef.h>
#include <stdint.h>

#define XL_CONCAT_(a, b) a##_##b
#define XL_CONCAT(a, b) XL_CONCAT_(a, b)
// XL_ISA is base, v3, v4 or arm (from the build): xl_add -> xl_add_v4, namespace xl_v4.
#define XL_KERNEL(name) XL_CONCAT(name, XL_ISA)
#define XL_NS XL_CONCAT(xl, XL_ISA)

#include "generated/kernels.h"  // the prototypes of xl.h under their XL_KERNEL names
#include "pool.h"
#include "scratch.h"
#include "status.h"
#include "stretch.h"
#include "vec.h"
#include "xl.h"

namespace XL_NS {
namespace {

inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int64_t LINE_FLOATS = 64 / int64_t(sizeof(float));  // of a cache line

// parallel_for(tasks, [&](int64_t task, int worker) { ... }): see native/common/pool.h.
template <class Body>
inline void parallel_for(int64_t tasks, const Body &body) {
  xl::parallel(
      tasks, [](void *context, int64_t task, int worker) { (*static_cast<const Body *>(context))(task, worker); },
      const_cast<Body *>(&body));
}

// Cuts 0..N-1 into pieces of `grain` (the last may be shorter) and runs body(begin, end, worker) on each.
template <class Body>
inline void parallel_range(int64_t N, int64_t grain, const Body &body) {
  if (grain < 1) grain = 1;
  parallel_for((N + grain - 1) / grain, [&](int64_t task, int worker) {
    int64_t begin = task * grain;
    int64_t end = begin + grain < N ? begin + grain : N;
    body(begin, end, worker);
  });
}

// Tasks 0..tasks-1 for threads that take such as follow each other. body(next, worker) runs once on each thread: next() is
// the task it shall do, until it is negative. Who has none left helps the others, task by task. begins(i, task) is told
// first where thread i begins.
template <class Body, class Begins>
inline void parallel_spans(int64_t tasks, const Body &body, const Begins &begins) {
  struct alignas(64) Span {
    int64_t next, end;
  };
  const int64_t count = min_of(min_of(xl::threads(), xl::most_spans), tasks);
  Span spans[xl::most_spans];
  for (int64_t i = 0; i < count; i++) {
    spans[i] = {tasks * i / count, tasks * (i + 1) / count};
    begins(int(i), spans[i].next);
  }
  parallel_for(min_of(xl::threads(), tasks), [&](int64_t, int worker) {
    int64_t at = 0;
    const auto next = [&]() -> int64_t {
      for (; at < count; at++) {
        Span &span = spans[(worker + at) % count];
        const int64_t task = __atomic_fetch_add(&span.next, 1, __ATOMIC_RELAXED);
        if (task < span.end) return task;
      }
      return -1;
    };
    body(next, worker);
  });
}

// Pieces of `grain` of 0..N-1 in such spans, for what is read from memory once: what a thread or the hardware reads ahead
// is its own. where(begin) is the memory that is read from there on: threads that have nothing to do before the kernel
// comes ask for it (stretch.h).
template <class Body, class Where>
inline void parallel_stream(int64_t N, int64_t grain, const Body &body, const Where &where) {
  if (grain < 1) grain = 1;
  const int64_t pieces = ceil_div(N, grain);
  if (min_of(xl::threads(), pieces) <= 1) return parallel_range(N, grain, body);
  const bool keeps = xl::keeps_starts();
  parallel_spans(
      pieces,
      [&](const auto &next, int worker) {
        for (int64_t piece; (piece = next()) >= 0;) body(piece * grain, min_of(piece * grain + grain, N), worker);
      },
      [&](int thread, int64_t piece) {
        if (!keeps) return;
        const xl::Stretch memory = where(piece * grain);
        if (memory.bytes > 0) xl::note_start(thread, memory);
      });
}

}  // namespace
}  // namespace XL_NS
#endif
