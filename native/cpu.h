// The one place that knows the processor: which kernels it can run.
#pragma once
#include "kernels.h"

namespace lmgen {

// The kernels for a precision; null where the processor has none. LMGEN_NATIVE in the environment may hold it back: `off`, or the
// name of the most that is allowed (avx2, avx512, avx512bf16, amx).
const Kernels* kernels_for(bool bf16);

}  // namespace lmgen
