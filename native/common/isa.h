// Instruction sets: which ones this build has, which one runs. The list is in the generated dispatcher.
#ifndef XL_COMMON_ISA_H
#define XL_COMMON_ISA_H

namespace xl {

// From the generated dispatcher, slowest first: levels of the psABI ("x86-64", "x86-64-v3", "x86-64-v4"), such a level
// with VNNI ("x86-64-v4+vnni"), which is the same code with a few more kernels in it, or "arm64".
extern const int isa_count;
extern const char *const isa_names[];
void use_isa(int index);
int used_isa();

// Whether kernels may use VNNI: sums of products of bytes, AVX512_VNNI with vectors of 512 bits, AVX-VNNI with 256.
bool uses_vnni();

// Whether this processor, and the system's saving of registers, can run it.
bool machine_has(const char *isa);

// The last of the list that the machine can run.
int best_isa();

}  // namespace xl
#endif
