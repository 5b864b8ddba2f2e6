// The thread pool of the library. It hands out numbered tasks; what a task does is the kernel's business.
//
// The tasks of a kernel must not depend on the number of threads, only on sizes; which thread runs a task is not
// determined. So results are the same bits for any number of threads.
#ifndef XL_COMMON_POOL_H
#define XL_COMMON_POOL_H
#include <cstdint>

namespace xl {

using Task = void (*)(void *context, int64_t task, int worker);

// Runs tasks 0..tasks-1 on the pool and returns when all are done. `worker` lies in 0..threads()-1, and no two tasks
// run at once with the same one. With one thread, with one task, or inside another parallel(), runs inline.
void parallel(int64_t tasks, Task run, void *context);

// Threads of the pool, the caller included.
int threads();

// 0 means one per core that this process may use. Returns a status. Not while a kernel runs.
int set_threads(int count);

}  // namespace xl
#endif
