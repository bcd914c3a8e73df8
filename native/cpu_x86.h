// The kinds of kernels for x86-64, and what they need of the processor and of the system. A part of cpu.cc.
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
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
#else
// AMX-BF16 and AMX-TILE. Linux saves the tile registers only of a process that requested permission.
bool has_amx() {
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return all(Leaf(7).edx, {22, 24}) && &amx::kernels && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

bool is_intel() {
  const Leaf name(0);
  return name.ebx == signature_INTEL_ebx && name.edx == signature_INTEL_edx && name.ecx == signature_INTEL_ecx;
}

const Kind KINDS[] = {{"avx2", &avx2::kernels, false, has_avx2},
                      {"avx512", &avx512::kernels, false, has_avx512},
                      {"avx512bf16", &avx512bf16::kernels, true, has_avx512_bf16},
                      {"amx", &amx::kernels, true, has_amx}};

long level2_cache() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  return sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  return 0;
#endif
}

}  // namespace

}  // namespace lmgen
