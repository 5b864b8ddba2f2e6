// Keeps this library in memory until the process ends.
#ifndef XL_COMMON_PIN_H
#define XL_COMMON_PIN_H

namespace xl {

// To be called before the first worker thread starts. Node closes the library while it tears itself down; a worker that
// still spins or sleeps in its code would then run on unmapped memory. On Linux the linker pins it (-z nodelete).
void pin_library();

}  // namespace xl
#endif
