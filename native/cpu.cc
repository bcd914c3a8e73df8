#include "cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace lmgen {

// Weak symbols: null if the compiler could not build a kind.
namespace avx2 {
extern const Kernels kernels __attribute__((weak));
}
namespace avx512 {
extern const Kernels kernels __attribute__((weak));
}
namespace avx512bf16 {
extern const Kernels kernels __attribute__((weak));
}
namespace amx {
extern const Kernels kernels __attribute__((weak));
}

namespace {

enum Level { NONE, AVX2, AVX512, AVX512BF16, AMX };

// Registers of cpuid leaf 7, for features that not every compiler's __builtin_cpu_supports knows.
struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  explicit Leaf(unsigned part) { __get_cpuid_count(7, part, &eax, &ebx, &ecx, &edx); }
};
bool avx512_bf16() { return Leaf(1).eax >> 5 & 1; }
#if LMGEN_AMX_EMULATED
bool amx_bf16() { return true; }
bool amx_permitted() { return true; }
#else
bool amx_bf16() { return (Leaf(0).edx >> 22 & 1) && (Leaf(0).edx >> 24 & 1); }  // AMX-BF16, AMX-TILE

// Linux saves the tile registers only of a process that requested permission.
bool amx_permitted() {
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

Level of_processor() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return NONE;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return AVX2;
  return !avx512_bf16() ? AVX512 : amx_bf16() ? AMX : AVX512BF16;
}

Level allowed() {
  const char* names[] = {"off", "avx2", "avx512", "avx512bf16", "amx"};
  const char* wanted = std::getenv("LMGEN_NATIVE");
  for (int level = NONE; wanted && level <= AMX; level++)
    if (!std::strcmp(wanted, names[level])) return Level(level);
  return AMX;
}

Level level() {
  static const Level found = [] {
    const Level most = std::min(of_processor(), allowed());
    return most == AMX && !(&amx::kernels && amx_permitted()) ? AVX512BF16 : most;
  }();
  return found;
}

}  // namespace

const Kernels* kernels_for(bool bf16) {
  if (bf16) return level() >= AMX ? &amx::kernels : level() >= AVX512BF16 ? &avx512bf16::kernels : nullptr;
  return level() >= AVX512 && &avx512::kernels ? &avx512::kernels : level() >= AVX2 ? &avx2::kernels : nullptr;
}

bool fits_in_cache(int64_t floats) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);  // 0 or less if unknown
#else
  constexpr long bytes = 0;
#endif
  return double(floats) * sizeof(float) <= 0.75 * double(bytes);
}

// A constant: a virtual machine reports the last-level cache of the whole package as its own.
bool exceeds_cache(double bytes) { return bytes > (8 << 20); }

}  // namespace lmgen
