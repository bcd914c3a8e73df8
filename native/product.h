// Matrix products: packed operands, a tile of results in registers, and blocking for the caches.
//
// A panel is WIDTH columns. The right operand is packed in groups of up to PANELS panels, [inner lanes][panels][WIDTH], which the
// tile reads sequentially. The left operand is read one lane at a time: element (r, k) at a[r * row + k * step]. With bfloat16 a
// lane is a pair of consecutive elements of the inner dimension (lanes.h).

constexpr int PANELS = 4;
constexpr int BLOCK_LANES = 512;       // lanes of the inner dimension that stay in the cache while all columns pass
constexpr int64_t ALIASING = 1 << 14;  // row strides of multiples of it share cache sets
constexpr int CHUNK_PANELS = 12;       // panels of a weight gradient that stay in the cache while all rows pass

// Each kind of tile defines:
//   tile_rows(panels)  the maximal number of rows
//   SUMS               the maximal number of result vectors
//   LANES              the inner dimension is zero-padded to a multiple of this many lanes
//   STEPS              whether the left operand's lanes may have a stride: a transposed one is packed [lanes][rows of a tile]
//   BLOCK_ROWS         rows of the left operand that stay in the cache while all columns pass
//   arrange            puts a packed group [lanes][panels][WIDTH] into the order in which the tile reads it, if that is another
//   Tiles              RAII: thread state needed while a kernel runs
//   tile_of            z [rows][panels][WIDTH] (+)= the product of rows of lanes and a packed group of panels;
//                      takes a step of the prefetcher every PREFETCH_INTERVAL lanes
#include "prefetch.h"
#if LMGEN_AMX
#include "tile_amx.h"
#elif LMGEN_BF16 && defined(__ARM_NEON)
#include "tile_bfmmla.h"
#else
#include "tile.h"
#endif

// Panels a group in a weight gradient. With STEPS a tile has WIDTH / 2 rows, so that a packed vector fills two tiles.
constexpr int GRADIENT_PANELS = STEPS ? 3 : PANELS;
static_assert(!STEPS || 2 * tile_rows(GRADIENT_PANELS) == WIDTH, "two tiles fill a vector");

// Cell sizes are padded to a multiple of this, so that tiles read their rows in place.
constexpr int PADDING = LANES * PAIR > WIDTH ? LANES* PAIR : WIDTH;

inline int64_t lanes_of(int64_t inner) { return rounded_up((inner + PAIR - 1) / PAIR, LANES); }

// A long inner dimension is split into equal pieces of whole vectors, so that no vector spans two gates.
inline int64_t lanes_of_piece(int64_t lanes) {
  const int64_t pieces = (lanes + BLOCK_LANES / 2) / BLOCK_LANES;
  return pieces > 1 ? rounded_up((lanes + pieces - 1) / pieces, WIDTH) : lanes;
}
static_assert(WIDTH % LANES == 0, "a piece is of whole lanes");

// The even share number i of n items is [share(n, i, of), share(n, i + 1, of)).
inline int64_t share(int64_t n, int64_t i, int64_t of) { return n * i / of; }

// n items (rows, panels) split evenly into pieces of at most `most`.
struct Cut {
  int64_t n, pieces;
  Cut(int64_t n, int64_t most) : n(n), pieces((n + most - 1) / most) {}
  int64_t at(int64_t i) const { return pieces ? share(n, i, pieces) : 0; }
  int size(int64_t i) const { return int(at(i + 1) - at(i)); }
  int64_t piece_with(int64_t k) const { return ((k + 1) * pieces - 1) / n; }  // the piece with item k
};

#include "pack.h"

