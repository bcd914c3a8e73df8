// Lanes of AVX-512, and of its extension for bfloat16 (interface: lanes.h).

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
inline void stream_line(float* p, const Vec* v) { _mm512_stream_ps(p, v[0]); }
inline void stream_fence() { _mm_sfence(); }

#if LMGEN_BF16
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
inline void stream_line(uint16_t* p, const Vec* v) { _mm512_stream_si512((__m512i*)p, (__m512i)_mm512_cvtne2ps_pbh(v[1], v[0])); }
#endif
