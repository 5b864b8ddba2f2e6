// The recordings and collections of xl.h: lists of kernels with their arguments, and the memory that only they use.
#include "recording.h"

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>
#include <vector>

#include "ahead.h"
#include "denormals.h"
#include "lock.h"
#include "status.h"
#include "xl.h"
#include "zeros.h"

namespace xl {
namespace {

template <class Call>
using Calls = std::shared_ptr<std::vector<Call>>;

struct Kernel {
  std::function<int()> run;
  Starts starts;  // where threads began to read when it ran last; empty where it does not tell
};

struct Recording {
  std::vector<Kernel> kernels;
  std::tuple<Calls<MatmulCall>, Calls<PackedCall>> last;  // of the last kernel, if it is one of such calls
  std::map<int64_t, std::vector<void *>> freed;  // by size
  bool collects = false;

  ~Recording() {
    for (const auto &[bytes, blocks] : freed)
      for (void *block : blocks) give_back(block, bytes);
  }
};

thread_local std::unique_ptr<Recording> current;
thread_local int inner = 0;  // collections begun within it, which are part of it
std::mutex mutex;
std::set<Recording *> alive;

// Kernel by kernel, so that other threads come between them as they do between calls.
int run_once(std::vector<Kernel> &kernels) {
  int status = XL_OK;
  for (const auto &kernel : kernels) {
    KernelLock lock;
    FlushDenormals flush;
    if ((status = kernel.run())) break;
  }
  kernels.clear();
  return status;
}

// Again and again: while kernel i runs, threads that wait ask for what the next one reads that did the last time. After
// the last one comes the first one, as if it were run again.
int run_again(std::vector<Kernel> &kernels) {
  const size_t count = kernels.size();
  const auto next_reader = [&](size_t after) {
    size_t next = (after + 1) % count;
    while (next != after && kernels[next].starts.empty()) next = (next + 1) % count;
    return next;
  };
  size_t next = 0;
  int status = XL_OK;
  for (size_t i = 0; i < count && !status; i++) {
    if (i == 0 || i == next) announce(kernels[next = next_reader(i)].starts);
    keep_starts(&kernels[i].starts);
    status = kernels[i].run();
  }
  keep_starts(nullptr);
  return status;
}

}  // namespace

bool is_recording() { return current != nullptr; }

void record(std::function<int()> kernel) {
  current->last = {};
  current->kernels.push_back({std::move(kernel), {}});
}

template <class Call>
void record_beside(const Call &call, RunSideBySide<Call> run) {
  const auto &last = std::get<Calls<Call>>(current->last);
  if (last && runs_beside(last->data(), int64_t(last->size()), call)) return last->push_back(call);
  const auto calls = std::make_shared<std::vector<Call>>(1, call);
  record([calls, run] { return run(calls->data(), int64_t(calls->size())); });
  std::get<Calls<Call>>(current->last) = calls;
}

template void record_beside(const MatmulCall &call, RunSideBySide<MatmulCall> run);
template void record_beside(const PackedCall &call, RunSideBySide<PackedCall> run);

int run_collected(const char *what) {
  if (!current) return XL_OK;
  if (!current->collects) return fail(XL_INVALID, "%s: not while kernels are recorded", what);
  current->last = {};
  return run_once(current->kernels);
}

void *take_recorded(int64_t bytes) {
  auto &blocks = current->freed[bytes];
  if (blocks.empty()) return nullptr;
  void *block = blocks.back();
  blocks.pop_back();
  return block;
}

void keep_recorded(void *block, int64_t bytes) { current->freed[bytes].push_back(block); }

}  // namespace xl

using namespace xl;

extern "C" int xl_capture_begin(void) {
  if (current) return fail(XL_INVALID, "capture_begin: this thread is recording already");
  current = std::make_unique<Recording>();
  return XL_OK;
}

extern "C" int xl_capture_end(double *graph) {
  if (!current) return fail(XL_INVALID, "capture_end: this thread is not recording");
  std::lock_guard<std::mutex> lock(mutex);
  alive.insert(current.get());
  *graph = double(reinterpret_cast<uintptr_t>(current.release()));
  return XL_OK;
}

extern "C" int xl_graph_launch(uintptr_t graph) {
  auto *recording = reinterpret_cast<Recording *>(graph);
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (alive.count(recording) == 0) return fail(XL_INVALID, "graph_launch: no such graph; was it destroyed?");
  }
  if (int status = run_collected("graph_launch")) return status;
  KernelLock lock;
  FlushDenormals flush;
  return run_again(recording->kernels);
}

extern "C" int xl_graph_destroy(uintptr_t graph) {
  auto *recording = reinterpret_cast<Recording *>(graph);
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (alive.erase(recording) == 0)
      return fail(XL_INVALID, "graph_destroy: no such graph; was it destroyed already?");
  }
  KernelLock lock;  // it may be running on another thread
  settle_zeros();   // before the memory is another's
  delete recording;
  return XL_OK;
}

extern "C" int xl_collect_begin(void) {
  if (current) {
    inner++;
    return XL_OK;
  }
  current = std::make_unique<Recording>();
  current->collects = true;
  return XL_OK;
}

extern "C" int xl_collect_end(void) {
  if (inner > 0) {
    inner--;
    return XL_OK;
  }
  if (!current || !current->collects) return fail(XL_INVALID, "collect_end: this thread is not collecting");
  const std::unique_ptr<Recording> collected = std::move(current);
  const int status = run_once(collected->kernels);
  settle_for_host();
  return status;
}
