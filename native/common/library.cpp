// The calls of xl.h that concern the library itself: errors, instruction set, threads.
#include <cstdio>
#include <cstring>

#include "isa.h"
#include "lock.h"
#include "pool.h"
#include "status.h"
#include "xl.h"

using namespace xl;

extern "C" const char *xl_last_error(void) { return last_error(); }

extern "C" const char *xl_isa(void) { return isa_names[used_isa()]; }

extern "C" int xl_set_isa(const char *name) {
  KernelLock lock;
  if (std::strcmp(name, "auto") == 0) {
    use_isa(best_isa());
    return XL_OK;
  }
  char usable[128] = "";
  for (int index = 0; index < isa_count; index++) {
    if (!machine_has(isa_names[index])) continue;
    if (std::strcmp(name, isa_names[index]) == 0) {
      use_isa(index);
      return XL_OK;
    }
    size_t used = std::strlen(usable);
    std::snprintf(usable + used, sizeof usable - used, ", %s", isa_names[index]);
  }
  return fail(XL_INVALID, "set_isa: this machine and this build have auto%s; got \"%s\"", usable, name);
}

extern "C" int xl_set_threads(int32_t count) {
  KernelLock lock;
  return set_threads(count);
}

extern "C" int32_t xl_get_threads(void) {
  KernelLock lock;
  return threads();
}
