// The kernels of one kind of processor at one precision. Compiled once for each, with LMGEN_KIND (a name for the namespace, so that
// the linker keeps them apart) and LMGEN_BF16; no standard library here, whose templates it could mix up.
#include "kernels.h"

#include <immintrin.h>

namespace lmgen::LMGEN_KIND {
#include "lanes.h"
#include "product.h"
#include "recurrent.h"
#include "head.h"
#include "adamw.h"
#include "sampling.h"

#define LMGEN_TEXT(name) #name
#define LMGEN_NAME(name) LMGEN_TEXT(name)
extern const Kernels kernels;
const Kernels kernels = {LMGEN_NAME(LMGEN_KIND), WIDTH, product, forward, backward, head, packed_size, pack_cell, pack_head, sample, sum_rows, pieces, squares, adamw};
}  // namespace lmgen::LMGEN_KIND
