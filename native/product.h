// Matrix products: packed operands, a tile of results in registers, and the blocks around it.
//
// The right operand is packed in groups of up to PANELS vectors of columns: [inner lanes][panels][WIDTH], so that the tile reads
// it from front to back. The left one is read a lane at a time: element (r, k) at a[r * row + k * step]. With bfloat16 a lane is
// a pair of numbers that follow each other in the inner dimension (lanes.h).

constexpr int PANELS = 4;
constexpr int BLOCK_LANES = 512;  // of the inner dimension, about so many stay near while all columns pass by
constexpr int64_t FAR = 1 << 14;  // numbers from row to row
constexpr int CHUNK_PANELS = 12;  // of the right operand of a weight gradient, that stay near while all rows pass by

// Each kind of tile says:
//   tile_rows(panels)  how many rows it takes at the most
//   SUMS               how many vectors of results it has at the most
//   LANES              its inner dimension is a multiple of so many lanes: operands are filled up with zeros
//   STEPS              whether lanes of the left operand may lie apart, so that a transposed one is packed [lanes][rows of a
//   tile] BLOCK_ROWS         rows of the left operand that stay near while all columns pass by Tiles              what exists
//   while a kernel runs on a thread tile_of            z [rows][panels][WIDTH] (+)= the product of rows of lanes and a packed
//   group of panels;
//                      meanwhile it takes the turns of what is wanted soon
#include "soon.h"
#if LMGEN_AMX
#include "tile_amx.h"
#else
#include "tile.h"
#endif

// Of a weight gradient's groups of panels. With STEPS a tile has half as many rows as a vector, which fills two of them.
constexpr int GRADIENT_PANELS = STEPS ? 3 : PANELS;
static_assert(!STEPS || 2 * tile_rows(GRADIENT_PANELS) == WIDTH, "two tiles fill a vector");

// Rows of cells are padded to a multiple of it, and tiles read them where they are.
constexpr int PADDING = LANES * PAIR > WIDTH ? LANES* PAIR : WIDTH;

inline int64_t lanes_of(int64_t inner) { return rounded_up((inner + PAIR - 1) / PAIR, LANES); }

// A long inner dimension is cut in equal pieces of whole vectors, none of which then reaches over two gates.
inline int64_t piece_of(int64_t lanes) {
  const int64_t pieces = (lanes + BLOCK_LANES / 2) / BLOCK_LANES;
  return pieces > 1 ? rounded_up((lanes + pieces - 1) / pieces, WIDTH) : lanes;
}
static_assert(WIDTH % LANES == 0, "a piece is of whole lanes");

// An even share of n things, as the part from share(n, i, of) to share(n, i + 1, of).
inline int64_t share(int64_t n, int64_t i, int64_t of) { return n * i / of; }

// ---- packing --------------------------------------------------------------------------------------------------------------

constexpr int64_t BAND = STEPS ? 8 : WIDTH;  // lanes packed in all columns before the next: memory is read about as it lies

// Asks for rows k … of a band of a matrix [inner, …], columns c … c + n, in the order in which they lie in memory.
template <class T>
inline void ask_for(const T* data, int64_t stride, int64_t k, int64_t inner, int64_t c, int64_t n) {
  for (int64_t row = k; row < least(k + BAND * PAIR, inner); row++)
    for (int64_t i = 0; i < n; i += LINE / int64_t(sizeof(T))) ask_for(data + row * stride + c + i);
}

struct Place {  // of a column in memory, and how many numbers of its gate there are from it on: beyond them are zeros
  int64_t column, n;
};

inline Place place(const Gates& gates, int64_t c) {
  if (c < gates.P) return {gates.first * gates.N + c, gates.N - c};
  const int64_t gate = c / gates.P, at = c - gate * gates.P;
  return {(gate + gates.first) % gates.count * gates.N + at, gates.N - at};
}

