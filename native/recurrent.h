// The time loop of a layer, forward and backward.
//
// A block is WIDTH units. For a block and some rows of the batch a tile computes the products of all gates, and the elementwise
// operations follow while the results are in the cache. LSTMCell, CappedLSTMCell and GRUCell define these operations.

// The part of a layer that one thread computes: all units of some rows of the batch if the weights fit in its cache; otherwise
// some units of all rows, with a barrier a step.
struct LoopPart {
  bool whole_rows;
  int64_t u0, blocks, b0, rows;
  LoopPart(bool fits_in_cache, int64_t B, int64_t P, int panels, const Worker& worker)
      : whole_rows(fits_in_cache && B >= worker.count * tile_rows(panels)),
        u0(whole_rows ? 0 : share(P / WIDTH, worker.number, worker.count)),
        blocks((whole_rows ? P / WIDTH : share(P / WIDTH, worker.number + 1, worker.count)) - u0),
        b0(whole_rows ? share(B, worker.number, worker.count) : 0),
        rows((whole_rows ? share(B, worker.number + 1, worker.count) : B) - b0) {}
  int64_t state(int64_t u, int64_t b) const { return (u * rows + b - b0) * 2 * WIDTH; }  // offset of the two vectors of a state
  int64_t states() const { return 2 * rows * blocks * WIDTH; }
};

// ---- LSTM: gates i f o g --------------------------------------------------------------------------------------------------

template <bool CAPPED>  // whether i is min(i, 1 - f)
struct AnyLSTMCell {
  static constexpr int GATES = 4;
  struct State {
    Vec h, c;
  };

  // u: U h of the gates; x: their inputs. The backward pass's values are written to `kept` [4][P], unless null.
  static State forward(const Vec* u, const Vec* x, Vec, Vec, Vec c, Stored* kept, int64_t P) {
    const Vec i = sigmoid(u[0] + x[0]), f = sigmoid(u[1] + x[1]), o = sigmoid(u[2] + x[2]), g = tanh(u[3] + x[3]);
    if (kept) store(kept, i), store(kept + P, f), store(kept + 2 * P, o), store(kept + 3 * P, g);
    c = f * c + (CAPPED ? smaller(i, broadcast(1) - f) : i) * g;
    return {o * tanh(c), c};
  }

  // From the cotangents of h and c, those of the gates' inputs in `d`; dc becomes the cotangent of the previous c.
  static Vec backward(const Stored* kept, int64_t P, Vec, Vec c_before, Vec c, Vec dh, Vec& dc, Vec (&d)[4]) {
    const Vec i = load(kept), f = load(kept + P), o = load(kept + 2 * P), g = load(kept + 3 * P), t = tanh(c), one = broadcast(1);
    dc = dc + dh * o * (one - t * t);
    d[0] = dc * g * i * (one - i);
    d[1] = dc * c_before * f * (one - f);
    d[2] = dh * t * o * (one - o);
    d[3] = dc * i * (one - g * g);
    if constexpr (CAPPED) {
      const Vec at_cap = exceeds(i, one - f);  // there it is 1 - f that is written
      d[0] = d[0] * (one - at_cap);
      d[1] = dc * (c_before - at_cap * g) * f * (one - f);
      d[3] = dc * smaller(i, one - f) * (one - g * g);
    }
    dc = dc * f;
    return zero();
  }
};

using LSTMCell = AnyLSTMCell<false>;
using CappedLSTMCell = AnyLSTMCell<true>;

// ---- GRU: gates z r n -----------------------------------------------------------------------------------------------------

struct GRUCell {
  static constexpr int GATES = 3;
  struct State {
    Vec h, c;
  };

  static State forward(const Vec* u, const Vec* x, Vec b_u, Vec h, Vec, Stored* kept, int64_t P) {
    const Vec z = sigmoid(u[0] + x[0]), r = sigmoid(u[1] + x[1]), q = u[2] + b_u, n = tanh(x[2] + r * q);
    if (kept) store(kept, z), store(kept + P, r), store(kept + 2 * P, n), store(kept + 3 * P, q);
    h = z * n + (broadcast(1) - z) * h;
    return {h, h};
  }

  // The cotangents of n z r q in `d`; returns the part of the previous h's cotangent that bypasses the products.
  static Vec backward(const Stored* kept, int64_t P, Vec h_before, Vec, Vec, Vec dh, Vec&, Vec (&d)[4]) {
    const Vec z = load(kept), r = load(kept + P), n = load(kept + 2 * P), q = load(kept + 3 * P), one = broadcast(1);
    d[0] = dh * z * (one - n * n);
    d[1] = dh * (n - h_before) * z * (one - z);
    d[2] = d[0] * q * r * (one - r);
    d[3] = d[0] * r;
    return dh * (one - z);
  }
};

