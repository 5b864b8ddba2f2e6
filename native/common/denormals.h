// Turns tiny (denormal) floats into zero while kernels run: they cost a hundred cycles each and carry nothing.
// For native/common and generated code only, which are compiled once.
#ifndef XL_COMMON_DENORMALS_H
#define XL_COMMON_DENORMALS_H
#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace xl {

class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // FTZ and DAZ
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    __asm__ volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t(1) << 24)));  // FZ
  }
  ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  uint64_t before_;
#else
  FlushDenormals() {}
#endif
 public:
  FlushDenormals(const FlushDenormals &) = delete;
  FlushDenormals &operator=(const FlushDenormals &) = delete;
};

}  // namespace xl
#endif