// A row of things (rows, panels) cut in pieces of at most `most`, all about equal.
struct Cut {
  int64_t n, pieces;
  Cut(int64_t n, int64_t most) : n(n), pieces((n + most - 1) / most) {}
  int64_t at(int64_t i) const { return pieces ? share(n, i, pieces) : 0; }
  int size(int64_t i) const { return int(at(i + 1) - at(i)); }
  int64_t piece_of(int64_t k) const { return ((k + 1) * pieces - 1) / n; }  // which piece thing number k is in
};

// One vector of a lane's numbers: rows k … k + PAIR - 1 of a matrix [inner, …] at column c, n columns. `weights` [inner], unless
// null, are what its rows are multiplied by.
template <class T>
inline V lane_of_rows(const T* data, int64_t stride, int64_t k, int64_t inner, int64_t c, int64_t n, const float* weights) {
  const T* p = data + k * stride + c;
#if LMGEN_BF16
  const bool second = k + 1 < inner;
  if (k >= inner) return zero();
  if (weights)
    return paired(load(p, n) * broadcast(weights[k]), second ? load(p + stride, n) * broadcast(weights[k + 1]) : zero());
  if constexpr (sizeof(T) == sizeof(uint16_t)) return paired(p, second ? p + stride : nullptr, n);
  return paired(load(p, n), second ? load(p + stride, n) : zero());
#else
  if (k >= inner) return zero();
  return weights ? load(p, n) * broadcast(weights[k]) : load(p, n);
#endif
}

// WIDTH lanes along the inner dimension of one row, whose numbers lie at these places.
template <class T>
inline V lanes_of_row(const T* row, const Place (&at)[PAIR]) {
#if LMGEN_BF16
  return joined(load(row + at[0].column, at[0].n), load(row + at[1].column, at[1].n));
#else
  return load(row + at[0].column, at[0].n);
#endif
}

template <class T>
inline V lanes_of_row(const T* p) {  // whose numbers follow each other
#if LMGEN_BF16
  return sizeof(T) == sizeof(uint16_t) ? load(reinterpret_cast<const float*>(p)) : joined(load(p), load(p + WIDTH));
#else
  return load(p);
#endif
}

inline void places(const Gates& gates, int64_t lane, Place (&at)[PAIR]) {
  for (int i = 0; i < PAIR; i++) at[i] = place(gates, lane * PAIR + i * WIDTH);
}

// Two vectors of a lane's numbers: of 2 WIDTH columns from p on, and all PAIR rows.
template <class T>
inline void lane_of_rows(const T* p, int64_t stride, V& first, V& second) {
#if LMGEN_BF16
  if constexpr (sizeof(T) == sizeof(uint16_t)) return paired(p, p + stride, first, second);
  first = paired(load(p), load(p + stride)), second = paired(load(p + WIDTH), load(p + stride + WIDTH));
#else
  (void)stride;
  first = load(p), second = load(p + WIDTH);
#endif
}

struct Groups {  // of panels, from panel0 on
  int64_t panel0;
  Cut cut;
  int64_t count;
  Groups(int64_t panel0, int64_t panels, int64_t most = PANELS) : panel0(panel0), cut(panels, most), count(cut.pieces) {}
  int64_t at(int64_t g) const { return cut.at(g); }
  int size(int64_t g) const { return cut.size(g); }
};

struct Strip {  // where the lanes of a panel go: `step` numbers apart, and with `half` the second half of each so far behind it
  float* to;
  int64_t step, half;
  void put(int64_t k, V v) const {
    float* at = to + k * step;
    half ? store_halves(at, at + half, v) : store(at, v);
  }
};

