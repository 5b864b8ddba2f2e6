// Errors of the library: a status code for the caller, a sentence for people.
// It decides nothing; each check stands where the value is used.
#ifndef XL_COMMON_STATUS_H
#define XL_COMMON_STATUS_H

namespace xl {

// Sets the sentence that xl_last_error() gives on this thread and returns `code`. Call it on the thread that runs the
// kernel, not inside a task of the pool: a task leaves a flag and the kernel reports after the parallel part.
__attribute__((format(printf, 2, 3))) int fail(int code, const char *format, ...);

const char *last_error();

}  // namespace xl
#endif
