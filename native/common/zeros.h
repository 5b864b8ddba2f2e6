// Zeros that are not written at once. A backward pass fills a gradient with zeros right before a kernel adds to it; a
// kernel that claims them stores its results instead, which saves writing and reading the gradient once. All calls are
// made under the lock of kernels.
#ifndef XL_COMMON_ZEROS_H
#define XL_COMMON_ZEROS_H
#include <cstdint>

namespace xl {

// Owes y[0..N-1] its zeros. False: too many are owed, or it is not worth it; then they are to be written.
bool owe_zeros(float *y, int64_t N);

// Whether y[0..N-1] is owed zeros; then they are the caller's, who must write all of y. For the first lines of a kernel
// that `settles` in native/tools/generate.mjs; it calls settle_zeros() before it reads or writes anything.
bool claim_zeros(const float *y, int64_t N);

// Writes what is owed (generated/dispatch.cpp).
void settle_zeros();

// The same from outside of kernels, before memory is read, written or freed.
void settle_for_host();

// What is owed, which is then nobody's any more: false when nothing is left.
bool next_owed(float **y, int64_t *N);

}  // namespace xl
#endif
