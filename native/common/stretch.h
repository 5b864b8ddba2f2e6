// Where threads begin to read, as kernels tell it to a recording (ahead.h).
#ifndef XL_COMMON_STRETCH_H
#define XL_COMMON_STRETCH_H
#include <cstdint>

namespace xl {

constexpr int most_spans = 64;  // parts of threads in one kernel

struct Stretch {
  const void *begin = nullptr;
  int64_t bytes = 0;
};

// Whether anybody wants to know of the kernel that this thread runs.
bool keeps_starts();

// The part of `worker`, below most_spans, begins there in that kernel. Only if keeps_starts().
void note_start(int worker, Stretch stretch);

}  // namespace xl
#endif
