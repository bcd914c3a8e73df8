// Packing: copies operands of a product from memory order to the order in which tiles read them (product.h).

constexpr int64_t BAND = STEPS ? 8 : WIDTH;  // lanes packed across all columns at a time, to read about in memory order

// Prefetches one band of rows k … of a matrix [inner, …], columns c … c + n, in memory order.
template <class T>
inline void prefetch(const T* data, int64_t stride, int64_t k, int64_t inner, int64_t c, int64_t n) {
  for (int64_t row = k; row < min(k + BAND * PAIR, inner); row++)
    for (int64_t i = 0; i < n; i += LINE / int64_t(sizeof(T))) prefetch(data + row * stride + c + i);
}

struct Place {  // a column in memory, and the elements left in its gate: zeros follow them
  int64_t column, n;
};

inline Place place(const Gates& gates, int64_t c) {
  if (c < gates.P) return {gates.first * gates.N + c, gates.N - c};
  const int64_t gate = c / gates.P, at = c - gate * gates.P;
  return {(gate + gates.first) % gates.count * gates.N + at, gates.N - at};
}

// One vector of lanes: rows k … k + PAIR - 1 of a matrix [inner, …], n columns from c on. `weights` [inner], or null, multiply
// the rows.
template <class T>
inline Vec lane_of_rows(const T* data, int64_t stride, int64_t k, int64_t inner, int64_t c, int64_t n, const float* weights) {
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

// WIDTH lanes along the inner dimension of one row, from these places.
template <class T>
inline Vec lanes_of_row(const T* row, const Place (&at)[PAIR]) {
#if LMGEN_BF16
  return joined(load(row + at[0].column, at[0].n), load(row + at[1].column, at[1].n));
#else
  return load(row + at[0].column, at[0].n);
#endif
}

template <class T>
inline Vec lanes_of_row(const T* p) {  // from consecutive elements
#if LMGEN_BF16
  return sizeof(T) == sizeof(uint16_t) ? load(reinterpret_cast<const float*>(p)) : joined(load(p), load(p + WIDTH));
#else
  return load(p);
#endif
}

inline void places(const Gates& gates, int64_t lane, Place (&at)[PAIR]) {
  for (int i = 0; i < PAIR; i++) at[i] = place(gates, lane * PAIR + i * WIDTH);
}

// Two vectors of lanes: 2 WIDTH columns from p on, PAIR rows.
template <class T>
inline void lane_of_rows(const T* p, int64_t stride, Vec& first, Vec& second) {
#if LMGEN_BF16
  if constexpr (sizeof(T) == sizeof(uint16_t)) return paired(p, p + stride, first, second);
  first = paired(load(p), load(p + stride)), second = paired(load(p + WIDTH), load(p + stride + WIDTH));
#else
  (void)stride;
  first = load(p), second = load(p + WIDTH);
#endif
}

struct Groups {  // panels from panel0 on, in groups of up to `most`
  int64_t panel0;
  Cut cut;
  int64_t count;
  Groups(int64_t panel0, int64_t panels, int64_t most = PANELS) : panel0(panel0), cut(panels, most), count(cut.pieces) {}
  int64_t at(int64_t g) const { return cut.at(g); }
  int size(int64_t g) const { return cut.size(g); }
};

// Groups that are packed, in the order in which tiles read them.
inline void arrange(float* packed, int64_t lanes, const Groups& groups) {
  for (int64_t g = 0; g < groups.count; g++) arrange(packed + groups.at(g) * lanes * WIDTH, lanes, groups.size(g));
}

struct Destination {  // of the lanes of a panel: vectors `step` floats apart; with `half` the upper halves are `half` floats
                      // further
  float* to;
  int64_t step, half;
  void put(int64_t k, Vec v) const {
    float* at = to + k * step;
    half ? store_halves(at, at + half, v) : store(at, v);
  }
};

// Packs columns of b [inner, …], lanes k0 … k0 + lanes, from panel0 on: panel q to destination(q).
template <class T, class F>
void pack_columns(const Matrix& b, int64_t k0, int64_t lanes, int64_t inner, int64_t panel0, int64_t panels, const float* weights,
                  F destination) {
  const T* data = static_cast<const T*>(b.data);
  const int64_t c0 = place(b.gates, panel0 * WIDTH).column, whole = inner / PAIR - k0;  // lanes with PAIR rows
  for (int64_t band = 0; band < lanes; band += BAND) {
    prefetch(data, b.stride, (k0 + band + BAND) * PAIR, inner, c0, min(panels * WIDTH, b.stride - c0));
    const int64_t end = min(lanes, band + BAND);
    for (int64_t q = 0; q < panels; q++) {
      const Place at = place(b.gates, (panel0 + q) * WIDTH);
      const Destination here = destination(q);
      if (q + 1 < panels && at.n >= 2 * WIDTH && end <= whole && !weights) {
        const Destination next = destination(++q);
        for (int64_t k = band; k < end; k++) {
          Vec first, second;
          lane_of_rows(data + (k0 + k) * PAIR * b.stride + at.column, b.stride, first, second);
          here.put(k, first), next.put(k, second);
        }
      } else {
        for (int64_t k = band; k < end; k++)
          here.put(k, lane_of_rows(data, b.stride, (k0 + k) * PAIR, inner, at.column, at.n, weights));
      }
    }
  }
}

// The same by groups, each [lanes][panels][WIDTH].
template <class T>
void pack_columns(const Matrix& b, int64_t k0, int64_t lanes, int64_t inner, const Groups& groups, float* out) {
  pack_columns<T>(b, k0, lanes, inner, groups.panel0, groups.cut.n, nullptr, [&](int64_t q) {
    const int64_t g = groups.cut.piece_with(q), from = groups.at(g), panels = groups.size(g);
    return Destination{out + (from * lanes + q - from) * WIDTH, panels * WIDTH, 0};
  });
  arrange(out, lanes, groups);
}

// The same for the transpose of b [columns, inner].
template <class T>
void pack_transposed(const Matrix& b, int64_t k0, int64_t lanes, int64_t columns, const Groups& groups, float* out) {
  for (int64_t g = 0; g < groups.count; g++) {
    const int64_t from = groups.at(g), panels = groups.size(g);
    for (int64_t p = 0; p < panels; p++)
      for (int64_t k = 0; k < lanes; k += WIDTH) {
        Place at[PAIR];
        places(b.gates, k0 + k, at);
        Vec block[WIDTH];
        for (int64_t j = 0; j < WIDTH; j++) {
          const int64_t column = (groups.panel0 + from + p) * WIDTH + j;
          block[j] = column < columns ? lanes_of_row(static_cast<const T*>(b.data) + column * b.stride, at) : zero();
        }
        transpose(block);
        for (int64_t j = 0; j < WIDTH && k + j < lanes; j++) store(out + (from * lanes + (k + j) * panels + p) * WIDTH, block[j]);
      }
  }
  arrange(out, lanes, groups);
}

// Packs rows r0 … of a left operand, lanes k0 …, as [rows][lanes].
template <class T>
void pack_rows(const Matrix& a, int64_t r0, int64_t rows, int64_t k0, int64_t lanes, float* out) {
  const int64_t whole = min(a.gates.N / PAIR - k0, lanes) / WIDTH * WIDTH;  // lanes in full vectors
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

// The same for the transpose of a [inner, rows]: tile by tile, each [lanes][rows of a tile], or [rows][lanes] if STEPS is false.
template <class T>
void pack_rows_transposed(const Matrix& a, int64_t r0, int64_t rows, int64_t k0, int64_t lanes, int64_t inner,
                          const float* weights, float* out) {
  const T* data = static_cast<const T*>(a.data) + r0;
  if constexpr (STEPS) {
    constexpr int64_t tile = WIDTH / 2;
    const Matrix shifted{data, a.stride, a.bf16, false, one_gate(rows)};
    return pack_columns<T>(shifted, k0, lanes, inner, 0, (rows + WIDTH - 1) / WIDTH, weights,
                           [&](int64_t q) { return Destination{out + q * WIDTH * lanes, tile, tile * lanes}; });
  }
  for (int64_t band = 0; band < lanes; band += BAND) {
    prefetch(data, a.stride, (k0 + band + BAND) * PAIR, inner, 0, rows);
    for (int64_t r = 0; r < rows; r += WIDTH) {
      Vec block[WIDTH];
      for (int64_t j = 0; j < WIDTH; j++)
        block[j] = lane_of_rows(data, a.stride, (k0 + band + j) * PAIR, inner, r, rows - r, weights);
      transpose(block);
      for (int64_t j = 0; j < WIDTH && r + j < rows; j++) store(out + (r + j) * lanes + band, block[j], lanes - band);
    }
  }
}

// Dispatch on the element type of the matrix.
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

// Packs WIDTH units from unit c on, with all their gates: b [inner, gates], out [lanes][gates][WIDTH].
inline void pack_gates(const float* b, const Gates& gates, int64_t inner, int64_t c, float* out) {
  const int64_t stride = gates.count * gates.N;
  float* packed = out;
  for (int64_t k = 0; k < lanes_of(gates.P); k++)
    for (int64_t g = 0; g < gates.count; g++, out += WIDTH)
      store(out, lane_of_rows(b, stride, k * PAIR, inner, g * gates.N + c, gates.N - c, nullptr));
  arrange(packed, lanes_of(gates.P), gates.count);
}
