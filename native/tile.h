// The tile in vector registers (interface: product.h).

constexpr int SUMS = WIDTH == 16 ? 24 : 12;  // registers for sums; the rest hold operands
constexpr int LANES = 1;
constexpr bool STEPS = true;
constexpr int BLOCK_ROWS = 48;
constexpr int tile_rows(int panels) { return SUMS / panels < 8 ? SUMS / panels : 8; }

struct Tiles {};

inline void arrange(float*, int64_t, int64_t) {}

// z [R][P][WIDTH] (+)= the product of R rows of lanes and a packed group of P panels. `add` accumulates.
template <int R, int P>
void tile(const float* a, int64_t row, int64_t step, const float* b, int64_t lanes, float* z, bool add, Prefetcher* prefetcher) {
  Vec sum[R][P];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) sum[r][p] = zero();
  // z is read only at the end, but may be in memory: prefetch it.
  for (int i = 0; add && i < R * P * WIDTH; i += LINE / int(sizeof(float))) prefetch_to_write(z + i);
  for (int64_t k = 0; k < lanes;) {
    if (prefetcher) prefetcher->step();
    for (const int64_t end = min(lanes, k + PREFETCH_INTERVAL); k < end; k++, a += step, b += P * WIDTH) {
      Vec right[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) right[p] = load(b + p * WIDTH);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const Vec left = broadcast(a[r * row]);
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) sum[r][p] = add_product(sum[r][p], left, right[p]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      float* to = z + (r * P + p) * WIDTH;
      store(to, add ? load(to) + sum[r][p] : sum[r][p]);
    }
}

template <int R, int P>
void tile_of(int rows, const float* a, int64_t row, int64_t step, const float* b, int64_t lanes, float* z, bool add,
             Prefetcher* prefetcher) {
  if constexpr (R > 0) {
    if (rows == R) return tile<R, P>(a, row, step, b, lanes, z, add, prefetcher);
    tile_of<R - 1, P>(rows, a, row, step, b, lanes, z, add, prefetcher);
  }
}

// For up to tile_rows(panels) rows.
inline void tile_of(int panels, int rows, const float* a, int64_t row, int64_t step, const float* b, int64_t lanes, float* z,
                    bool add = false, Prefetcher* prefetcher = nullptr) {
  switch (panels) {
    case 1:
      return tile_of<tile_rows(1), 1>(rows, a, row, step, b, lanes, z, add, prefetcher);
    case 2:
      return tile_of<tile_rows(2), 2>(rows, a, row, step, b, lanes, z, add, prefetcher);
    case 3:
      return tile_of<tile_rows(3), 3>(rows, a, row, step, b, lanes, z, add, prefetcher);
    case 4:
      return tile_of<tile_rows(4), 4>(rows, a, row, step, b, lanes, z, add, prefetcher);
  }
}