// The part of a product that one thread computes. Columns are shared first, then rows. Rows come first in a weight gradient with
// more rows than columns, since every thread packs the operand that is not shared; and where shares of columns would be uneven,
// if the right operand fits in every cache and there are enough rows to make its packing cheap.
struct Part {
  int64_t panel0, panels, row0, rows;
  Part(const Product& p, const Worker& worker) {
    constexpr int64_t PACKING = 32;  // packing a vector costs as much as multiplying this many rows by it
    const int64_t all = (p.columns + WIDTH - 1) / WIDTH, tiles = p.rows / tile_rows(PANELS);
    int64_t across = min(worker.count, all < 2 ? 1 : all / 2), down = worker.count / across;
    const int64_t idle = (all + across - 1) / across * across - all;  // panels
    const bool rows_first = p.a.transposed ? p.rows > p.columns : p.fits_in_cache && idle * p.rows > PACKING * all;
    if (rows_first) down = min(worker.count, tiles < 1 ? 1 : tiles), across = worker.count / down;
    const int64_t x = worker.number % across, y = worker.number / across;
    panel0 = share(all, x, across), panels = y < down ? share(all, x + 1, across) - panel0 : 0;
    row0 = share(p.rows, min(y, down), down), rows = share(p.rows, min(y + 1, down), down) - row0;
  }
};

