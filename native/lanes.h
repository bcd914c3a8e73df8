// Vectors of 32-bit lanes. Only this file and tile_amx.h use instructions directly. It is included once for each kind of kernel
// (see kernels.cc), inside the namespace of that kind, so that code for one instruction set is never linked into another.
//
//   Vec     WIDTH floats
//   Stored  the element type of arrays passed between kernels and of the operands of products: float or bfloat16
//   PAIR    elements of a product's inner dimension a lane: one float, or two bfloat16 with the first in the lower half
//
// Functions with a count n read or write only the first n lanes; the other lanes read as zero.

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
constexpr int WIDTH = 16;
using Vec = __m512;
using Mask = __mmask16;
inline Mask first(int64_t n) { return n >= WIDTH ? 0xffff : n <= 0 ? 0 : Mask((1u << n) - 1); }
inline Vec broadcast(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), checked(p, n, WIDTH)); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline void store(float* p, Vec v, int64_t n) { _mm512_mask_storeu_ps(checked(p, n, WIDTH), first(n), v); }
inline void store_halves(float* low, float* high, Vec v) {
  _mm256_storeu_ps(low, _mm512_castps512_ps256(v)), _mm256_storeu_ps(high, _mm512_extractf32x8_ps(v, 1));
}
inline Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec exceeds(Vec a, Vec b) {  // 1 where a > b, else 0
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), broadcast(1));
}
inline Vec square_root(Vec a) { return _mm512_sqrt_ps(a); }
inline Vec fraction(Vec a) { return _mm512_reduce_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }  // a - floor(a)
inline Vec scaled(Vec a, Vec power) { return _mm512_scalef_ps(a, power); }                             // a 2^floor(power)
inline float sum(Vec a) { return _mm512_reduce_add_ps(a); }
inline float largest(Vec a) { return _mm512_reduce_max_ps(a); }
template <int S>  // lanes j of a where j & S is 0, else lanes j ^ S of b
inline Vec mixed_low(Vec a, Vec b) {
  constexpr Mask high = S == 1 ? 0xaaaa : S == 2 ? 0xcccc : S == 4 ? 0xf0f0 : 0xff00;
  const __m512i swap =
      _mm512_xor_si512(_mm512_set1_epi32(S), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  return _mm512_mask_permutexvar_ps(a, high, swap, b);
}
template <int S>  // lanes j ^ S of a where j & S is 0, else lanes j of b
inline Vec mixed_high(Vec a, Vec b) {
  constexpr Mask low = S == 1 ? 0x5555 : S == 2 ? 0x3333 : S == 4 ? 0x0f0f : 0x00ff;
  const __m512i swap =
      _mm512_xor_si512(_mm512_set1_epi32(S), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  return _mm512_mask_permutexvar_ps(b, low, swap, a);
}
#else  // AVX2 with FMA
constexpr int WIDTH = 8;
using Vec = __m256;
inline __m256i first(int64_t n) {
  const int lanes = n >= WIDTH ? WIDTH : n <= 0 ? 0 : int(n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec broadcast(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec load(const float* p, int64_t n) { return n >= WIDTH ? load(p) : _mm256_maskload_ps(checked(p, n, WIDTH), first(n)); }
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline void store(float* p, Vec v, int64_t n) {
  if (n >= WIDTH) return store(p, v);
  _mm256_maskstore_ps(checked(p, n, WIDTH), first(n), v);
}
inline void store_halves(float* low, float* high, Vec v) {
  _mm_storeu_ps(low, _mm256_castps256_ps128(v)), _mm_storeu_ps(high, _mm256_extractf128_ps(v, 1));
}
inline Vec multiply_add(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec exceeds(Vec a, Vec b) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), broadcast(1)); }
inline Vec square_root(Vec a) { return _mm256_sqrt_ps(a); }
// Clamps an exponent to the range of float; in this order of operands NaN stays NaN.
inline Vec bounded(Vec a) { return larger(broadcast(-126), smaller(broadcast(127), a)); }
inline Vec fraction(Vec a) { return bounded(a) - _mm256_floor_ps(bounded(a)); }
inline Vec scaled(Vec a, Vec power) {
  const __m256i whole = _mm256_cvtps_epi32(_mm256_floor_ps(bounded(power)));
  return a * _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(127)), 23));
}
inline float sum(Vec a) {
  __m128 s = _mm256_castps256_ps128(a) + _mm256_extractf128_ps(a, 1);
  s = s + _mm_movehl_ps(s, s);
  return s[0] + s[1];
}
inline float largest(Vec a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return s[0] > s[1] ? s[0] : s[1];
}
template <int S>
inline Vec swapped(Vec a) {
  return _mm256_permutevar8x32_ps(a, _mm256_xor_si256(_mm256_set1_epi32(S), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
}
template <int S>
constexpr int HIGH = S == 1   ? 0xaa
                     : S == 2 ? 0xcc
                              : 0xf0;
template <int S>
inline Vec mixed_low(Vec a, Vec b) {
  return _mm256_blend_ps(a, swapped<S>(b), HIGH<S>);
}
template <int S>
inline Vec mixed_high(Vec a, Vec b) {
  return _mm256_blend_ps(swapped<S>(a), b, HIGH<S>);
}
#endif

// Prefetches the cache line at p, to be used some thousand cycles later.
constexpr int64_t LINE = 64;  // bytes
inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }
inline void prefetch_to_write(void* p) { __builtin_prefetch(p, 1, 3); }
inline void prefetch_once(const void* p) {
  __builtin_prefetch(p, 0, 0);
}  // non-temporal: read once, evicts nothing from the inner caches

inline Vec zero() { return broadcast(0); }
inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t rounded_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

#if LMGEN_BF16
using Stored = uint16_t;
constexpr int PAIR = 2;
inline Vec load(const uint16_t* p, int64_t n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), checked(p, n, WIDTH))), 16));
}
inline Vec load(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
inline __m256i rounded(Vec v) { return (__m256i)_mm512_cvtneps_pbh(v); }
inline void store(uint16_t* p, Vec v) { _mm256_storeu_si256((__m256i*)p, rounded(v)); }
inline void store(uint16_t* p, Vec v, int64_t n) { _mm256_mask_storeu_epi16(checked(p, n, WIDTH), first(n), rounded(v)); }
inline Vec joined(Vec low, Vec high) {  // 32 consecutive bfloat16, as lanes
  return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(high, low));
}
inline void store(uint16_t* p, Vec low, Vec high) { store(reinterpret_cast<float*>(p), joined(low, high)); }
inline Vec paired(Vec low, Vec high) {  // lanes that hold bfloat16(low) and bfloat16(high)
  const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
                                         19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(turns, _mm512_castps_si512(joined(low, high))));
}
inline Vec paired(const uint16_t* low, const uint16_t* high, int64_t n) {  // from bfloat16; high may be null
  const auto numbers = [n](const uint16_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), checked(p, n, WIDTH)));
  };
  const __m512i lower = numbers(low);
  return _mm512_castsi512_ps(high ? _mm512_or_si512(lower, _mm512_slli_epi32(numbers(high), 16)) : lower);
}
inline void paired(const uint16_t* low, const uint16_t* high, Vec& first, Vec& second) {  // two vectors, from full rows
  const __m512i turns = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4,
                                         35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i a = _mm512_loadu_si512(low), b = _mm512_loadu_si512(high);
  first = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, turns, b));
  second = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, _mm512_add_epi16(turns, _mm512_set1_epi16(WIDTH)), b));
}
inline Vec add_product(Vec sum, Vec a, Vec b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
#else
using Stored = float;
constexpr int PAIR = 1;
inline Vec add_product(Vec sum, Vec a, Vec b) { return multiply_add(a, b, sum); }
#endif

// Non-temporal store of a whole cache line at the aligned address p. Other threads see it only after `stream_fence`.
constexpr int LINE_VECTORS = int(LINE / (WIDTH * int64_t(sizeof(Stored))));
inline void stream(Stored* p, const Vec (&v)[LINE_VECTORS]) {
  checked(p, LINE_VECTORS * WIDTH, LINE_VECTORS * WIDTH);
#if LMGEN_BF16
  _mm512_stream_si512((__m512i*)p, (__m512i)_mm512_cvtne2ps_pbh(v[1], v[0]));
#elif defined(__AVX512F__)
  _mm512_stream_ps(p, v[0]);
#else
  _mm256_stream_ps(p, v[0]), _mm256_stream_ps(p + WIDTH, v[1]);
#endif
}
inline void stream_fence() { _mm_sfence(); }

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
