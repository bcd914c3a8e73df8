// The only file that asks about the processor: which kernels it can run, and what its caches hold.
#pragma once
#include "kernels.h"

namespace lmgen {

// The kernels for a precision, or null if the processor can run none. The environment variable LMGEN_NATIVE limits the choice:
// `off`, or the best instruction set allowed (avx2, avx512, avx512bf16, amx).
const Kernels* kernels_for(bool bf16);

// Whether this many floats fit in the L2 cache of a core, with room left for streamed operands.
bool fits_in_cache(int64_t floats);

// Whether this many bytes are evicted from every cache before they are read again, so that non-temporal stores are better.
bool exceeds_cache(double bytes);

}  // namespace lmgen
