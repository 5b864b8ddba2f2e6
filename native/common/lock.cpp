// The lock that serialises kernels.
#include "lock.h"

#include <mutex>

namespace xl {
namespace {
std::mutex mutex;
}

KernelLock::KernelLock() { mutex.lock(); }
KernelLock::~KernelLock() { mutex.unlock(); }

}  // namespace xl
