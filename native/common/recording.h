// Kernels recorded once and run again with one call, which spares a decoding step its several hundred calls from
// JavaScript; or collected and run once, so that no JavaScript runs between them: after a long kernel its code and data
// have left the caches, and the pool falls asleep meanwhile. A thread records what it itself enqueues; other threads run
// kernels meanwhile.
#ifndef XL_COMMON_RECORDING_H
#define XL_COMMON_RECORDING_H
#include <cstdint>
#include <functional>

#include "products.h"

namespace xl {

// Whether this thread records or collects.
bool is_recording();

// Adds a kernel with its arguments. It is run under the lock of kernels, with tiny floats flushed, and settles zeros.
void record(std::function<int()> kernel);

// Adds a call (of products.h), to the kernel before it where that is of calls that this one may run beside.
template <class Call>
void record_beside(const Call &call, RunSideBySide<Call> run);

// Memory of `bytes`, a size class, that was freed in this recording; NULL: none.
void *take_recorded(int64_t bytes);

// Keeps freed memory for this recording, whose kernels use it, until it is destroyed.
void keep_recorded(void *block, int64_t bytes);

// Runs what this thread has collected so far. @returns the status of the first kernel that fails, or that this thread
// records: then nothing can be read.
int run_collected(const char *what);

// Gives memory of a size class back to the pool (memory.cpp).
void give_back(void *block, int64_t bytes);

}  // namespace xl
#endif
