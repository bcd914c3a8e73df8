// The kernels for one instruction set and precision. Compiled once for each, with LMGEN_KIND (the name of a namespace of its
// own), LMGEN_BF16 and LMGEN_AMX. The standard library is not used here: the linker would merge its templates between the kinds.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif
#if LMGEN_AMX && LMGEN_AMX_EMULATED
#include "tile_emulated.h"
#endif

namespace lmgen::LMGEN_KIND {
#include "lanes.h"
#include "product.h"
#include "recurrent.h"
#include "head.h"
#include "adamw.h"
#include "sampling.h"

template <auto kernel, class Task>
void with_tiles(const Task& task, const Worker& worker) {
  [[maybe_unused]] const Tiles tiles;
  kernel(task, worker);
}

#define LMGEN_TEXT(name) #name
#define LMGEN_NAME(name) LMGEN_TEXT(name)
extern const Kernels kernels;
const Kernels kernels = {LMGEN_NAME(LMGEN_KIND),
                         PADDING,
                         with_tiles<product>,
                         with_tiles<forward>,
                         with_tiles<backward>,
                         with_tiles<head>,
                         head_scratch_size,
                         packed_size,
                         pack_cell,
                         pack_head,
                         with_tiles<sample>,
                         sum_rows,
                         pieces,
                         squares,
                         adamw};
}  // namespace lmgen::LMGEN_KIND