// Calls a function with the operations of a cell.
template <class Function>
void with_cell(Cell cell, Function function) {
  cell == LSTM ? function(LSTMCell()) : cell == GRU ? function(GRUCell()) : function(CappedLSTMCell());
}

// A state as the recurrent products read it.
inline Vec read_state(const float* mask, int64_t b, int64_t N, int64_t n, Vec h) {
  return mask ? h * load(mask + b * N + n, N - n) : h;
}

// ---- forward --------------------------------------------------------------------------------------------------------------

template <class C>
void loop_forward(const Forward& f, const Worker& worker) {
  constexpr int G = C::GATES;
  const int64_t T = f.T, B = f.B, N = f.N, P = f.P, lanes = lanes_of(P), slots = f.gates ? T : 2;
  const LoopPart part(f.fits_in_cache, B, P, G, worker);
  float* weights = worker.array<float>(part.blocks * lanes * G * WIDTH);
  for (int64_t u = 0; u < part.blocks; u++)  // the gates of a block side by side
    pack_gates(f.U, {N, P, G, 0}, N, (part.u0 + u) * WIDTH, weights + u * lanes * G * WIDTH);
  Stored* h_stored = static_cast<Stored*>(f.h_stored);
  const Stored* inputs = static_cast<const Stored*>(f.inputs);
  float* state = worker.array<float>(part.states());  // h and c, already reset for the next step
  for (int64_t u = 0; u < part.blocks; u++)
    for (int64_t b = part.b0; b < part.b0 + part.rows; b++) {
      const int64_t n = (part.u0 + u) * WIDTH;
      const bool reset = f.forget[b];
      float* s = state + part.state(u, b);
      store(s, reset ? zero() : load(f.h0 + b * N + n, N - n));
      store(s + WIDTH, reset || !f.c0 ? zero() : load(f.c0 + b * N + n, N - n));
      store(h_stored + b * P + n, read_state(f.mask, b, N, n, load(s)));
    }
  const Cut rows(part.rows, tile_rows(G));
  alignas(64) float z[SUMS * WIDTH];
  for (int64_t t = 0; t < T; t++) {
    if (!part.whole_rows) worker.wait();  // for the whole h of the previous step
    const Stored* here = h_stored + t % slots * B * P;
    Stored* next = t + 1 < T ? h_stored + (t + 1) % slots * B * P : nullptr;
    for (int64_t u = 0; u < part.blocks; u++)
      for (int64_t i = 0; i < rows.pieces; i++) {
        const int64_t b0 = part.b0 + rows.at(i), n = (part.u0 + u) * WIDTH;
        Prefetcher prefetcher;
        if (!f.ids) prefetcher.add(inputs + (t * B + b0) * G * P + n, G * rows.size(i), P, WIDTH);
        if (!NON_TEMPORAL_PREFETCH) prefetcher.add(f.hs + (t * B + b0) * N + n, rows.size(i), N, min(WIDTH, N - n));
        if (!NON_TEMPORAL_PREFETCH && f.cs && f.gates) prefetcher.add(f.cs + (t * B + b0) * P + n, rows.size(i), P, WIDTH);
        prefetcher.spread_over(prefetch_steps(lanes));
        tile_of(G, rows.size(i), reinterpret_cast<const float*>(here + b0 * P), P / PAIR, 1, weights + u * lanes * G * WIDTH,
                lanes, z, false, &prefetcher);
        const Vec b_u = f.b_u ? load(f.b_u + n, N - n) : zero();
        for (int r = 0; r < rows.size(i); r++) {
          const int64_t b = b0 + r, tb = t * B + b;
          float* s = state + part.state(u, b);
          const Stored* input = inputs + (f.ids ? int64_t(f.ids[tb]) : tb) * G * P + n;
          Vec products[G], x[G];
          for (int g = 0; g < G; g++) products[g] = load(z + (r * G + g) * WIDTH), x[g] = load(input + g * P);
          Stored* kept = f.gates ? static_cast<Stored*>(f.gates) + tb * 4 * P + n : nullptr;
          const auto after = C::forward(products, x, b_u, load(s), load(s + WIDTH), kept, P);
          store(f.hs + tb * N + n, after.h, N - n);
          if (f.cs && f.gates) store(f.cs + tb * P + n, after.c);
          if (!next) {
            if (f.c) store(f.c + b * N + n, after.c, N - n);
            continue;
          }
          const bool reset = f.forget[tb + B];
          store(s, reset ? zero() : after.h);
          store(s + WIDTH, reset ? zero() : after.c);
          store(next + b * P + n, read_state(f.mask, b, N, n, load(s)));
        }
      }
  }
}

// ---- backward -------------------------------------------------------------------------------------------------------------

