// Lanes of AVX2 with FMA (interface: lanes.h).

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
inline void stream_line(float* p, const Vec* v) { _mm256_stream_ps(p, v[0]), _mm256_stream_ps(p + WIDTH, v[1]); }
inline void stream_fence() { _mm_sfence(); }
