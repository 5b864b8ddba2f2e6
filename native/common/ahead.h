// Reading ahead while a thread waits. A recording knows which kernel comes next that reads memory once, and where each
// thread will begin: a thread without work asks for the first lines of its part, so that memory does not wait with it.
#ifndef XL_COMMON_AHEAD_H
#define XL_COMMON_AHEAD_H
#include <vector>

#include "stretch.h"

namespace xl {

// By number of the worker.
using Starts = std::vector<Stretch>;

// From now on note_start() of this thread writes here; NULL: nowhere.
void keep_starts(Starts *starts);

// What comes next. Under the lock of kernels, while threads may ask; the memory may be gone before they do, since
// asking never fails.
void announce(const Starts &starts);

// Asks for some lines of what was announced for `worker`. False: there is nothing to ask for, or no more.
bool ask_ahead(int worker);

}  // namespace xl
#endif
