// The tile in vector registers (product.h says what it is).

constexpr int SUMS = WIDTH == 16 ? 24 : 12;  // registers that hold sums: the rest holds what is multiplied
constexpr int LANES = 1;
constexpr bool STEPS = true;
constexpr int BLOCK_ROWS = 48;
constexpr int tile_rows(int panels) { return SUMS / panels < 8 ? SUMS / panels : 8; }

struct Tiles {};

// z [R][P][WIDTH] (+)= the product of R rows of lanes and a packed group of P panels.
template <int R, int P>
void tile(const float* a, int64_t row, int64_t step, const float* b, int64_t lanes, float* z, bool add, Soon* soon) {
  V sum[R][P];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) sum[r][p] = zero();
  // What the sums are added to is asked for now and read when all is multiplied: it may be far away.
  for (int i = 0; add && i < R * P * WIDTH; i += LINE / int(sizeof(float))) ask_to_change(z + i);
  for (int64_t k = 0; k < lanes;) {
    if (soon) soon->turn();
    for (const int64_t end = least(lanes, k + TURN); k < end; k++, a += step, b += P * WIDTH) {
      V right[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) right[p] = load(b + p * WIDTH);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const V left = broadcast(a[r * row]);
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
void tile_of(int rows, const float* a, int64_t row, int64_t step, const float* b, int64_t lanes, float* z, bool add, Soon* soon) {
  if constexpr (R > 0) {
    if (rows == R) return tile<R, P>(a, row, step, b, lanes, z, add, soon);
    tile_of<R - 1, P>(rows, a, row, step, b, lanes, z, add, soon);
  }
}

// … for up to tile_rows(panels) rows.
inline void tile_of(int panels, int rows, const float* a, int64_t row, int64_t step, const float* b, int64_t lanes, float* z,
                    bool add = false, Soon* soon = nullptr) {
  switch (panels) {
    case 1:
      return tile_of<tile_rows(1), 1>(rows, a, row, step, b, lanes, z, add, soon);
    case 2:
      return tile_of<tile_rows(2), 2>(rows, a, row, step, b, lanes, z, add, soon);
    case 3:
      return tile_of<tile_rows(3), 3>(rows, a, row, step, b, lanes, z, add, soon);
    case 4:
      return tile_of<tile_rows(4), 4>(rows, a, row, step, b, lanes, z, add, soon);
  }
}
