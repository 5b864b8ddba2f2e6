// The sentence of the last error, one per thread.
#include "status.h"

#include <cstdarg>
#include <cstdio>

namespace xl {
namespace {
thread_local char sentence[2048];
}

int fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  return code;
}

const char *last_error() { return sentence; }

}  // namespace xl