// Columns of b [inner, …], lanes k0 … k0 + lanes, from panel0 on: panel q to strip_of(q). `weights` as above.
template <class T, class F>
void pack_columns(const Matrix& b, int64_t k0, int64_t lanes, int64_t inner, int64_t panel0, int64_t panels, const float* weights,
                  F strip_of) {
  const T* data = static_cast<const T*>(b.data);
  const int64_t c0 = place(b.gates, panel0 * WIDTH).column, whole = inner / PAIR - k0;  // lanes that have all their rows
  for (int64_t band = 0; band < lanes; band += BAND) {
    ask_for(data, b.stride, (k0 + band + BAND) * PAIR, inner, c0, least(panels * WIDTH, b.stride - c0));
    const int64_t end = least(lanes, band + BAND);
    for (int64_t q = 0; q < panels; q++) {
      const Place at = place(b.gates, (panel0 + q) * WIDTH);
      const Strip strip = strip_of(q);
      if (q + 1 < panels && at.n >= 2 * WIDTH && end <= whole && !weights) {
        const Strip next = strip_of(++q);
        for (int64_t k = band; k < end; k++) {
          V first, second;
          lane_of_rows(data + (k0 + k) * PAIR * b.stride + at.column, b.stride, first, second);
          strip.put(k, first), next.put(k, second);
        }
      } else {
        for (int64_t k = band; k < end; k++)
          strip.put(k, lane_of_rows(data, b.stride, (k0 + k) * PAIR, inner, at.column, at.n, weights));
      }
    }
  }
}

// The same, group after group, each [lanes][panels][WIDTH].
template <class T>
void pack_columns(const Matrix& b, int64_t k0, int64_t lanes, int64_t inner, const Groups& groups, float* out) {
  pack_columns<T>(b, k0, lanes, inner, groups.panel0, groups.cut.n, nullptr, [&](int64_t q) {
    const int64_t g = groups.cut.piece_of(q), from = groups.at(g), panels = groups.size(g);
    return Strip{out + (from * lanes + q - from) * WIDTH, panels * WIDTH, 0};
  });
}

// The same of the transpose of b [columns, inner].
template <class T>
void pack_transposed(const Matrix& b, int64_t k0, int64_t lanes, int64_t columns, const Groups& groups, float* out) {
  for (int64_t g = 0; g < groups.count; g++) {
    const int64_t from = groups.at(g), panels = groups.size(g);
    for (int64_t p = 0; p < panels; p++)
      for (int64_t k = 0; k < lanes; k += WIDTH) {
        Place at[PAIR];
        places(b.gates, k0 + k, at);
        V block[WIDTH];
        for (int64_t j = 0; j < WIDTH; j++) {
          const int64_t column = (groups.panel0 + from + p) * WIDTH + j;
          block[j] = column < columns ? lanes_of_row(static_cast<const T*>(b.data) + column * b.stride, at) : zero();
        }
        transpose(block);
        for (int64_t j = 0; j < WIDTH && k + j < lanes; j++) store(out + (from * lanes + (k + j) * panels + p) * WIDTH, block[j]);
      }
  }
}

// Rows r0 … of a left operand, lanes k0 …: [rows][lanes].
template <class T>
void pack_rows(const Matrix& a, int64_t r0, int64_t rows, int64_t k0, int64_t lanes, float* out) {
  const int64_t whole = least(a.gates.N / PAIR - k0, lanes) / WIDTH * WIDTH;  // lanes of vectors that have all their numbers
  for (int64_t r = 0; r < rows; r++, out += lanes) {
    const T* row = static_cast<const T*>(a.data) + (r0 + r) * a.stride;
    for (int64_t k = 0; k < whole; k += WIDTH) store(out + k, lanes_of_row(row + (k0 + k) * PAIR));
    for (int64_t k = whole > 0 ? whole : 0; k < lanes; k += WIDTH) {
      Place at[PAIR];
      places(a.gates, k0 + k, at);
      store(out + k, lanes_of_row(row, at), lanes - k);
    }
  }
}

