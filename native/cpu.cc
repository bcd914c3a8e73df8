#include "cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

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

// Registers of cpuid, which compilers' runtimes know in part only: some miss features, others all of them.
struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  explicit Leaf(unsigned leaf, unsigned part = 0) { __get_cpuid_count(leaf, part, &eax, &ebx, &ecx, &edx); }
};
bool all(unsigned bits, std::initializer_list<int> wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](int bit) { return bits >> bit & 1; });
}

// Whether the system saves the parts of a thread's registers that these bits of XCR0 stand for.
bool saved(unsigned parts) {
  if (!all(Leaf(1).ecx, {27})) return false;  // OSXSAVE: there is an xgetbv
  unsigned low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & parts) == parts;
}
constexpr unsigned YMM = 0x06, ZMM = 0xe6;
bool has_avx2() { return saved(YMM) && all(Leaf(1).ecx, {12, 28}) && all(Leaf(7).ebx, {5}); }  // FMA, AVX; AVX2
bool has_avx512() { return saved(ZMM) && all(Leaf(7).ebx, {16, 17, 30, 31}); }                 // F, DQ, BW, VL
bool has_avx512_bf16() { return all(Leaf(7, 1).eax, {5}); }
#if LMGEN_AMX_EMULATED
bool has_amx() { return true; }
bool amx_permitted() { return true; }
#else
bool has_amx() { return all(Leaf(7).edx, {22, 24}); }  // AMX-BF16, AMX-TILE

// Linux saves the tile registers only of a process that requested permission.
bool amx_permitted() {
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

Level of_processor() {
  if (!has_avx2()) return NONE;
  if (!has_avx512()) return AVX2;
  return !has_avx512_bf16() ? AVX512 : has_amx() ? AMX : AVX512BF16;
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
