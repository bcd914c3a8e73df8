// A pool of threads that share the work of one call.
#pragma once
#include <functional>

#include "kernels.h"

namespace lmgen {

// The largest number of threads of a call: LMGEN_THREADS, or the number of cores that this process may run on.
int max_threads();

// Runs `work` on up to `threads` threads, including the caller, and waits for all of them. While another call uses the pool, the
// caller does all of the work itself. Throws std::bad_alloc if a thread runs out of memory.
void run_on_threads(int threads, const std::function<void(const Worker&)>& work);

}  // namespace lmgen
