// How many cores this process may use.
#ifndef XL_COMMON_CORES_H
#define XL_COMMON_CORES_H

namespace xl {

// Cores in the affinity mask, limited by the CPU quota of the container; at least 1.
int usable_cores();

}  // namespace xl
#endif
