// Vectors of 32-bit lanes. Included once for each kind of kernels (see kernels.cc), inside the namespace of that kind, so that
// code for one instruction set is never linked into another.
//
//   Vec     WIDTH floats
//   Stored  the element type of arrays passed between kernels and of the operands of products: float or bfloat16
//   PAIR    elements of a product's inner dimension a lane: one float, or two bfloat16 with the first in the lower half
//
// Functions with a count n read or write only the first n lanes; the other lanes read as zero.
//
// Only the files lanes_*.h and tile_*.h use instructions directly. Each lanes_*.h defines for its instruction set:
//   WIDTH, Vec         with + - * /
//   broadcast, load, store, store_halves; multiply_add, larger, smaller, exceeds, square_root; sum, largest
//   fraction           x - floor(x)
//   scaled             x 2^floor(power); this and `fraction` may bound what they floor to the exponents of float
//   mixed_low<S>       lanes j of a where j & S is 0, else lanes j ^ S of b
//   mixed_high<S>      lanes j ^ S of a where j & S is 0, else lanes j of b
//   stream_line        writes the cache line at the aligned address p past the caches if it can, with stream_fence after the last
// and with LMGEN_BF16 for bfloat16, rounded to nearest, ties to even:
//   load, store        of uint16_t
//   joined             2 WIDTH consecutive bfloat16, as lanes
//   paired             lanes that hold bfloat16(low) and bfloat16(high); from bfloat16, of which high may be null, or two vectors
//                      from full rows
//   add_product        sum + a b where lanes are pairs, unless the tile of that kind does without it

// Returns p, after checking min(n, most) elements there with the address sanitizer, which ignores masked instructions.
#if defined(__SANITIZE_ADDRESS__)
extern "C" void __asan_loadN(const void*, size_t);
extern "C" void __asan_storeN(const void*, size_t);
template <class T>
const T* checked(const T* p, int64_t n, int64_t most) {
  if (n > 0) __asan_loadN(p, sizeof(T) * size_t(n < most ? n : most));
  return p;
}
template <class T>
T* checked(T* p, int64_t n, int64_t most) {
  if (n > 0) __asan_storeN(p, sizeof(T) * size_t(n < most ? n : most));
  return p;
}
#else
template <class T>
inline T* checked(T* p, int64_t, int64_t) {
  return p;
}
#endif

#if defined(__AVX512F__)
#include "lanes_avx512.h"
#elif defined(__AVX2__)
#include "lanes_avx2.h"
#else
#include "lanes_neon.h"
#endif

// Prefetches the cache line at p, to be used some thousand cycles later.
constexpr int64_t LINE = 64;  // bytes
inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }
inline void prefetch_to_write(void* p) { __builtin_prefetch(p, 1, 3); }
// The same for a line that is read or written once.
inline void prefetch_once(const void* p) {
  if (NON_TEMPORAL_PREFETCH)
    __builtin_prefetch(p, 0, 0);
  else
    prefetch(p);
}

inline Vec zero() { return broadcast(0); }
inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t rounded_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

#if LMGEN_BF16
using Stored = uint16_t;
constexpr int PAIR = 2;
inline void store(uint16_t* p, Vec low, Vec high) { store(reinterpret_cast<float*>(p), joined(low, high)); }
#else
using Stored = float;
constexpr int PAIR = 1;
inline Vec add_product(Vec sum, Vec a, Vec b) { return multiply_add(a, b, sum); }
#endif

// Non-temporal store of a whole cache line at the aligned address p. Other threads see it only after `stream_fence`.
constexpr int LINE_VECTORS = int(LINE / (WIDTH * int64_t(sizeof(Stored))));
inline void stream(Stored* p, const Vec (&v)[LINE_VECTORS]) {
  stream_line(checked(p, LINE_VECTORS * WIDTH, LINE_VECTORS * WIDTH), v);
}

template <int S>
inline void transpose_step(Vec* rows) {
  for (int i = 0; i < WIDTH; i++)
    if (!(i & S)) {
      const Vec a = rows[i], b = rows[i + S];
      rows[i] = mixed_low<S>(a, b);
      rows[i + S] = mixed_high<S>(a, b);
    }
}

inline void transpose(Vec (&rows)[WIDTH]) {  // lane j of row i <-> lane i of row j
  transpose_step<1>(rows), transpose_step<2>(rows), transpose_step<4>(rows);
  if constexpr (WIDTH == 16) transpose_step<WIDTH / 2>(rows);
}

// 2^x = 2^n 2^r with integer n and 0 <= r < 1; 2^r by a polynomial (least squares at Chebyshev nodes, exact at 0, error
// <= 1.5e-7). Out of range the result is 0 or infinity, or close to them; NaN stays NaN.
inline Vec power_of_2(Vec x) {
  const Vec r = fraction(x);
  Vec p = broadcast(0.0018671829f);
  p = multiply_add(p, r, broadcast(0.009016688f));
  p = multiply_add(p, r, broadcast(0.0558004454f));
  p = multiply_add(p, r, broadcast(0.240164161f));
  p = multiply_add(p, r, broadcast(0.693151355f));
  return scaled(multiply_add(p, r, broadcast(1)), x);
}

constexpr float LOG2_E = 1.44269504f;
inline Vec exponential(Vec x) { return power_of_2(x * broadcast(LOG2_E)); }
inline Vec sigmoid(Vec x) { return broadcast(1) / (broadcast(1) + power_of_2(x * broadcast(-LOG2_E))); }
inline Vec tanh(Vec x) { return broadcast(1) - broadcast(2) / (broadcast(1) + power_of_2(x * broadcast(2 * LOG2_E))); }

// v with all but the first n lanes set to zero.
inline Vec kept_lanes(Vec v, int64_t n) {
  alignas(64) float lanes[WIDTH];
  store(lanes, v);
  return load(lanes, n);
}
