// Device memory of the CPU: blocks by size class, kept for reuse when freed, because a training step frees and asks
// for the same sizes over and over. Copies to and from it.
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "lock.h"
#include "recording.h"
#include "scratch.h"
#include "status.h"
#include "system_memory.h"
#include "zeros.h"
#include "xl.h"

namespace xl {
namespace {

// Sizes in steps of an eighth of their power of two: at most 1/8 of a block is unused.
constexpr int classes = 64 * 8;
constexpr int64_t largest = int64_t(1) << 50;

struct FreeBlock {
  FreeBlock *next;
};

struct SizeClass {
  int index;
  int64_t bytes;
};

std::mutex mutex;
FreeBlock *free_lists[classes];
int64_t in_use = 0;
int64_t kept = 0;

SizeClass size_class(int64_t bytes) {
  if (bytes < 512) bytes = 512;
  // 8 * 2^shift <= rounded size <= 16 * 2^shift
  int shift = 63 - __builtin_clzll(uint64_t(bytes)) - 3;
  int64_t eighths = (bytes + (int64_t(1) << shift) - 1) >> shift;  // 8..16
  if (eighths == 16) {
    shift++;
    eighths = 8;
  }
  return {shift * 8 + int(eighths - 8), eighths << shift};
}

void trim_locked() {
  for (int index = 0; index < classes; index++) {
    int64_t bytes = (int64_t(8) + index % 8) << (index / 8);
    while (FreeBlock *block = free_lists[index]) {
      free_lists[index] = block->next;
      system_free(block, bytes);
      kept -= bytes;
    }
  }
}

int out_of_memory(int64_t bytes) {
  return fail(XL_OUT_OF_MEMORY,
              "alloc: out of memory: asked for %.1f MB while %.1f MB are held; use a smaller batch or a shorter "
              "context, or free what is no longer needed",
              double(bytes) / 1e6, double(in_use) / 1e6);
}

}  // namespace
}  // namespace xl

using namespace xl;

void xl::give_back(void *freed, int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  const SizeClass size = size_class(bytes);
  auto *block = static_cast<FreeBlock *>(freed);
  block->next = free_lists[size.index];
  free_lists[size.index] = block;
  kept += size.bytes;
  in_use -= size.bytes;
}

extern "C" int xl_alloc(double *address, int64_t bytes) {
  if (bytes < 0) return fail(XL_INVALID, "alloc: bytes must not be negative, got %lld", (long long)bytes);
  std::lock_guard<std::mutex> lock(mutex);
  if (bytes > largest) return out_of_memory(bytes);
  SizeClass size = size_class(bytes);
  if (void *recorded = is_recording() ? take_recorded(size.bytes) : nullptr) {
    *address = double(reinterpret_cast<uintptr_t>(recorded));
    return XL_OK;
  }
  void *block = free_lists[size.index];
  if (block) {
    free_lists[size.index] = static_cast<FreeBlock *>(block)->next;
    kept -= size.bytes;
  } else {
    block = system_alloc(size.bytes);
    if (!block) {
      trim_locked();
      block = system_alloc(size.bytes);
    }
    if (!block) return out_of_memory(bytes);
  }
  in_use += size.bytes;
  *address = double(reinterpret_cast<uintptr_t>(block));  // exact: user addresses have less than 53 bits
  return XL_OK;
}

extern "C" int xl_free(uintptr_t address, int64_t bytes) {
  if (address == 0) return XL_OK;
  if (bytes < 0 || bytes > largest) return fail(XL_INVALID, "free: impossible size %lld", (long long)bytes);
  auto *block = reinterpret_cast<void *>(address);
  if (is_recording()) {
    keep_recorded(block, size_class(bytes).bytes);
    return XL_OK;
  }
  settle_for_host();
  give_back(block, bytes);
  return XL_OK;
}

extern "C" int xl_trim(void) {
  KernelLock kernel_lock;  // scratch is in use while a kernel runs
  std::lock_guard<std::mutex> lock(mutex);
  trim_locked();
  free_scratch();
  return XL_OK;
}

extern "C" int xl_write(uintptr_t destination, const void *source, int64_t bytes) {
  if (bytes < 0) return fail(XL_INVALID, "write: bytes must not be negative, got %lld", (long long)bytes);
  auto *to = reinterpret_cast<char *>(destination);
  const auto *from = static_cast<const char *>(source);
  if (is_recording()) {
    const auto copy = std::make_shared<const std::vector<char>>(from, from + bytes);
    record([=] {
      settle_zeros();
      if (bytes > 0) std::memcpy(to, copy->data(), size_t(bytes));
      return XL_OK;
    });
    return XL_OK;
  }
  settle_for_host();
  if (bytes > 0) std::memcpy(to, from, size_t(bytes));
  return XL_OK;
}

extern "C" int xl_read(void *destination, uintptr_t source, int64_t bytes) {
  if (int status = run_collected("read")) return status;
  settle_for_host();
  if (bytes < 0) return fail(XL_INVALID, "read: bytes must not be negative, got %lld", (long long)bytes);
  if (bytes > 0) std::memcpy(destination, reinterpret_cast<const void *>(source), size_t(bytes));
  return XL_OK;
}
