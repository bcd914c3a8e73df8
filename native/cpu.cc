#include "cpu.h"

#include <cstdlib>
#include <cstring>

namespace lmgen {
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
namespace avx512bf16 { extern const Kernels kernels; }

namespace {

enum Level { NONE, AVX2, AVX512, AVX512BF16 };

Level of_processor() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return NONE;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return AVX2;
  return __builtin_cpu_supports("avx512bf16") ? AVX512BF16 : AVX512;
}

Level allowed() {
  const char* names[] = {"off", "avx2", "avx512", "avx512bf16"};
  const char* wanted = std::getenv("LMGEN_NATIVE");
  for (int level = NONE; wanted && level <= AVX512BF16; level++)
    if (!std::strcmp(wanted, names[level])) return Level(level);
  return AVX512BF16;
}

Level level() {
  static const Level found = of_processor() < allowed() ? of_processor() : allowed();
  return found;
}

}  // namespace

const Kernels* kernels_for(bool bf16) {
  if (bf16) return level() >= AVX512BF16 ? &avx512bf16::kernels : nullptr;
  return level() >= AVX512 ? &avx512::kernels : level() >= AVX2 ? &avx2::kernels : nullptr;
}

}  // namespace lmgen
