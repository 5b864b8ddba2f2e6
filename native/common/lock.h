// One kernel at a time: several JavaScript threads may share the library, its pool and its scratch memory.
#ifndef XL_COMMON_LOCK_H
#define XL_COMMON_LOCK_H

namespace xl {

class KernelLock {
 public:
  KernelLock();
  ~KernelLock();
  KernelLock(const KernelLock &) = delete;
  KernelLock &operator=(const KernelLock &) = delete;
};

}  // namespace xl
#endif
