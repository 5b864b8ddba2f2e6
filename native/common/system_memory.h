// Aligned memory from the operating system. The pool that reuses it is memory.cpp.
#ifndef XL_COMMON_SYSTEM_MEMORY_H
#define XL_COMMON_SYSTEM_MEMORY_H
#include <cstdint>

namespace xl {

// 64-byte aligned (2 MB aligned and in huge pages where the system has them, from 2 MB on); NULL when exhausted.
void *system_alloc(int64_t bytes);
void system_free(void *address, int64_t bytes);

}  // namespace xl
#endif
