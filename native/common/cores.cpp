// How many cores this process may use: the affinity mask, and on Linux the quota of the control group (version 2).
#include "cores.h"

#include <cstdio>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#endif

namespace xl {
namespace {

int cores_in_mask() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return int(std::thread::hardware_concurrency());
}

// "max 100000" or "200000 100000": microseconds of CPU time in each period. 0 when there is no limit.
int cores_in_quota() {
#if defined(__linux__)
  std::FILE *file = std::fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file) return 0;
  long long quota = 0, period = 0;
  int fields = std::fscanf(file, "%lld %lld", &quota, &period);
  std::fclose(file);
  if (fields == 2 && quota > 0 && period > 0) return int((quota + period - 1) / period);
#endif
  return 0;
}

}  // namespace

int usable_cores() {
  int cores = cores_in_mask();
  int quota = cores_in_quota();
  if (quota > 0 && quota < cores) cores = quota;
  return cores < 1 ? 1 : cores;
}

}  // namespace xl