// Rows r0 … of a left operand that is the transpose of a [inner, rows], lanes k0 …: tile after tile, each [lanes][rows of a
// tile], or [rows][lanes] for a tile without steps.
template <class T>
void pack_rows_transposed(const Matrix& a, int64_t r0, int64_t rows, int64_t k0, int64_t lanes, int64_t inner,
                          const float* weights, float* out) {
  const T* data = static_cast<const T*>(a.data) + r0;
  if constexpr (STEPS) {
    constexpr int64_t tile = WIDTH / 2;
    const Matrix shifted{data, a.stride, a.bf16, false, one_gate(rows)};
    return pack_columns<T>(shifted, k0, lanes, inner, 0, (rows + WIDTH - 1) / WIDTH, weights,
                           [&](int64_t q) { return Strip{out + q * WIDTH * lanes, tile, tile * lanes}; });
  }
  for (int64_t band = 0; band < lanes; band += BAND) {
    ask_for(data, a.stride, (k0 + band + BAND) * PAIR, inner, 0, rows);
    for (int64_t r = 0; r < rows; r += WIDTH) {
      V block[WIDTH];
      for (int64_t j = 0; j < WIDTH; j++)
        block[j] = lane_of_rows(data, a.stride, (k0 + band + j) * PAIR, inner, r, rows - r, weights);
      transpose(block);
      for (int64_t j = 0; j < WIDTH && r + j < rows; j++) store(out + (r + j) * lanes + band, block[j], lanes - band);
    }
  }
}

// What of these functions reads numbers of the matrix's type.
inline void pack(const Matrix& b, int64_t k0, int64_t lanes, int64_t inner, int64_t columns, const Groups& groups, float* out) {
#if LMGEN_BF16
  if (b.bf16)
    return b.transposed ? pack_transposed<uint16_t>(b, k0, lanes, columns, groups, out)
                        : pack_columns<uint16_t>(b, k0, lanes, inner, groups, out);
#endif
  b.transposed ? pack_transposed<float>(b, k0, lanes, columns, groups, out)
               : pack_columns<float>(b, k0, lanes, inner, groups, out);
}

inline void pack_left(const Matrix& a, int64_t r0, int64_t rows, int64_t k0, int64_t lanes, int64_t inner, const float* weights,
                      float* out) {
#if LMGEN_BF16
  if (a.bf16)
    return a.transposed ? pack_rows_transposed<uint16_t>(a, r0, rows, k0, lanes, inner, weights, out)
                        : pack_rows<uint16_t>(a, r0, rows, k0, lanes, out);
#endif
  a.transposed ? pack_rows_transposed<float>(a, r0, rows, k0, lanes, inner, weights, out)
               : pack_rows<float>(a, r0, rows, k0, lanes, out);
}

// A block of units of all gates at column c of each: b [inner, gates], out [lanes][gates][WIDTH].
inline void pack_gates(const float* b, const Gates& gates, int64_t inner, int64_t c, float* out) {
  const int64_t stride = gates.count * gates.N;
  for (int64_t k = 0; k < lanes_of(gates.P); k++)
    for (int64_t g = 0; g < gates.count; g++, out += WIDTH)
      store(out, lane_of_rows(b, stride, k * PAIR, inner, g * gates.N + c, gates.N - c, nullptr));
}

// The same as a function of its own: among much else the compiler finds no registers for all sums.
__attribute__((noinline)) inline void tile_apart(int panels, int rows, const float* a, int64_t row, int64_t step, const float* b,
                                                 int64_t lanes, float* z, bool add, Soon* soon) {
  tile_of(panels, rows, a, row, step, b, lanes, z, add, soon);
}

// ---- whole products ---------------------------------------------------------------------------------------------------------

// The part of a product that one thread computes: some of its columns, as far as there are enough for all threads, and some of
// its rows. Rows first of a weight gradient that has more of them, since every thread packs what it does not share; and where
// columns would come in uneven shares, if all of them are near for every thread and so many rows pass by that packing them is
// little.
struct Part {
  int64_t panel0, panels, row0, rows;
  Part(const Product& p, const Worker& worker) {
    constexpr int64_t PACKING = 32;  // rows multiplied by a vector while another is packed
    const int64_t all = (p.columns + WIDTH - 1) / WIDTH, tiles = p.rows / tile_rows(PANELS);
    int64_t across = least(worker.count, all < 2 ? 1 : all / 2);
    const int64_t idle = (all + across - 1) / across * across - all;  // panels' time
    const bool rows_first = p.a.transposed ? p.rows > p.columns : p.near && idle * p.rows > PACKING * all;
    if (rows_first) across = worker.count / least(worker.count, tiles < 1 ? 1 : tiles);
    const int64_t down = worker.count / across;
    const int64_t x = worker.number % across, y = worker.number / across;
    panel0 = share(all, x, across), panels = y < down ? share(all, x + 1, across) - panel0 : 0;
    row0 = share(p.rows, least(y, down), down), rows = share(p.rows, least(y + 1, down), down) - row0;
  }
};

