// Matrix products: packed operands, a tile of results in registers, and the blocks around it.
//
// The right operand is packed in groups of up to PANELS vectors of columns: [inner lanes][panels][WIDTH], so that the tile reads
// it from front to back. The left one is read a lane at a time: element (r, k) at a[r * row + k * step]. With bfloat16 a lane is
// a pair of numbers that follow each other in the inner dimension (lanes.h).

constexpr int PANELS = 4;
constexpr int BLOCK_LANES = 512;  // of the inner dimension, that stay near while all columns pass by
constexpr int CHUNK_PANELS = 32;  // of the right operand of a weight gradient, that stay near while all rows pass by

// Each kind of tile says:
//   tile_rows(panels)  how many rows it takes at the most
//   SUMS               how many vectors of results it has at the most
//   LANES              its inner dimension is a multiple of so many lanes: operands are filled up with zeros
//   STEPS              whether lanes of the left operand may lie apart, so that a transposed one is packed [lanes][rows]
//   BLOCK_ROWS         rows of the left operand that stay near while all columns pass by
//   Tiles              what exists while a kernel runs on a thread
//   tile_of            z [rows][panels][WIDTH] (+)= the product of rows of lanes and a packed group of panels
#if LMGEN_AMX
#include "tile_amx.h"
#else
#include "tile.h"
#endif

// Rows of cells are padded to a multiple of it, and tiles read them where they are.
constexpr int PADDING = LANES * PAIR > WIDTH ? LANES* PAIR : WIDTH;

inline int64_t lanes_of(int64_t inner) { return rounded_up((inner + PAIR - 1) / PAIR, LANES); }

// An even share of n things, as the part from share(n, i, of) to share(n, i + 1, of).
inline int64_t share(int64_t n, int64_t i, int64_t of) { return n * i / of; }

// ---- packing --------------------------------------------------------------------------------------------------------------

// One vector of a lane's numbers: rows k … k + PAIR - 1 of a matrix [inner, …] at column c, n columns.
template <class T>
inline V lane_of_rows(const T* data, int64_t stride, int64_t k, int64_t inner, int64_t c, int64_t n) {
  const T* p = data + k * stride + c;
#if LMGEN_BF16
  return paired(k < inner ? load(p, n) : zero(), k + 1 < inner ? load(p + stride, n) : zero());
#else
  return k < inner ? load(p, n) : zero();
#endif
}

// WIDTH lanes along the inner dimension of one row [inner], from number k on.
inline V lanes_of_row(const float* row, int64_t k, int64_t inner) {
#if LMGEN_BF16
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const V a = load(row + k, inner - k), b = inner - k > WIDTH ? load(row + k + WIDTH, inner - k - WIDTH) : zero();
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  return paired(_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b));
#else
  return load(row + k, inner - k);
#endif
}

#if LMGEN_BF16
inline V lanes_of_row(const uint16_t* row, int64_t k, int64_t inner) {
  const int64_t n = inner - k;
  const __mmask32 mask = n >= 32 ? ~__mmask32(0) : n <= 0 ? 0 : __mmask32((1u << n) - 1);
  return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, checked(row + k, n, 2 * WIDTH)));
}
#endif

// Columns c … of b [inner, columns], lanes from k0 on: out [lanes][panels][WIDTH].
template <class T>
void pack_columns(const T* b, int64_t stride, int64_t k0, int64_t lanes, int64_t inner, int64_t c, int64_t columns, int panels,
                  float* out) {
  for (int64_t k = k0; k < k0 + lanes; k++)
    for (int p = 0; p < panels; p++, out += WIDTH)
      store(out, lane_of_rows(b, stride, k * PAIR, inner, c + p * WIDTH, columns - c - p * WIDTH));
}

// The same of the transpose of b [columns, inner].
template <class T>
void pack_transposed(const T* b, int64_t stride, int64_t k0, int64_t lanes, int64_t inner, int64_t c, int64_t columns, int panels,
                     float* out) {
  for (int64_t k = 0; k < lanes; k += WIDTH)
    for (int p = 0; p < panels; p++) {
      V block[WIDTH];
      for (int j = 0; j < WIDTH; j++) {
        const int64_t column = c + p * WIDTH + j;
        block[j] = column < columns ? lanes_of_row(b + column * stride, (k0 + k) * PAIR, inner) : zero();
      }
      transpose(block);
      for (int j = 0; j < WIDTH && k + j < lanes; j++) store(out + ((k + j) * panels + p) * WIDTH, block[j]);
    }
}

