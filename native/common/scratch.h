// Working memory of kernels, kept from call to call so that a kernel never waits for the allocator.
#ifndef XL_COMMON_SCRATCH_H
#define XL_COMMON_SCRATCH_H
#include <cstdint>

namespace xl {

constexpr int scratch_slots = 16;

// At least `floats` floats, 64-byte aligned, contents unspecified; they belong to (worker, slot) and stay valid until
// the same pair is asked for more. NULL when memory is exhausted: the kernel then returns fail(XL_OUT_OF_MEMORY, ...).
// May be called inside a task with its own worker number, or outside of parallel() with any.
float *scratch(int worker, int64_t floats, int slot = 0);

// The same for a buffer that belongs to the kernel as a whole (partial sums of a deterministic reduction).
// Only outside of parallel().
float *shared_scratch(int64_t floats, int slot = 0);

// Gives all of it back to the system; only between kernels.
void free_scratch();

}  // namespace xl
#endif
