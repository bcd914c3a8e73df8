// Threads that share the work of one call.
#pragma once
#include <functional>

#include "kernels.h"

namespace lmgen {

// How many threads a call may use: the cores that this process may run on, or LMGEN_THREADS.
int most_threads();

// Run work on up to `threads` threads, this one among them, and wait for all. Where another call is at work, on this one alone.
void together(int threads, const std::function<void(const Worker&)>& work);

}  // namespace lmgen