// Some rows of a product and a group of its panels, from their sums [rows][panels][WIDTH].
inline void finish(const Product& p, const float* sums, int64_t r, int64_t rows, int64_t panel, int64_t panels) {
  const Gates bias_gates = p.b.transposed ? one_gate(p.columns) : p.b.gates;
  const float* weights = p.a.transposed ? nullptr : p.weights;
  const auto bias_of = [&](int64_t q) {
    const Place from = place(bias_gates, (panel + q) * WIDTH);
    return p.bias ? load(p.bias + from.column, from.n) : zero();
  };
  const auto value = [&](int64_t s, int64_t q, V bias) {
    const V sum = load(sums + (s * panels + q) * WIDTH);
    return (weights ? sum * broadcast(weights[r + s]) : sum) + bias;
  };
  for (int64_t q = 0; q < panels; q++) {
    const Place to = place(p.c_gates, (panel + q) * WIDTH);
    const int64_t at = r * p.c_stride + to.column;
    const V bias = bias_of(q);
#if LMGEN_BF16
    if (p.c_bf16) {
      uint16_t* c = static_cast<uint16_t*>(p.c) + at;
      if (q + 1 < panels && to.n >= 2 * WIDTH) {  // two panels are one vector
        const V next = bias_of(q + 1);
        for (int64_t s = 0; s < rows; s++) store(c + s * p.c_stride, value(s, q, bias), value(s, q + 1, next));
        q++;
      } else {
        for (int64_t s = 0; s < rows; s++) store(c + s * p.c_stride, value(s, q, bias), to.n);
      }
      continue;
    }
#endif
    for (int64_t s = 0; s < rows; s++) store(static_cast<float*>(p.c) + at + s * p.c_stride, value(s, q, bias), to.n);
  }
}

// Whether lanes up to `end` of the left operand can be read where they are. Rows some powers of two apart would push each other
// out of the cache.
inline bool readable(const Matrix& a, int64_t end, int64_t inner) {
  if (PAIR == 1) return true;
  const bool aligned = a.stride % PAIR == 0 && reinterpret_cast<uintptr_t>(a.data) % sizeof(float) == 0;
  return a.bf16 && aligned && a.stride % FAR && end * PAIR <= inner;
}

// Weights on the right stay packed as a whole while the rows pass by, some of them and a piece of their inner dimension at a
// time.
inline void plain_product(const Product& p, const Part& part, const Worker& worker) {
  const int64_t lanes = lanes_of(p.inner), piece = piece_of(lanes), stride = p.a.stride / PAIR;
  const Groups groups(part.panel0, part.panels);
  const Cut blocks(part.rows, BLOCK_ROWS);
  float* right = worker.array<float>(lanes * part.panels * WIDTH);
  float* left = worker.array<float>(BLOCK_ROWS * piece + WIDTH);
  float* sums = worker.array<float>(piece < lanes ? BLOCK_ROWS * part.panels * WIDTH : SUMS * WIDTH);
  for (int64_t k = 0; k < lanes; k += piece)
    pack(p.b, k, least(piece, lanes - k), p.inner, p.columns, groups, right + k * part.panels * WIDTH);
  for (int64_t i = 0; i < blocks.pieces; i++) {
    const int64_t r0 = part.row0 + blocks.at(i);
    const Cut tiles(blocks.size(i), tile_rows(PANELS));
    for (int64_t k = 0; k < lanes; k += piece) {
      const int64_t now = least(piece, lanes - k);
      const bool direct = readable(p.a, k + now, p.inner);
      if (!direct) pack_left(p.a, r0, tiles.n, k, now, p.inner, nullptr, left);
      const float* rows = direct ? static_cast<const float*>(p.a.data) + r0 * stride + k : left;
      const int64_t down = direct ? stride : now;
      Soon soon;
      if (k + now < lanes)
        soon.add(p.a, r0, tiles.n, (k + now) * PAIR, least(piece * PAIR, p.inner - (k + now) * PAIR));
      else if (i + 1 < blocks.pieces)
        soon.add(p.a, part.row0 + blocks.at(i + 1), blocks.size(i + 1), 0, least(piece * PAIR, p.inner));
      soon.within(groups.count * tiles.pieces * turns(now));
      for (int64_t g = 0; g < groups.count; g++)
        for (int64_t j = 0; j < tiles.pieces; j++) {
          const int64_t r = tiles.at(j), size = tiles.size(j), panel = groups.at(g), panels = groups.size(g);
          float* sum = sums + (piece < lanes ? (panel * tiles.n + r * panels) * WIDTH : 0);
          tile_of(int(panels), int(size), rows + r * down, down, 1, right + (k * part.panels + panel * now) * WIDTH, now, sum,
                  k > 0, &soon);
          if (k + now == lanes) finish(p, sum, r0 + r, size, groups.panel0 + panel, panels);
        }
    }
  }
}

