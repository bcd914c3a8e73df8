#include "cpu.h"

#include <cstdlib>
#include <cstring>

namespace lmgen {
namespace {

struct Kind {
  const char* name;
  const Kernels* kernels;  // or null
  bool bf16;
  bool (*runs)();  // whether they run on a processor that runs the kinds before
};

}  // namespace
}  // namespace lmgen

// Each defines KINDS, from the least demanding one on, and level2_cache(): its bytes, 0 or less if unknown.
#if defined(__x86_64__)
#include "cpu_x86.h"
#else
#include "cpu_arm.h"
#endif

namespace lmgen {
namespace {

const Kernels* best(bool bf16) {
  const char* last = std::getenv("LMGEN_NATIVE");
  const Kernels* found = nullptr;
  if (last && !std::strcmp(last, "off")) return found;
  for (const Kind& kind : KINDS) {
    if (!kind.runs()) break;
    if (kind.kernels && kind.bf16 == bf16) found = kind.kernels;
    if (last && !std::strcmp(last, kind.name)) break;
  }
  return found;
}

}  // namespace

const Kernels* kernels_for(bool bf16) {
  static const Kernels* const found[] = {best(false), best(true)};
  return found[bf16];
}

#if defined(__x86_64__)
const bool NON_TEMPORAL_PREFETCH = !is_intel();
#else
const bool NON_TEMPORAL_PREFETCH = true;
#endif

bool fits_in_cache(int64_t floats) {
  static const long bytes = level2_cache();
  return double(floats) * sizeof(float) <= 0.75 * double(bytes);
}

// A constant: a virtual machine reports the last-level cache of the whole package as its own.
bool exceeds_cache(double bytes) { return bytes > (8 << 20); }

}  // namespace lmgen
