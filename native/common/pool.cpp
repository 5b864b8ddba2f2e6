// The thread pool: workers claim task numbers from one counter, spin briefly between kernels, then sleep.
#include "pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "ahead.h"
#include "cores.h"
#include "denormals.h"
#include "pin.h"
#include "status.h"
#include "xl.h"

namespace xl {
namespace {

constexpr int max_threads = 1024;
// Long enough to bridge the gap between two kernels of a training step, short enough to cost nothing when idle.
constexpr auto spin_time = std::chrono::microseconds(40);

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// A job is open while `open` holds its number. Workers enter by counting themselves in and looking at `open` again;
// the caller closes the job and waits until nobody is inside. Both sides are sequentially consistent, so either the
// caller sees the worker inside or the worker sees the job closed. No worker is ever waited for that did not enter.
struct Pool {
  Task run = nullptr;
  void *context = nullptr;
  int64_t tasks = 0;
  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> open{0};
  std::atomic<int> inside{0};

  uint64_t job = 0;
  std::atomic<int> sleeping{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  int count = 0;  // 0 until the first use
};

// Never destroyed: workers may still sleep on it while the process exits.
Pool &pool() {
  static Pool *instance = new Pool;
  return *instance;
}

thread_local bool in_task = false;
thread_local int worker_index = 0;

void run_tasks(Pool &p, int worker) {
  for (;;) {
    int64_t task = p.next.fetch_add(1, std::memory_order_relaxed);
    if (task >= p.tasks) return;
    p.run(p.context, task, worker);
  }
}

bool news(const Pool &p, uint64_t last) {
  uint64_t job = p.open.load();
  return (job != 0 && job != last) || p.stop.load();
}

void wait_for_news(Pool &p, uint64_t last) {
  auto until = std::chrono::steady_clock::now() + spin_time;
  do {
    for (int i = 0; i < 64; i++) {
      if (news(p, last)) return;
      if (!ask_ahead(worker_index)) pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  std::unique_lock<std::mutex> lock(p.mutex);
  p.sleeping.fetch_add(1);
  p.wake.wait(lock, [&] { return news(p, last); });
  p.sleeping.fetch_sub(1);
}

void work(Pool &p, int worker) {
  FlushDenormals flush;
  in_task = true;
  worker_index = worker;
  uint64_t last = 0;
  for (;;) {
    wait_for_news(p, last);
    if (p.stop.load()) return;
    uint64_t job = p.open.load();
    if (job == 0) continue;
    p.inside.fetch_add(1);
    if (p.open.load() == job) run_tasks(p, worker);
    p.inside.fetch_sub(1);
    last = job;
  }
}

void stop_workers(Pool &p) {
  {
    std::lock_guard<std::mutex> lock(p.mutex);
    p.stop.store(true);
  }
  p.wake.notify_all();
  for (std::thread &thread : p.workers) thread.join();
  p.workers.clear();
  p.stop.store(false);
}

// A machine that grants fewer threads than asked for is no error: the pool then has fewer.
void start_workers(Pool &p, int count) {
  pin_library();
  for (int worker = 1; worker < count; worker++) {
    try {
      p.workers.emplace_back([&p, worker] { work(p, worker); });
    } catch (const std::system_error &) {
      break;
    }
  }
  p.count = int(p.workers.size()) + 1;
}

}  // namespace

int threads() {
  Pool &p = pool();
  if (p.count == 0) start_workers(p, usable_cores());
  return p.count;
}

int set_threads(int count) {
  if (count < 0 || count > max_threads)
    return fail(XL_INVALID, "set_threads: threads must be 0 (one per core) to %d, got %d", max_threads, count);
  Pool &p = pool();
  stop_workers(p);
  start_workers(p, count == 0 ? usable_cores() : count);
  return XL_OK;
}

void parallel(int64_t tasks, Task run, void *context) {
  if (tasks <= 0) return;
  if (in_task || tasks == 1 || threads() == 1) {
    bool before = in_task;
    in_task = true;
    for (int64_t task = 0; task < tasks; task++) run(context, task, worker_index);
    in_task = before;
    return;
  }
  Pool &p = pool();
  p.run = run;
  p.context = context;
  p.tasks = tasks;
  p.next.store(0);
  p.open.store(++p.job);
  if (p.sleeping.load() > 0) {
    // The empty critical section makes sure that a worker on its way to sleep is either asleep or sees the job.
    { std::lock_guard<std::mutex> lock(p.mutex); }
    p.wake.notify_all();
  }
  in_task = true;
  run_tasks(p, 0);
  in_task = false;
  p.open.store(0);
  for (int spins = 0; p.inside.load() != 0; spins++) {
    if (spins < 4096) {
      if (!ask_ahead(0)) pause();
    } else {
      std::this_thread::yield();  // the worker may have lost its core
    }
  }
}

}  // namespace xl