inline const float* ones(int64_t n, const Worker& worker) {
  float* out = worker.array<float>(n);
  for (int64_t i = 0; i < n; i++) out[i] = 1;
  return out;
}

// What a weight gradient packs after the panels c … c + width of the lanes k … k + now: the next panels, or the first ones of the
// next lanes, and a share of the left operand there.
inline Soon soon_of_gradient(const Product& p, const Part& part, int64_t k, int64_t now, int64_t c, int64_t width) {
  const bool last = c + width >= part.panels;
  const int64_t row = k * PAIR, next_row = (k + now) * PAIR, next_rows = least(now * PAIR, p.inner - next_row),
                from = last ? 0 : c + width, end = least(from + width, part.panels), left = last ? part.panels : c + width;
  const auto column = [&](int64_t panel) { return least(p.columns, (part.panel0 + panel) * WIDTH); };
  Soon soon;
  soon.add(p.b, last ? next_row : row, last ? next_rows : least(now * PAIR, p.inner - row), column(from),
           column(end) - column(from));
  if (next_rows > 0) {
    const int64_t first = share(next_rows, c, part.panels);
    soon.add(p.a, next_row + first, share(next_rows, left, part.panels) - first, part.row0, part.rows);
  }
  return soon;
}

// A weight gradient: the left operand is transposed, the inner dimension is long. A piece of that at a time, all rows of the left
// operand are packed, and some columns of the right one at a time; the sums of all rows wait from piece to piece. The totals are
// one more row, whose left operand are the weights.
inline void gradient_product(const Product& p, const Part& part, const Worker& worker) {
  const int64_t lanes = lanes_of(p.inner), piece = piece_of(lanes), width = least(part.panels, CHUNK_PANELS);
  constexpr int64_t tile = tile_rows(GRADIENT_PANELS);
  float* right = worker.array<float>(piece * width * WIDTH);
  float* left = worker.array<float>(rounded_up(part.rows, WIDTH) * piece);
  float* sums = worker.array<float>((piece < lanes ? part.rows * part.panels : SUMS) * WIDTH);
  float* totals = p.totals && part.row0 == 0 ? worker.array<float>(part.panels * WIDTH) : nullptr;
  float* weights = totals ? worker.array<float>(piece + WIDTH) : nullptr;
  const float* all = totals && !p.weights ? ones(p.inner, worker) : p.weights;
  for (int64_t k = 0; k < lanes; k += piece) {
    const int64_t now = least(piece, lanes - k);
    pack_left(p.a, part.row0, part.rows, k, now, p.inner, p.weights, left);
    if (totals) pack_left({all, p.inner, false, false, one_gate(p.inner)}, 0, 1, k, now, p.inner, nullptr, weights);
    for (int64_t c = 0; c < part.panels; c += width) {
      const Groups groups(part.panel0 + c, least(width, part.panels - c), GRADIENT_PANELS);
      pack(p.b, k, now, p.inner, p.columns, groups, right);
      Soon soon = soon_of_gradient(p, part, k, now, c, width);
      soon.within(groups.count * ((part.rows + tile - 1) / tile) * turns(now));
      for (int64_t g = 0; g < groups.count; g++)
        for (int64_t r = 0; r < part.rows; r += tile) {
          const int64_t size = least(tile, part.rows - r), panel = groups.at(g), panels = groups.size(g);
          float* sum = sums + (piece < lanes ? ((c + panel) * part.rows + r * panels) * WIDTH : 0);
          tile_apart(int(panels), int(size), left + r * now, STEPS ? 1 : now, STEPS ? tile : 1, right + panel * now * WIDTH, now,
                     sum, k > 0, &soon);
          if (k + now == lanes) finish(p, sum, part.row0 + r, size, groups.panel0 + panel, panels);
        }
      for (int64_t g = 0; totals && g < groups.count; g++)
        tile_of(groups.size(g), 1, weights, now, 1, right + groups.at(g) * now * WIDTH, now, totals + (c + groups.at(g)) * WIDTH,
                k > 0);
    }
  }
  for (int64_t q = 0; totals && q < part.panels; q++) {
    const Place to = place(p.c_gates, (part.panel0 + q) * WIDTH);
    store(p.totals + to.column, load(totals + q * WIDTH), to.n);
  }
}