inline void pack(const Matrix& b, int64_t k0, int64_t lanes, int64_t inner, int64_t c, int64_t columns, int panels, float* out) {
#if LMGEN_BF16
  if (b.bf16) {
    const uint16_t* data = static_cast<const uint16_t*>(b.data);
    return (b.transposed ? pack_transposed<uint16_t> : pack_columns<uint16_t>)(data, b.stride, k0, lanes, inner, c, columns,
                                                                               panels, out);
  }
#endif
  const float* data = static_cast<const float*>(b.data);
  (b.transposed ? pack_transposed<float> : pack_columns<float>)(data, b.stride, k0, lanes, inner, c, columns, panels, out);
}

// A block of units at column c of each of several gates: b [inner, gates P], out [lanes][gates][WIDTH], for inner <= 2 P.
inline void pack_gates(const float* b, int64_t P, int64_t inner, int64_t c, int gates, float* out) {
  for (int64_t k = 0; k < lanes_of(P); k++)
    for (int g = 0; g < gates; g++, out += WIDTH) store(out, lane_of_rows(b + g * P, gates * P, k * PAIR, inner, c, WIDTH));
}

// A row of things (rows, panels) cut in pieces of at most `most`, all about equal.
struct Cut {
  int64_t n, pieces;
  Cut(int64_t n, int64_t most) : n(n), pieces((n + most - 1) / most) {}
  int64_t at(int64_t i) const { return pieces ? share(n, i, pieces) : 0; }
  int size(int64_t i) const { return int(at(i + 1) - at(i)); }
};

// ---- whole products ---------------------------------------------------------------------------------------------------------

// Rows r0 …, lanes k0 … of a left operand that is the transpose of a [inner, rows]: [lanes][rows], or [rows][lanes] for a tile
// without steps.
template <class T>
void pack_left_transposed(const T* a, int64_t stride, int64_t r0, int rows, int64_t k0, int64_t lanes, int64_t inner,
                          float* out) {
  if constexpr (STEPS) {
    for (int64_t k = 0; k < lanes; k++) store(out + k * rows, lane_of_rows(a, stride, (k0 + k) * PAIR, inner, r0, rows), rows);
  } else {
    for (int64_t k = 0; k < lanes; k += WIDTH)
      for (int r = 0; r < rows; r += WIDTH) {
        V block[WIDTH];
        for (int j = 0; j < WIDTH; j++) block[j] = lane_of_rows(a, stride, (k0 + k + j) * PAIR, inner, r0 + r, rows - r);
        transpose(block);
        for (int j = 0; j < WIDTH && r + j < rows; j++) store(out + (r + j) * lanes + k, block[j], lanes - k);
      }
  }
}

// Rows r0 … of the left operand, lanes k0 …, as the tile reads them: [rows][lanes], but for pack_left_transposed.
inline void pack_left(const Matrix& a, int64_t r0, int rows, int64_t k0, int64_t lanes, int64_t inner, float* out) {
  if (!a.transposed) {
    for (int r = 0; r < rows; r++)
      for (int64_t k = 0; k < lanes; k += WIDTH) {
#if LMGEN_BF16
        if (a.bf16) {
          store(out + r * lanes + k,
                lanes_of_row(static_cast<const uint16_t*>(a.data) + (r0 + r) * a.stride, (k0 + k) * PAIR, inner), lanes - k);
          continue;
        }
#endif
        store(out + r * lanes + k, lanes_of_row(static_cast<const float*>(a.data) + (r0 + r) * a.stride, (k0 + k) * PAIR, inner),
              lanes - k);
      }
    return;
  }
#if LMGEN_BF16
  if (a.bf16) return pack_left_transposed(static_cast<const uint16_t*>(a.data), a.stride, r0, rows, k0, lanes, inner, out);
#endif
  pack_left_transposed(static_cast<const float*>(a.data), a.stride, r0, rows, k0, lanes, inner, out);
}

inline void store_row(const Product& p, int64_t r, int64_t c, V v, int64_t n) {
#if LMGEN_BF16
  if (p.c_bf16) return store(static_cast<uint16_t*>(p.c) + r * p.c_stride + c, v, n);
#endif
  store(static_cast<float*>(p.c) + r * p.c_stride + c, v, n);
}

// The part of a product that one thread computes: columns are shared among the threads as far as there are some, then rows.
struct Part {
  int64_t panel0, panels, row0, rows;
  Part(const Product& p, const Worker& worker) {
    const int64_t all = (p.columns + WIDTH - 1) / WIDTH;
    const int64_t across = least(worker.count, all < 2 ? 1 : all / 2), down = worker.count / across;
    const int64_t x = worker.number % across, y = worker.number / across;
    panel0 = share(all, x, across), panels = y < down ? share(all, x + 1, across) - panel0 : 0;
    row0 = share(p.rows, least(y, down), down), rows = share(p.rows, least(y + 1, down), down) - row0;
  }
};

