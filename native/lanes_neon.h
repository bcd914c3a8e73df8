// Lanes of NEON, and of its extension for bfloat16 (interface: lanes.h). A Vec is two registers, of which ARM has 32.

constexpr int WIDTH = 8;
struct Vec {
  float32x4_t low, high;
};
inline Vec operator+(Vec a, Vec b) { return {a.low + b.low, a.high + b.high}; }
inline Vec operator-(Vec a, Vec b) { return {a.low - b.low, a.high - b.high}; }
inline Vec operator*(Vec a, Vec b) { return {a.low * b.low, a.high * b.high}; }
inline Vec operator/(Vec a, Vec b) { return {a.low / b.low, a.high / b.high}; }

// The first n of the elements of a register, as the intrinsics read and write them; of any type in memory, which they would not.
template <class Register, class T>
inline Register read(const T* p, int64_t n = INT64_MAX) {
  constexpr int SIZE = sizeof(Register) / sizeof(T);
  Register v = {};
  if (n >= SIZE) {
    __builtin_memcpy(&v, p, sizeof v);
  } else {
#pragma GCC unroll 8
    for (int k = 0; k < SIZE - 1; k++)
      if (k < n) v[k] = p[k];
  }
  return v;
}
template <class Register, class T>
inline void write(T* p, Register v, int64_t n = INT64_MAX) {
  constexpr int SIZE = sizeof(Register) / sizeof(T);
  if (n >= SIZE) {
    __builtin_memcpy(p, &v, sizeof v);
  } else {
#pragma GCC unroll 8
    for (int k = 0; k < SIZE - 1; k++)
      if (k < n) p[k] = v[k];
  }
}

inline Vec broadcast(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline Vec load(const float* p) { return {read<float32x4_t>(p), read<float32x4_t>(p + 4)}; }
inline Vec load(const float* p, int64_t n) { return {read<float32x4_t>(p, n), read<float32x4_t>(p + 4, n - 4)}; }
inline void store_halves(float* low, float* high, Vec v) { write(low, v.low), write(high, v.high); }
inline void store(float* p, Vec v) { store_halves(p, p + 4, v); }
inline void store(float* p, Vec v, int64_t n) { write(p, v.low, n), write(p + 4, v.high, n - 4); }
inline Vec multiply_add(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
inline Vec larger(Vec a, Vec b) { return {vmaxq_f32(a.low, b.low), vmaxq_f32(a.high, b.high)}; }
inline Vec smaller(Vec a, Vec b) { return {vminq_f32(a.low, b.low), vminq_f32(a.high, b.high)}; }
inline Vec exceeds(Vec a, Vec b) {  // 1 where a > b, else 0
  const auto one_where = [](uint32x4_t true_) { return vreinterpretq_f32_u32(true_ & vreinterpretq_u32_f32(vdupq_n_f32(1))); };
  return {one_where(vcgtq_f32(a.low, b.low)), one_where(vcgtq_f32(a.high, b.high))};
}
inline Vec square_root(Vec a) { return {vsqrtq_f32(a.low), vsqrtq_f32(a.high)}; }
inline Vec bounded(Vec a) {
  return larger(broadcast(-126), smaller(broadcast(127), a));
}  // to the exponents of float; NaN stays NaN
inline Vec floored(Vec a) { return {vrndmq_f32(a.low), vrndmq_f32(a.high)}; }
inline Vec fraction(Vec a) { return bounded(a) - floored(bounded(a)); }
inline Vec scaled(Vec a, Vec power) {
  const auto power_of_2 = [](float32x4_t n) { return vreinterpretq_f32_s32((vcvtq_s32_f32(n) + 127) << 23); };
  const Vec whole = floored(bounded(power));
  return a * Vec{power_of_2(whole.low), power_of_2(whole.high)};
}
inline float sum(Vec a) {
  const float32x4_t s = a.low + a.high;
  return vaddv_f32(vget_low_f32(s) + vget_high_f32(s));
}
inline float largest(Vec a) { return vmaxvq_f32(vmaxq_f32(a.low, a.high)); }
template <int S>
inline Vec mixed_low(Vec a, Vec b) {
  const auto pairs = [](float32x4_t v) { return vreinterpretq_f64_f32(v); };
  const auto apart = [](float64x2_t v) { return vreinterpretq_f32_f64(v); };
  if constexpr (S == 1) return {vtrn1q_f32(a.low, b.low), vtrn1q_f32(a.high, b.high)};
  if constexpr (S == 2) return {apart(vtrn1q_f64(pairs(a.low), pairs(b.low))), apart(vtrn1q_f64(pairs(a.high), pairs(b.high)))};
  return {a.low, b.low};
}
template <int S>
inline Vec mixed_high(Vec a, Vec b) {
  const auto pairs = [](float32x4_t v) { return vreinterpretq_f64_f32(v); };
  const auto apart = [](float64x2_t v) { return vreinterpretq_f32_f64(v); };
  if constexpr (S == 1) return {vtrn2q_f32(a.low, b.low), vtrn2q_f32(a.high, b.high)};
  if constexpr (S == 2) return {apart(vtrn2q_f64(pairs(a.low), pairs(b.low))), apart(vtrn2q_f64(pairs(a.high), pairs(b.high)))};
  return {a.high, b.high};
}
// The cores notice when whole lines are written one after another, and then bypass their caches without being told.
inline void stream_line(float* p, const Vec* v) { store(p, v[0]), store(p + WIDTH, v[1]); }
inline void stream_fence() {}

#if LMGEN_BF16
inline Vec widened(uint16x4_t low, uint16x4_t high) {  // from bfloat16
  return {vreinterpretq_f32_u32(vmovl_u16(low) << 16), vreinterpretq_f32_u32(vmovl_u16(high) << 16)};
}
inline Vec load(const uint16_t* p) { return widened(read<uint16x4_t>(p), read<uint16x4_t>(p + 4)); }
inline Vec load(const uint16_t* p, int64_t n) { return widened(read<uint16x4_t>(p, n), read<uint16x4_t>(p + 4, n - 4)); }
inline uint16x8_t rounded(Vec v) { return vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(v.low), v.high)); }
inline void store(uint16_t* p, Vec v) { write(p, rounded(v)); }
inline void store(uint16_t* p, Vec v, int64_t n) { write(p, rounded(v), n); }
inline Vec joined(Vec low, Vec high) { return {vreinterpretq_f32_u16(rounded(low)), vreinterpretq_f32_u16(rounded(high))}; }
inline Vec paired(uint16x8_t low, uint16x8_t high) {
  return {vreinterpretq_f32_u16(vzip1q_u16(low, high)), vreinterpretq_f32_u16(vzip2q_u16(low, high))};
}
inline Vec paired(Vec low, Vec high) { return paired(rounded(low), rounded(high)); }
inline Vec paired(const uint16_t* low, const uint16_t* high, int64_t n) {
  return paired(read<uint16x8_t>(low, n), high ? read<uint16x8_t>(high, n) : vdupq_n_u16(0));
}
inline void paired(const uint16_t* low, const uint16_t* high, Vec& first, Vec& second) {
  first = paired(low, high, WIDTH), second = paired(low + WIDTH, high + WIDTH, WIDTH);
}
inline void stream_line(uint16_t* p, const Vec* v) {
  for (int k = 0; k < 4; k++) store(p + k * WIDTH, v[k]);
}
#endif
