// What the processor can do: which kernels it can run, what its caches hold, how a thread waits. The kinds of kernels for each
// architecture are in cpu_*.h.
#pragma once
#include "kernels.h"

namespace lmgen {

// The kernels for a precision, or null if the processor can run none. The environment variable LMGEN_NATIVE limits the choice:
// `off`, or the name of the last kind allowed (avx2, avx512, avx512bf16, amx; neon, neonbf16).
const Kernels* kernels_for(bool bf16);

// Whether this many floats fit in the L2 cache of a core, with room left for streamed operands.
bool fits_in_cache(int64_t floats);

// Whether this many bytes are evicted from every cache before they are read again, so that non-temporal stores are better.
bool exceeds_cache(double bytes);

// Waits a moment in a loop that waits for another thread.
inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("isb");  // about as long as the pause of x86; `yield` does nothing on most processors
#endif
}

}  // namespace lmgen