inline void finish(const Product& p, const float* sum, int64_t r, int rows, int64_t panel, int panels) {
  for (int s = 0; s < rows; s++)
    for (int q = 0; q < panels; q++, sum += WIDTH) {
      const int64_t c = (panel + q) * WIDTH;
      store_row(p, r + s, c, p.bias ? load(sum) + load(p.bias + c, p.columns - c) : load(sum), p.columns - c);
    }
}

// Weights on the right stay packed as a whole while the rows pass by. Where the left operand is transposed - a weight gradient,
// whose inner dimension is long - it is packed a piece of that at a time, all rows of it; the right one likewise, some columns at
// a time; and the sums of all rows wait from piece to piece.
inline void product(const Product& p, const Worker& worker) {
  const Part part(p, worker);
  const bool gradient = p.a.transposed, direct = PAIR == 1 && !gradient;  // direct: the left operand can be read where it is
  const int64_t lanes = lanes_of(p.inner), piece = least(lanes, BLOCK_LANES), pass = gradient ? piece : lanes;
  const int64_t width = gradient ? least(part.panels, CHUNK_PANELS) : part.panels;
  const Cut blocks(part.rows, BLOCK_ROWS);
  float* right = worker.array<float>(pass * width * WIDTH);
  float* left = direct ? nullptr : worker.array<float>((gradient ? part.rows : BLOCK_ROWS) * piece + WIDTH);
  float* sums = worker.array<float>((pass < lanes ? part.rows : BLOCK_ROWS) * part.panels * WIDTH);
  for (int64_t k0 = 0; k0 < lanes; k0 += pass) {
    const int64_t end = least(lanes, k0 + pass);
    for (int64_t c0 = 0; c0 < part.panels; c0 += width) {
      const Cut groups(least(width, part.panels - c0), PANELS);
      for (int64_t k = k0; k < end; k += piece)
        for (int64_t g = 0; g < groups.pieces; g++)
          pack(p.b, k, least(piece, end - k), p.inner, (part.panel0 + c0 + groups.at(g)) * WIDTH, p.columns, groups.size(g),
               right + ((k - k0) * groups.n + groups.at(g) * least(piece, end - k)) * WIDTH);
      for (int64_t i = 0; i < blocks.pieces; i++) {
        const Cut few(blocks.size(i), tile_rows(PANELS));
        for (int64_t k = k0; k < end; k += piece) {
          const int64_t now = least(piece, end - k);
          for (int64_t j = 0; j < few.pieces; j++) {
            const int64_t row = blocks.at(i) + few.at(j);  // of the part
            float* packed = left + (gradient ? row : few.at(j)) * now;
            if (!direct && c0 == 0) pack_left(p.a, part.row0 + row, few.size(j), k, now, p.inner, packed);
          }
          for (int64_t g = 0; g < groups.pieces; g++)
            for (int64_t j = 0; j < few.pieces; j++) {
              const int rows = few.size(j), panels = groups.size(g);
              const int64_t row = blocks.at(i) + few.at(j), r = part.row0 + row, waiting = pass < lanes ? row : few.at(j);
              const float* packed = left + (gradient ? row : few.at(j)) * now;
              const float* at = direct ? static_cast<const float*>(p.a.data) + r * p.a.stride + k : packed;
              const bool steps = gradient && STEPS;
              const int64_t down = direct ? p.a.stride : steps ? 1 : now, step = steps ? rows : 1;
              float* sum = sums + (waiting * part.panels + (c0 + groups.at(g)) * rows) * WIDTH;
              const float* group = right + ((k - k0) * groups.n + groups.at(g) * now) * WIDTH;
              tile_of(panels, rows, at, down, step, group, now, sum, k > 0);
              if (k + now == lanes) finish(p, sum, r, rows, part.panel0 + c0 + groups.at(g), panels);
            }
        }
      }
    }
  }
}

// sums [R, columns] of the rows of x [n, columns] that have the same id.
inline void sum_rows(const RowSums& s, const Worker& worker) {
  const int64_t all = (s.columns + WIDTH - 1) / WIDTH, from = share(all, worker.number, worker.count) * WIDTH;
  const int64_t end = least(s.columns, share(all, worker.number + 1, worker.count) * WIDTH);
  for (int64_t r = 0; r < s.rows; r++)
    for (int64_t c = from; c < end; c += WIDTH) store(s.sums + r * s.columns + c, zero(), end - c);
  for (int64_t k = 0; k < s.n; k++) {
    const Stored* x = static_cast<const Stored*>(s.x) + k * s.columns;
    float* sum = s.sums + s.ids[k] * s.columns;
    for (int64_t c = from; c < end; c += WIDTH) store(sum + c, load(sum + c, end - c) + load(x + c, end - c), end - c);
  }
}