// In du [.., 4, P] the cotangents of the recurrent products are all four gates for LSTM, the last three of n z r q for GRU.
template <class C>
void loop_backward(const Backward& k, const Worker& worker) {
  constexpr int G = C::GATES, SKIP = 4 - G;
  const int64_t T = k.T, B = k.B, N = k.N, P = k.P, lanes = lanes_of(G * P);
  const LoopPart part(k.fits_in_cache, B, P, PANELS, worker);
  const Groups groups(part.u0, part.blocks);
  float* weights = worker.array<float>(lanes * part.blocks * WIDTH);
  pack({k.U, G * N, false, true, {N, P, G, 0}}, 0, lanes, G * P, N, groups, weights);
  float* carried = worker.array<float>(part.states());  // dh that bypasses the products, and dc
  for (int64_t u = 0; u < part.blocks; u++)
    for (int64_t b = part.b0; b < part.b0 + part.rows; b++) {
      const int64_t n = (part.u0 + u) * WIDTH;
      store(carried + part.state(u, b), load(k.dh + b * N + n, N - n));
      store(carried + part.state(u, b) + WIDTH, k.dc ? load(k.dc + b * N + n, N - n) : zero());
    }
  const Stored *h_stored = static_cast<const Stored*>(k.h_stored), *gates = static_cast<const Stored*>(k.gates);
  Stored* du = static_cast<Stored*>(k.du);
  alignas(64) float z[SUMS * WIDTH];
  for (int64_t t = T - 1; t >= -1; t--) {  // t = -1: the cotangents of the initial state
    if (!part.whole_rows) worker.wait();   // for the whole du of the next step
    for (int64_t g = 0; g < groups.count; g++) {
      const int panels = groups.size(g);
      const Cut rows(part.rows, tile_rows(panels));
      for (int64_t i = 0; i < rows.pieces; i++) {
        const int64_t b0 = part.b0 + rows.at(i), n0 = (part.u0 + groups.at(g)) * WIDTH;
        const int64_t width = panels * WIDTH, now = t * B + b0;
        Prefetcher prefetcher;
        if (t >= 0) {  // the operands of the elementwise part
          prefetcher.add(k.dhs + now * N + n0, rows.size(i), N, min(width, N - n0));
          if (k.cs) prefetcher.add(k.cs + now * P + n0, rows.size(i), P, width);
          if (k.cs && t) prefetcher.add(k.cs + (now - B) * P + n0, rows.size(i), P, width);
          prefetcher.add(gates + now * 4 * P + n0, 4 * rows.size(i), P, width);  // du is written over them
        }
        const Stored* after = du + ((t + 1) * B + b0) * 4 * P + SKIP * P;
        prefetcher.spread_over(prefetch_steps(lanes));
        if (t + 1 < T)
          tile_of(panels, rows.size(i), reinterpret_cast<const float*>(after), 4 * P / PAIR, 1,
                  weights + groups.at(g) * lanes * WIDTH, lanes, z, false, &prefetcher);
        for (int r = 0; r < rows.size(i); r++)
          for (int p = 0; p < panels; p++) {
            const int64_t b = b0 + r, tb = t * B + b, u = groups.at(g) + p, n = (part.u0 + u) * WIDTH;
            float* s = carried + part.state(u, b);
            Vec dh = load(s), dc = load(s + WIDTH);
            if (t + 1 < T) {
              const bool reset = k.forget[tb + B];
              dh = reset ? zero() : dh + read_state(k.mask, b, N, n, load(z + (r * panels + p) * WIDTH));
              if (reset) dc = zero();
            }
            if (t < 0) {
              store(k.dh0 + b * N + n, dh, N - n);
              if (k.dc0) store(k.dc0 + b * N + n, dc, N - n);
              continue;
            }
            dh = dh + load(k.dhs + tb * N + n, N - n);
            Vec c = zero(), c_before = zero(), d[4];
            if (k.cs) {
              c = load(k.cs + tb * P + n);
              if (!k.forget[tb]) c_before = t ? load(k.cs + (tb - B) * P + n) : load(k.c0 + b * N + n, N - n);
            }
            const Vec h_before = k.cs ? c_before : load(h_stored + tb * P + n);
            dh = C::backward(gates + tb * 4 * P + n, P, h_before, c_before, c, dh, dc, d);
            for (int q = 0; q < 4; q++) store(du + (tb * 4 + q) * P + n, d[q]);
            store(s, dh);
            store(s + WIDTH, dc);
          }
      }
    }
  }
}

inline void forward(const Forward& f, const Worker& worker) {
  with_cell(f.cell, [&](auto cell) { loop_forward<decltype(cell)>(f, worker); });
}

inline void backward(const Backward& k, const Worker& worker) {
  with_cell(k.cell, [&](auto cell) { loop_backward<decltype(cell)>(k, worker); });
}
