// The one place that knows the processor: which kernels it can run, and how much is near.
#pragma once
#include "kernels.h"

namespace lmgen {

// The kernels for a precision; null where the processor has none. LMGEN_NATIVE in the environment may hold it back: `off`, or the
// name of the most that is allowed (avx2, avx512, avx512bf16, amx).
const Kernels* kernels_for(bool bf16);

// Whether the second cache of a core holds so many floats, and leaves some room for what passes by.
bool near(int64_t floats);

// Whether so many bytes leave the caches before they are read again, so that they had better be written past them.
bool far(double bytes);

}  // namespace lmgen
