// The kinds of kernels for 64-bit ARM, and what they need of the processor. A part of cpu.cc.
#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sys/auxv.h>

#include <cstdio>
#endif

namespace lmgen {

// Weak symbols: null if the compiler could not build a kind.
namespace neon {
extern const Kernels kernels __attribute__((weak));
}
namespace neonbf16 {
extern const Kernels kernels __attribute__((weak));
}

namespace {

#if defined(__APPLE__)
long system_number(const char* name) {  // or 0 if the system does not know it
  long found = 0;
  size_t size = sizeof found;
  return sysctlbyname(name, &found, &size, nullptr, 0) ? 0 : found;
}
bool has_bf16() { return system_number("hw.optional.arm.FEAT_BF16"); }
long level2_cache() { return system_number("hw.perflevel0.l2cachesize"); }
#else
bool has_bf16() { return getauxval(AT_HWCAP2) >> 14 & 1; }  // HWCAP2_BF16: BFMMLA and the conversions

long level2_cache() {  // sysconf does not know it on ARM
  long kib = 0;
  if (std::FILE* file = std::fopen("/sys/devices/system/cpu/cpu0/cache/index2/size", "r")) {
    if (std::fscanf(file, "%ldK", &kib) != 1) kib = 0;
    std::fclose(file);
  }
  return kib << 10;
}
#endif

const Kind KINDS[] = {{"neon", &neon::kernels, false, [] { return true; }},  // which all of these processors have
                      {"neonbf16", &neonbf16::kernels, true, has_bf16}};

}  // namespace

}  // namespace lmgen
