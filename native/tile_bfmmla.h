// The tile with BFMMLA (interface: product.h): one instruction multiplies [2 rows, 2 lanes] by [2 lanes, 2 columns].
//
// A register of sums is 2 rows of 2 columns, so a vector of WIDTH columns and a pair of rows need four. `arrange` turns two
// vectors of right lanes,
//
//   lane k      a0 a1 a2 a3 a4 a5 a6 a7         a0 b0 a1 b1 a2 b2 a3 b3
//   lane k + 1  b0 b1 b2 b3 b4 b5 b6 b7   into  a4 b4 a5 b5 a6 b6 a7 b7
//
// so that each register holds two lanes of two columns. Of the left operand, two lanes of two rows are read in place. 24 of the
// 32 registers hold sums.

static_assert(WIDTH == 8 && PAIR == 2, "a vector is two registers of four lanes of two bfloat16");
constexpr int LANES = 2;
constexpr bool STEPS = false;
constexpr int BLOCK_ROWS = 48;
constexpr int TILE_PAIRS = 3, TILE_PANELS = 2;
constexpr int tile_rows(int) { return 2 * TILE_PAIRS; }
constexpr int SUMS = tile_rows(PANELS) * PANELS;

struct Tiles {};

inline void arrange(float* packed, int64_t lanes, int64_t panels) {
  for (int64_t k = 0; k < lanes; k += LANES)
    for (int64_t p = 0; p < panels; p++) {
      float *first = packed + (k * panels + p) * WIDTH, *second = first + panels * WIDTH;
      const Vec a = load(first), b = load(second);
      store(first, Vec{vzip1q_f32(a.low, b.low), vzip2q_f32(a.low, b.low)});
      store(second, Vec{vzip1q_f32(a.high, b.high), vzip2q_f32(a.high, b.high)});
    }
}

// Rows in pairs, the last one with itself if the number is odd, times P of a group of `panels` panels.
template <int PAIRS, int P>
void tile(int rows, const float* a, int64_t row, const float* b, int panels, int64_t lanes, float* z, bool add,
          Prefetcher* prefetcher) {
  constexpr int REGISTERS = 2 * P * LANES;  // of the sums of a pair of rows
  const auto pairs = [](float32x4_t v) { return vreinterpretq_f64_f32(v); };
  const auto apart = [](float64x2_t v) { return vreinterpretq_f32_f64(v); };
  const auto second_of = [rows](int pair) { return 2 * pair + 1 < rows ? 2 * pair + 1 : 2 * pair; };
  const auto at = [z, panels](int r, int i) { return z + r * panels * WIDTH + 4 * i; };  // the sums of row r, columns 4 i …
  float32x4_t sum[PAIRS][REGISTERS];
#pragma GCC unroll 4
  for (int r = 0; r < PAIRS; r++)
#pragma GCC unroll 8
    for (int i = 0; i < REGISTERS / 2; i++) {
      const float32x4_t none = vdupq_n_f32(0);
      const float32x4_t first = add ? read<float32x4_t>(at(2 * r, i)) : none;
      const float32x4_t second = add ? read<float32x4_t>(at(second_of(r), i)) : none;
      sum[r][2 * i] = apart(vzip1q_f64(pairs(first), pairs(second)));
      sum[r][2 * i + 1] = apart(vzip2q_f64(pairs(first), pairs(second)));
    }
  for (int64_t k = 0; k < lanes; k += LANES, b += LANES * panels * WIDTH) {
    if (prefetcher && k % PREFETCH_INTERVAL == 0) prefetcher->step();
    bfloat16x8_t left[PAIRS];
#pragma GCC unroll 4
    for (int r = 0; r < PAIRS; r++)
      left[r] = vreinterpretq_bf16_f32(
          vcombine_f32(read<float32x2_t>(a + 2 * r * row + k), read<float32x2_t>(a + second_of(r) * row + k)));
#pragma GCC unroll 8
    for (int i = 0; i < REGISTERS; i++) {
      const float* vector = b + (i / 2 % LANES * panels + i / 4) * WIDTH;
      const bfloat16x8_t right = vreinterpretq_bf16_f32(read<float32x4_t>(vector + i % 2 * 4));
#pragma GCC unroll 4
      for (int r = 0; r < PAIRS; r++) sum[r][i] = vbfmmlaq_f32(sum[r][i], left[r], right);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < PAIRS; r++)
#pragma GCC unroll 8
    for (int i = 0; i < REGISTERS / 2; i++) {
      const float64x2_t low = pairs(sum[r][2 * i]), high = pairs(sum[r][2 * i + 1]);
      write(at(second_of(r), i), apart(vzip2q_f64(low, high)));
      write(at(2 * r, i), apart(vzip1q_f64(low, high)));  // last: of a pair of one row both are the same
    }
}

template <int PAIRS>
void tile_of(int panels, int rows, const float* a, int64_t row, const float* b, int64_t lanes, float* z, bool add,
             Prefetcher* prefetcher) {
  if constexpr (PAIRS > 0) {
    if ((rows + 1) / 2 != PAIRS) return tile_of<PAIRS - 1>(panels, rows, a, row, b, lanes, z, add, prefetcher);
    for (int p = 0; p < panels; p += TILE_PANELS)
      (p + 1 < panels ? tile<PAIRS, 2> : tile<PAIRS, 1>)(rows, a, row, b + p * WIDTH, panels, lanes, z + p * WIDTH, add,
                                                         prefetcher);
  }
}

// For up to tile_rows(panels) rows.
inline void tile_of(int panels, int rows, const float* a, int64_t row, int64_t, const float* b, int64_t lanes, float* z,
                    bool add = false, Prefetcher* prefetcher = nullptr) {
  tile_of<TILE_PAIRS>(panels, rows, a, row, b, lanes, z, add, prefetcher);
}
