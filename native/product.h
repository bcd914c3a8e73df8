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
//   STEPS              whether lanes of the left operand may lie apart: a transposed one is packed [lanes][rows of a tile]
//   BLOCK_ROWS         rows of the left operand that stay near while all columns pass by
//   Tiles              what exists while a kernel runs on a thread
//   tile_of            z [rows][panels][WIDTH] (+)= the product of rows of lanes and a packed group of panels;
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
inline int64_t lanes_of_piece(int64_t lanes) {
  const int64_t pieces = (lanes + BLOCK_LANES / 2) / BLOCK_LANES;
  return pieces > 1 ? rounded_up((lanes + pieces - 1) / pieces, WIDTH) : lanes;
}
static_assert(WIDTH % LANES == 0, "a piece is of whole lanes");

// An even share of n things, as the part from share(n, i, of) to share(n, i + 1, of).
inline int64_t share(int64_t n, int64_t i, int64_t of) { return n * i / of; }

// A row of things (rows, panels) cut in pieces of at most `most`, all about equal.
struct Cut {
  int64_t n, pieces;
  Cut(int64_t n, int64_t most) : n(n), pieces((n + most - 1) / most) {}
  int64_t at(int64_t i) const { return pieces ? share(n, i, pieces) : 0; }
  int size(int64_t i) const { return int(at(i + 1) - at(i)); }
  int64_t piece_with(int64_t k) const { return ((k + 1) * pieces - 1) / n; }  // which piece thing number k is in
};

#include "pack.h"

// The part of a product that one thread computes: some of its columns, as far as there are enough for all threads, and some of
// its rows. Rows first of a weight gradient that has more of them, since every thread packs what it does not share; and where
// columns would come in uneven shares, if all of them are near for every thread and so many rows pass by that packing them is
// little.
struct Part {
  int64_t panel0, panels, row0, rows;
  Part(const Product& p, const Worker& worker) {
    constexpr int64_t PACKING = 32;  // rows multiplied by a vector while another is packed
    const int64_t all = (p.columns + WIDTH - 1) / WIDTH, tiles = p.rows / tile_rows(PANELS);
    int64_t across = least(worker.count, all < 2 ? 1 : all / 2), down = worker.count / across;
    const int64_t idle = (all + across - 1) / across * across - all;  // panels' time
    const bool rows_first = p.a.transposed ? p.rows > p.columns : p.near && idle * p.rows > PACKING * all;
    if (rows_first) down = least(worker.count, tiles < 1 ? 1 : tiles), across = worker.count / down;
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
  const int64_t lanes = lanes_of(p.inner), piece = lanes_of_piece(lanes), stride = p.a.stride / PAIR;
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

// A tile as a function of its own: among much else the compiler finds no registers for all sums.
__attribute__((noinline)) inline void tile_apart(int panels, int rows, const float* a, int64_t row, int64_t step, const float* b,
                                                 int64_t lanes, float* z, bool add, Soon* soon) {
  tile_of(panels, rows, a, row, step, b, lanes, z, add, soon);
}

// A weight gradient: the left operand is transposed, the inner dimension is long. A piece of that at a time, all rows of the left
// operand are packed, and some columns of the right one at a time; the sums of all rows wait from piece to piece. The totals are
// one more row, whose left operand are the weights.
inline void gradient_product(const Product& p, const Part& part, const Worker& worker) {
  const int64_t lanes = lanes_of(p.inner), piece = lanes_of_piece(lanes), width = least(part.panels, CHUNK_PANELS);
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
