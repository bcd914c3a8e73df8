// The kernels of one kind of processor at one precision. Compiled once for each, with LMGEN_KIND (a name for the namespace, so
// that the linker keeps them apart), LMGEN_BF16 and LMGEN_AMX; no standard library here, whose templates it could mix up.
#include "kernels.h"

#include <immintrin.h>
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
void within(const Task& task, const Worker& worker) {
  [[maybe_unused]] const Tiles tiles;
  kernel(task, worker);
}

#define LMGEN_TEXT(name) #name
#define LMGEN_NAME(name) LMGEN_TEXT(name)
extern const Kernels kernels;
const Kernels kernels = {LMGEN_NAME(LMGEN_KIND), PADDING,   within<product>, within<forward>, within<backward>,
                         within<head>,           told_size, packed_size,     pack_cell,       pack_head,
                         within<sample>,         sum_rows,  pieces,          squares,         adamw};
}  // namespace lmgen::LMGEN_KIND
