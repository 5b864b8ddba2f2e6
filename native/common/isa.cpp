// What the processor can run, from CPUID: the levels of the x86-64 psABI.
#include "isa.h"

#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace xl {
namespace {

#if defined(__x86_64__)
bool all(uint32_t value, uint32_t bits) { return (value & bits) == bits; }
constexpr uint32_t bit(int n) { return uint32_t(1) << n; }

// The registers that the operating system saves on a context switch.
uint32_t saved_registers() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// 1 = baseline, 3 = AVX2 and its time, 4 = AVX-512.
int read_x86_level() {
  uint32_t a, b, c, d, b7 = 0, c1 = 0, c_extended = 0;
  if (!__get_cpuid(1, &a, &b, &c1, &d)) return 1;
  if (__get_cpuid_count(7, 0, &a, &b7, &c, &d) == 0) return 1;
  if (!__get_cpuid(0x80000001, &a, &b, &c_extended, &d)) return 1;
  // SSE3, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C
  const uint32_t v3_1 =
      bit(0) | bit(9) | bit(12) | bit(13) | bit(19) | bit(20) | bit(22) | bit(23) | bit(27) | bit(28) | bit(29);
  const uint32_t v3_7 = bit(3) | bit(5) | bit(8);                         // BMI1, AVX2, BMI2
  const uint32_t v4_7 = bit(16) | bit(17) | bit(28) | bit(30) | bit(31);  // AVX-512 F, DQ, CD, BW, VL
  const uint32_t v3_extended = bit(0) | bit(5);                           // LAHF, LZCNT
  if (!all(c1, v3_1) || !all(b7, v3_7) || !all(c_extended, v3_extended)) return 1;
  uint32_t saved = saved_registers();
  if (!all(saved, 0x06)) return 1;  // SSE and AVX state
  return all(b7, v4_7) && all(saved, 0xe6) ? 4 : 3;
}

// CPUID is slow on a virtual machine.
int x86_level() {
  static const int level = read_x86_level();
  return level;
}

// AVX512_VNNI of level 4, AVX-VNNI of level 3.
bool x86_vnni(int level) {
  uint32_t a, b, c, d;
  if (x86_level() < level || __get_cpuid_count(7, level == 4 ? 0 : 1, &a, &b, &c, &d) == 0) return false;
  return level == 4 ? all(c, bit(11)) : all(a, bit(4));
}
#endif

}  // namespace

bool machine_has(const char *isa) {
#if defined(__x86_64__)
  if (std::strcmp(isa, "x86-64-v4+vnni") == 0) return x86_vnni(4);
  if (std::strcmp(isa, "x86-64-v4") == 0) return x86_level() >= 4;
  if (std::strcmp(isa, "x86-64-v3+vnni") == 0) return x86_vnni(3);
  if (std::strcmp(isa, "x86-64-v3") == 0) return x86_level() >= 3;
  return std::strcmp(isa, "x86-64") == 0;
#else
  return std::strcmp(isa, "arm64") == 0;
#endif
}

int best_isa() {
  int best = 0;
  for (int index = 0; index < isa_count; index++)
    if (machine_has(isa_names[index])) best = index;
  return best;
}

}  // namespace xl
