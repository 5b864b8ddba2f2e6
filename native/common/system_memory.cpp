// Aligned memory from the operating system.
#include "system_memory.h"

#include <cstdlib>
#if defined(_WIN32)
#include <malloc.h>
#elif defined(__linux__)
#include <sys/mman.h>
#endif

namespace xl {
namespace {
constexpr int64_t small_alignment = 64;
constexpr int64_t huge_page = int64_t(2) << 20;
}  // namespace

void *system_alloc(int64_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc(size_t(bytes), size_t(small_alignment));
#else
  const bool large = bytes >= huge_page;
  void *address = nullptr;
  if (posix_memalign(&address, size_t(large ? huge_page : small_alignment), size_t(bytes)) != 0) return nullptr;
#if defined(__linux__)
  if (large) madvise(address, size_t(bytes), MADV_HUGEPAGE);  // a wish; without it only the speed differs
#endif
  return address;
#endif
}

void system_free(void *address, int64_t) {
#if defined(_WIN32)
  _aligned_free(address);
#else
  free(address);
#endif
}

}  // namespace xl