inline void product(const Product& p, const Worker& worker) {
  (p.a.transposed ? gradient_product : plain_product)(p, Part(p, worker), worker);
}

// Adds ROWS weighted rows of x, from number k on, to sums [columns], columns `from` to `end`.
template <int ROWS>
void add_rows(const RowSums& s, int64_t k, int64_t from, int64_t end, float* sums) {
  const Stored* x = static_cast<const Stored*>(s.x) + k * s.stride;
  V weights[ROWS];
  for (int r = 0; r < ROWS; r++) weights[r] = broadcast(s.weights ? s.weights[k + r] : 1);
  int64_t c = from;
  for (; c + WIDTH <= end; c += WIDTH) {
    V sum = load(sums + c);
    for (int r = 0; r < ROWS; r++) sum = multiply_add(weights[r], load(x + r * s.stride + c), sum);
    store(sums + c, sum);
  }
  if (c == end) return;
  V sum = load(sums + c, end - c);
  for (int r = 0; r < ROWS; r++) sum = multiply_add(weights[r], load(x + r * s.stride + c, end - c), sum);
  store(sums + c, sum, end - c);
}

// sums [R, columns] of the weighted rows of x [n, columns] that have the same id.
inline void sum_rows(const RowSums& s, const Worker& worker) {
  constexpr int64_t STRIP = 4096;  // columns whose sums stay near
  constexpr int TOGETHER = 4;      // rows of the same sum
  constexpr int64_t AHEAD = 8;     // rows from asking for one to adding it
  const int64_t all = (s.columns + WIDTH - 1) / WIDTH,
                last = least(s.columns, share(all, worker.number + 1, worker.count) * WIDTH);
  for (int64_t from = share(all, worker.number, worker.count) * WIDTH; from < last; from += STRIP) {
    const int64_t end = least(last, from + STRIP);
    for (int64_t r = 0; r < s.rows; r++)
      for (int64_t c = from; c < end; c += WIDTH) store(s.sums + r * s.columns + c, zero(), end - c);
    const auto ask = [&](int64_t row) {
      const Stored* x = static_cast<const Stored*>(s.x) + row * s.stride;
      for (int64_t c = from; row < s.n && c < end; c += LINE / int64_t(sizeof(Stored))) ask_for(x + c);
    };
    for (int64_t row = 0; row < AHEAD; row++) ask(row);
    int64_t k = 0;
    for (; !s.ids && k + TOGETHER <= s.n; k += TOGETHER) {
      for (int r = 0; r < TOGETHER; r++) ask(k + AHEAD + r);
      add_rows<TOGETHER>(s, k, from, end, s.sums);
    }
    for (; k < s.n; k++) ask(k + AHEAD), add_rows<1>(s, k, from, end, s.sums + (s.ids ? s.ids[k] : 0) * s.columns);
  }
}