// Writes some rows of a group of panels of the result, from their sums [rows][panels][WIDTH].
inline void finish(const Product& p, const float* sums, int64_t r, int64_t rows, int64_t panel, int64_t panels) {
  const Gates bias_gates = p.b.transposed ? one_gate(p.columns) : p.b.gates;
  const float* weights = p.a.transposed ? nullptr : p.weights;
  const auto bias_of = [&](int64_t q) {
    const Place from = place(bias_gates, (panel + q) * WIDTH);
    return p.bias ? load(p.bias + from.column, from.n) : zero();
  };
  const auto value = [&](int64_t s, int64_t q, Vec bias) {
    const Vec sum = load(sums + (s * panels + q) * WIDTH);
    return (weights ? sum * broadcast(weights[r + s]) : sum) + bias;
  };
  for (int64_t q = 0; q < panels; q++) {
    const Place to = place(p.c_gates, (panel + q) * WIDTH);
    const int64_t at = r * p.c_stride + to.column;
    const Vec bias = bias_of(q);
#if LMGEN_BF16
    if (p.c_bf16) {
      uint16_t* c = static_cast<uint16_t*>(p.c) + at;
      if (q + 1 < panels && to.n >= 2 * WIDTH) {  // two panels make one vector of bfloat16
        const Vec next = bias_of(q + 1);
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

// Whether lanes up to `end` of the left operand can be read in place. Strides of large powers of two would make the rows evict
// each other from the cache.
inline bool readable(const Matrix& a, int64_t end, int64_t inner) {
  if (PAIR == 1) return true;
  const bool aligned = a.stride % PAIR == 0 && reinterpret_cast<uintptr_t>(a.data) % sizeof(float) == 0;
  return a.bf16 && aligned && a.stride % ALIASING && end * PAIR <= inner;
}

// The right operand is packed as a whole; rows pass in blocks, one piece of the inner dimension at a time.
inline void plain_product(const Product& p, const Part& part, const Worker& worker) {
  const int64_t lanes = lanes_of(p.inner), piece = lanes_of_piece(lanes), stride = p.a.stride / PAIR;
  const Groups groups(part.panel0, part.panels);
  const Cut blocks(part.rows, BLOCK_ROWS);
  float* right = worker.array<float>(lanes * part.panels * WIDTH);
  float* left = worker.array<float>(BLOCK_ROWS * piece + WIDTH);
  float* sums = worker.array<float>(piece < lanes ? BLOCK_ROWS * part.panels * WIDTH : SUMS * WIDTH);
  for (int64_t k = 0; k < lanes; k += piece)
    pack(p.b, k, min(piece, lanes - k), p.inner, p.columns, groups, right + k * part.panels * WIDTH);
  for (int64_t i = 0; i < blocks.pieces; i++) {
    const int64_t r0 = part.row0 + blocks.at(i);
    const Cut tiles(blocks.size(i), tile_rows(PANELS));
    for (int64_t k = 0; k < lanes; k += piece) {
      const int64_t now = min(piece, lanes - k);
      const bool direct = readable(p.a, k + now, p.inner);
      if (!direct) pack_left(p.a, r0, tiles.n, k, now, p.inner, nullptr, left);
      const float* rows = direct ? static_cast<const float*>(p.a.data) + r0 * stride + k : left;
      const int64_t down = direct ? stride : now;
      Prefetcher prefetcher;
      if (k + now < lanes)
        prefetcher.add(p.a, r0, tiles.n, (k + now) * PAIR, min(piece * PAIR, p.inner - (k + now) * PAIR));
      else if (i + 1 < blocks.pieces)
        prefetcher.add(p.a, part.row0 + blocks.at(i + 1), blocks.size(i + 1), 0, min(piece * PAIR, p.inner));
      prefetcher.spread_over(groups.count * tiles.pieces * prefetch_steps(now));
      for (int64_t g = 0; g < groups.count; g++)
        for (int64_t j = 0; j < tiles.pieces; j++) {
          const int64_t r = tiles.at(j), size = tiles.size(j), panel = groups.at(g), panels = groups.size(g);
          float* sum = sums + (piece < lanes ? (panel * tiles.n + r * panels) * WIDTH : 0);
          tile_of(int(panels), int(size), rows + r * down, down, 1, right + (k * part.panels + panel * now) * WIDTH, now, sum,
                  k > 0, &prefetcher);
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

// Prefetches what a weight gradient packs after panels c … c + width of lanes k … k + now: the next panels, or the first panels
// of the next lanes, and a share of the left operand of the next lanes.
inline Prefetcher gradient_prefetcher(const Product& p, const Part& part, int64_t k, int64_t now, int64_t c, int64_t width) {
  const bool last = c + width >= part.panels;
  const int64_t row = k * PAIR, next_row = (k + now) * PAIR, next_rows = min(now * PAIR, p.inner - next_row),
                from = last ? 0 : c + width, end = min(from + width, part.panels), left = last ? part.panels : c + width;
  const auto column = [&](int64_t panel) { return min(p.columns, (part.panel0 + panel) * WIDTH); };
  Prefetcher prefetcher;
  prefetcher.add(p.b, last ? next_row : row, last ? next_rows : min(now * PAIR, p.inner - row), column(from),
                 column(end) - column(from));
  if (next_rows > 0) {
    const int64_t first = share(next_rows, c, part.panels);
    prefetcher.add(p.a, next_row + first, share(next_rows, left, part.panels) - first, part.row0, part.rows);
  }
  return prefetcher;
}

// Not inlined: inside a larger function the compiler would spill the sums.
__attribute__((noinline)) inline void tile_apart(int panels, int rows, const float* a, int64_t row, int64_t step, const float* b,
                                                 int64_t lanes, float* z, bool add, Prefetcher* prefetcher) {
  tile_of(panels, rows, a, row, step, b, lanes, z, add, prefetcher);
}

// A weight gradient: the left operand is transposed and the inner dimension is long. For each piece of the inner dimension, all
// rows of the left operand are packed, then chunks of columns of the right one; the sums of all rows accumulate over the pieces.
// The totals are one more row, with the weights as its left operand.
inline void gradient_product(const Product& p, const Part& part, const Worker& worker) {
  const int64_t lanes = lanes_of(p.inner), piece = lanes_of_piece(lanes), width = min(part.panels, CHUNK_PANELS);
  constexpr int64_t tile = tile_rows(GRADIENT_PANELS);
  float* right = worker.array<float>(piece * width * WIDTH);
  float* left = worker.array<float>(rounded_up(part.rows, WIDTH) * piece);
  float* sums = worker.array<float>((piece < lanes ? part.rows * part.panels : SUMS) * WIDTH);
  float* totals = p.totals && part.row0 == 0 ? worker.array<float>(part.panels * WIDTH) : nullptr;
  float* weights = totals ? worker.array<float>(piece + WIDTH) : nullptr;
  const float* all = totals && !p.weights ? ones(p.inner, worker) : p.weights;
  for (int64_t k = 0; k < lanes; k += piece) {
    const int64_t now = min(piece, lanes - k);
    pack_left(p.a, part.row0, part.rows, k, now, p.inner, p.weights, left);
    if (totals) pack_left({all, p.inner, false, false, one_gate(p.inner)}, 0, 1, k, now, p.inner, nullptr, weights);
    for (int64_t c = 0; c < part.panels; c += width) {
      const Groups groups(part.panel0 + c, min(width, part.panels - c), GRADIENT_PANELS);
      pack(p.b, k, now, p.inner, p.columns, groups, right);
      Prefetcher prefetcher = gradient_prefetcher(p, part, k, now, c, width);
      prefetcher.spread_over(groups.count * ((part.rows + tile - 1) / tile) * prefetch_steps(now));
      for (int64_t g = 0; g < groups.count; g++)
        for (int64_t r = 0; r < part.rows; r += tile) {
          const int64_t size = min(tile, part.rows - r), panel = groups.at(g), panels = groups.size(g);
          float* sum = sums + (piece < lanes ? ((c + panel) * part.rows + r * panels) * WIDTH : 0);
          tile_apart(int(panels), int(size), left + r * now, STEPS ? 1 : now, STEPS ? tile : 1, right + panel * now * WIDTH, now,
                     sum, k > 0, &prefetcher);
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

// Adds ROWS weighted rows of x, from row k on, to sums [columns], columns `from` to `end`.
template <int ROWS>
void add_rows(const RowSums& s, int64_t k, int64_t from, int64_t end, float* sums) {
  const Stored* x = static_cast<const Stored*>(s.x) + k * s.stride;
  Vec weights[ROWS];
  for (int r = 0; r < ROWS; r++) weights[r] = broadcast(s.weights ? s.weights[k + r] : 1);
  int64_t c = from;
  for (; c + WIDTH <= end; c += WIDTH) {
    Vec sum = load(sums + c);
    for (int r = 0; r < ROWS; r++) sum = multiply_add(weights[r], load(x + r * s.stride + c), sum);
    store(sums + c, sum);
  }
  if (c == end) return;
  Vec sum = load(sums + c, end - c);
  for (int r = 0; r < ROWS; r++) sum = multiply_add(weights[r], load(x + r * s.stride + c, end - c), sum);
  store(sums + c, sum, end - c);
}

// The sums of rows with equal ids.
inline void sum_rows(const RowSums& s, const Worker& worker) {
  constexpr int64_t STRIP = 4096;  // columns whose sums stay in the cache
  constexpr int UNROLL = 4;        // rows added at a time to one sum
  constexpr int64_t AHEAD = 8;     // prefetch distance in rows
  const int64_t all = (s.columns + WIDTH - 1) / WIDTH, last = min(s.columns, share(all, worker.number + 1, worker.count) * WIDTH);
  for (int64_t from = share(all, worker.number, worker.count) * WIDTH; from < last; from += STRIP) {
    const int64_t end = min(last, from + STRIP);
    for (int64_t r = 0; r < s.rows; r++)
      for (int64_t c = from; c < end; c += WIDTH) store(s.sums + r * s.columns + c, zero(), end - c);
    const auto ask = [&](int64_t row) {
      const Stored* x = static_cast<const Stored*>(s.x) + row * s.stride;
      for (int64_t c = from; row < s.n && c < end; c += LINE / int64_t(sizeof(Stored))) prefetch(x + c);
    };
    for (int64_t row = 0; row < AHEAD; row++) ask(row);
    int64_t k = 0;
    for (; !s.ids && k + UNROLL <= s.n; k += UNROLL) {
      for (int r = 0; r < UNROLL; r++) ask(k + AHEAD + r);
      add_rows<UNROLL>(s, k, from, end, s.sums);
    }
    for (; k < s.n; k++) ask(k + AHEAD), add_rows<1>(s, k, from, end, s.sums + (s.ids ? s.ids[k] : 0) * s.columns);
  }
}
