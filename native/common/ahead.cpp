// What comes next and who asked for how much of it: ahead.h.
#include "ahead.h"

#include <algorithm>
#include <atomic>

namespace xl {
namespace {

constexpr int64_t line = 64;
constexpr int64_t lines_at_once = 8;
// Of the second cache, which holds what a kernel works with as well.
constexpr int64_t most_bytes = 256 << 10;

// Fields are read while they are written: then a thread asks for lines that nobody needs, once.
struct alignas(64) Announced {
  std::atomic<const char *> begin{nullptr};
  std::atomic<int64_t> bytes{0};
  std::atomic<uint64_t> number{0};
};

Announced announced[most_spans];
uint64_t announcements = 0;
thread_local Starts *kept = nullptr;

// Of the thread: what it asks for, and how far it has come.
struct Asked {
  uint64_t number = 0;
  const char *at = nullptr, *end = nullptr;
};
thread_local Asked asked;

}  // namespace

void keep_starts(Starts *starts) {
  kept = starts;
  if (starts) starts->clear();
}

bool keeps_starts() { return kept != nullptr; }

void note_start(int worker, Stretch stretch) {
  if (int(kept->size()) <= worker) kept->resize(size_t(worker) + 1);
  (*kept)[size_t(worker)] = stretch;
}

void announce(const Starts &starts) {
  announcements++;
  for (size_t worker = 0; worker < starts.size(); worker++) {
    const Stretch &own = starts[worker];
    Announced &to = announced[worker];
    to.begin.store(static_cast<const char *>(own.begin), std::memory_order_relaxed);
    to.bytes.store(std::min(own.bytes, most_bytes), std::memory_order_relaxed);
    to.number.store(announcements, std::memory_order_release);
  }
}

bool ask_ahead(int worker) {
  if (worker >= most_spans) return false;
  const Announced &from = announced[worker];
  if (const uint64_t number = from.number.load(std::memory_order_acquire); number != asked.number) {
    asked.number = number;
    asked.at = from.begin.load(std::memory_order_relaxed);
    asked.end = asked.at + from.bytes.load(std::memory_order_relaxed);
  }
  if (asked.at >= asked.end) return false;
  for (int64_t i = 0; i < lines_at_once; i++, asked.at += line) __builtin_prefetch(asked.at, 0, 2);
  return true;
}

}  // namespace xl
