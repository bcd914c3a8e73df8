// Text generation: all layers read a symbol, the head computes logits, the next symbol is drawn, and so on. Threads share the
// units of a layer, the vocabulary of the head, and the rows of the draw. The output of a row does not depend on the other rows.

inline void pack_cell(const float* w, const Gates& gates, int64_t inner, float* out) {
  for (int64_t c = 0; c < gates.P; c += WIDTH) pack_gates(w, gates, inner, c, out + c * lanes_of(gates.P) * gates.count);
}

// h of a layer as products read it [B, P]; double-buffered by step.
inline Stored* h_stored_of(const Sampling& s, const Network& net, int64_t layer, int64_t step) {
  return static_cast<Stored*>(net.h_stored) + (layer * 2 + step % 2) * s.B * s.P;
}

inline int64_t padded_logits(const Sampling& s) { return rounded_up(s.V, WIDTH); }

inline bool plain(const Sampling& s, const Network& net) { return !s.residual && !net.gain[s.layers]; }

// The input [B, P] of a layer, or of the head (layer = s.layers).
inline const Stored* read_by(const Sampling& s, const Network& net, int64_t layer, int64_t step) {
  return plain(s, net) ? h_stored_of(s, net, layer - 1, step + 1) : static_cast<const Stored*>(s.read);
}

// Residual connection and layer norm after a layer; threads share the rows.
inline void sampling_between(const Sampling& s, const Network& net, int64_t layer, const Worker& worker) {
  const float *gain = net.gain[layer + 1], *shift = net.shift[layer + 1];
  const int64_t end = share(s.B, worker.number + 1, worker.count);
  for (int64_t b = share(s.B, worker.number, worker.count); b < end; b++) {
    float* x = s.sums + b * s.P;
    Vec total = zero(), squares_ = zero();
    for (int64_t n = 0; n < s.P; n += WIDTH) {
      const Vec h = load(net.h[layer] + b * s.N + n, s.N - n), v = s.residual && layer ? load(x + n) + h : h;
      store(x + n, v);
      total = total + v;
    }
    const Vec mean = broadcast(sum(total) / float(s.N));
    for (int64_t n = 0; n < s.P; n += WIDTH) {
      const Vec centred = load(x + n, s.N - n) - mean, v = s.N - n >= WIDTH ? centred : kept_lanes(centred, s.N - n);
      squares_ = multiply_add(v, v, squares_);
    }
    const Vec scale = broadcast(1 / __builtin_sqrtf(sum(squares_) / float(s.N) + 1e-5f));
    for (int64_t n = 0; n < s.P; n += WIDTH) {
      Vec v = load(x + n);
      if (gain) v = multiply_add((v - mean) * scale, load(gain + n, s.N - n), load(shift + n, s.N - n));
      store(static_cast<Stored*>(s.read) + b * s.P + n, v);
    }
  }
}

// One step of one layer; threads share the units.
template <class C>
void sampling_layer(const Sampling& s, const Network& net, int64_t layer, int64_t step, const Worker& worker) {
  constexpr int G = C::GATES;
  const int64_t B = s.B, N = s.N, P = s.P, lanes = lanes_of(P), all = P / WIDTH;
  const Stored *before = h_stored_of(s, net, layer, step), *below = layer ? read_by(s, net, layer, step) : nullptr;
  Stored* after = h_stored_of(s, net, layer, step + 1);
  const Cut pieces(B, tile_rows(G));
  alignas(64) float z[SUMS * WIDTH], zx[SUMS * WIDTH];
  const int64_t end = share(all, worker.number + 1, worker.count);
  for (int64_t u = share(all, worker.number, worker.count); u < end; u++)
    for (int64_t i = 0; i < pieces.pieces; i++) {
      const int64_t b0 = pieces.at(i), n = u * WIDTH;
      const int64_t at = u * lanes * G * WIDTH;
      tile_of(G, pieces.size(i), reinterpret_cast<const float*>(before + b0 * P), P / PAIR, 1, net.U[layer] + at, lanes, z);
      if (layer)
        tile_of(G, pieces.size(i), reinterpret_cast<const float*>(below + b0 * P), P / PAIR, 1, net.W[layer] + at, lanes, zx);
      for (int r = 0; r < pieces.size(i); r++) {
        const int64_t b = b0 + r;
        const Stored* input = static_cast<const Stored*>(net.inputs) + s.last[b] * G * P + n;
        Vec products[G], x[G];
        for (int g = 0; g < G; g++) {
          products[g] = load(z + (r * G + g) * WIDTH);
          x[g] = layer ? load(zx + (r * G + g) * WIDTH) + load(net.b[layer] + g * N + n, N - n) : load(input + g * P);
        }
        float *h = net.h[layer] + b * N + n, *c = net.c[layer] ? net.c[layer] + b * N + n : nullptr;
        const Vec b_u = net.b_u[layer] ? load(net.b_u[layer] + n, N - n) : zero();
        const auto state = C::forward(products, x, b_u, load(h, N - n), c ? load(c, N - n) : zero(), nullptr, P);
        store(h, state.h, N - n);
        if (c) store(c, state.c, N - n);
        store(after + b * P + n, state.h);
      }
    }
}

// The state before a step: reset where EOS is read, and h copied as products read it.
inline void sampling_state(const Sampling& s, const Network& net, int64_t step, const Worker& worker) {
  const int64_t end = share(s.B, worker.number + 1, worker.count);
  for (int64_t b = share(s.B, worker.number, worker.count); b < end; b++) {
    if (step && !(s.forgets && s.last[b] == s.eos)) continue;  // the previous step stored h
    const bool reset = s.forgets && s.last[b] == s.eos;
    for (int64_t layer = 0; layer < s.layers; layer++)
      for (int64_t n = 0; n < s.P; n += WIDTH) {
        float* h = net.h[layer] + b * s.N + n;
        if (reset) store(h, zero(), s.N - n);
        if (reset && net.c[layer]) store(net.c[layer] + b * s.N + n, zero(), s.N - n);
        store(h_stored_of(s, net, layer, step) + b * s.P + n, load(h, s.N - n));
      }
  }
}

// Logits of all rows; threads share the vocabulary.
inline void sampling_logits(const Sampling& s, const Network& net, int64_t step, const Worker& worker) {
  const int64_t lanes = lanes_of(s.N), padded = padded_logits(s);
  const Stored* top = read_by(s, net, s.layers, step);
  const Cut groups(padded / WIDTH, PANELS), pieces(s.B, tile_rows(PANELS));
  alignas(64) float z[SUMS * WIDTH];
  const int64_t end = share(groups.pieces, worker.number + 1, worker.count);
  for (int64_t g = share(groups.pieces, worker.number, worker.count); g < end; g++)
    for (int64_t i = 0; i < pieces.pieces; i++) {
      const int panels = groups.size(g);
      const float* top_rows = reinterpret_cast<const float*>(top + pieces.at(i) * s.P);
      tile_of(panels, pieces.size(i), top_rows, s.P / PAIR, 1, net.head + groups.at(g) * lanes * WIDTH, lanes, z);
      for (int r = 0; r < pieces.size(i); r++)
        for (int p = 0; p < panels; p++) {
          const int64_t v = (groups.at(g) + p) * WIDTH;
          float* l = net.logits + (pieces.at(i) + r) * padded + v;
          store(l, load(z + (r * panels + p) * WIDTH) + load(net.head_b + v, s.V - v));
          for (int64_t k = s.V - v; k < WIDTH; k++) l[k] = MASKED;
        }
    }
}

// Replaces logits l [n] by e^(l - max); n is a multiple of WIDTH. Returns their sum, and max in `top`.
inline float exponentials(float* l, int64_t n, float& top) {
  Vec most = broadcast(-3e38f), sums = zero();
  for (int64_t v = 0; v < n; v += WIDTH) most = larger(load(l + v), most);
  top = largest(most);
  most = broadcast(top);
  for (int64_t v = 0; v < n; v += WIDTH) {
    const Vec e = exponential(load(l + v) - most);
    store(l + v, e);
    sums = sums + e;
  }
  return sum(sums);
}

#include "ngrams.h"

// Replaces the logits l [padded] of a row, those of the first network, by ln of the mean of all networks' probabilities; `p` and
// `mean` are scratch memory.
inline void average(const Sampling& s, int64_t b, float* l, int64_t padded, float* p, float* mean) {
  for (int64_t v = 0; v < padded; v += WIDTH) store(mean + v, zero());
  for (int64_t m = 0; m < s.count; m++) {
    const float* logits = s.networks[m].logits + b * padded;
    float top;
    for (int64_t v = 0; v < padded; v += WIDTH) store(p + v, load(logits + v));
    const float total = exponentials(p, padded, top);
    if (!(total < 3e38f)) {  // the logits are no numbers: their nats say so
      for (int64_t v = 0; v < padded; v++) l[v] = logits[v];
      return;
    }
    const Vec share = broadcast(1 / (total * float(s.count)));
    for (int64_t v = 0; v < padded; v += WIDTH) store(mean + v, multiply_add(load(p + v), share, load(mean + v)));
  }
  for (int64_t v = 0; v < s.V; v++) l[v] = logarithm(mean[v] > 1e-37f ? mean[v] : 1e-37f);
}

// The transforms of lmgen/generation/sampling.py in their order, with the values of row b; excluded symbols get MASKED. `order`
// and `p` are scratch memory.
inline void transform(const Sampling& s, int64_t b, float* l, int64_t padded, int32_t* order, float* p) {
  const float temperature = s.temperature[b], top_p = s.top_p[b], min_p = s.min_p[b];
  const int32_t top_k = s.top_k[b];
  float top = l[0];
  if (temperature != 1) {
    for (int64_t v = 1; v < s.V; v++) top = l[v] > top ? l[v] : top;
    const float t = temperature > 1e-30f ? temperature : 1e-30f;
    for (int64_t v = 0; v < s.V; v++) l[v] = l[v] == MASKED ? MASKED : (l[v] - top) / t;
  }
  if (top_k > 0 && top_k < s.V) {
    s.order(l, s.V, order);
    const float least_kept = l[order[top_k - 1]];
    for (int64_t v = 0; v < s.V; v++)
      if (l[v] < least_kept) l[v] = MASKED;
  }
  if (top_p < 1) {
    s.order(l, s.V, order);
    for (int64_t v = 0; v < padded; v++) p[v] = v < s.V ? l[v] : MASKED;
    const float total = exponentials(p, padded, top);
    float before = 0;
    for (int64_t k = 0; k < s.V; k++) {
      const int32_t v = order[k];
      if (before >= top_p) l[v] = MASKED;
      before += p[v] / total;
    }
  }
  if (min_p > 0) {
    top = l[0];
    for (int64_t v = 1; v < s.V; v++) top = l[v] > top ? l[v] : top;
    for (int64_t v = 0; v < s.V; v++)
      if (l[v] - top < __builtin_logf(min_p)) l[v] = MASKED;
  }
}

// Draws a symbol by inverting the cumulative softmax at a uniform number in [0, 1).
inline int32_t draw(float* l, int64_t V, int64_t padded, float uniform) {
  float top, total = 0, sum_ = 0;
  int32_t likeliest = 0;
  for (int64_t v = 1; v < V; v++) likeliest = l[v] > l[likeliest] ? int32_t(v) : likeliest;
  const float most = l[likeliest];
  for (int64_t v = V; v < padded; v++) l[v] = MASKED;
  for (int64_t v = 0; v < padded; v++)
    if (!(l[v] > most - 80)) l[v] = MASKED;
  exponentials(l, padded, top);
  for (int64_t v = 0; v < V; v++) total += l[v] > 2e-37f ? l[v] : 0;  // excluded symbols have e^-87
  const float place = uniform * total;
  for (int64_t v = 0; v < V; v++) {
    sum_ += l[v] > 2e-37f ? l[v] : 0;
    if (sum_ > place) return int32_t(v);
  }
  return likeliest;
}

// The next symbol of each row and its -ln p under the untransformed model; threads share the rows. The last three are scratch
// memory.
inline void sampling_draw(const Sampling& s, int64_t step, const Worker& worker, float* p, float* other, int32_t* order) {
  const int64_t padded = padded_logits(s);
  const int64_t end = share(s.B, worker.number + 1, worker.count);
  for (int64_t b = share(s.B, worker.number, worker.count); b < end; b++) {
    float *l = s.networks[0].logits + b * padded, top;
    if (s.count > 1) average(s, b, l, padded, p, other);
    if (s.ngrams.order) read_ngrams(s, b), mix_ngrams(s, b, l, padded, p, other);
    for (int64_t v = 0; v < padded; v += WIDTH) store(p + v, load(l + v));
    const float normaliser = __builtin_logf(exponentials(p, padded, top)) + top;
    int32_t following = s.forced[step * s.B + b];
    const bool drawn = following < 0;
    if (drawn) {
      for (int64_t v = 0; v < padded; v += WIDTH) store(p + v, load(l + v));
      if (!s.unknown[b]) p[s.unk] = MASKED;
      transform(s, b, p, padded, order, other);
      following = draw(p, s.V, padded, s.uniforms[step * s.B + b]);
    }
    s.ids[step * s.B + b] = s.last[b] = following;
    s.nats[step * s.B + b] = normaliser - l[following];
    if (drawn && following == s.eos && s.left[b] > 0) s.left[b]--;
  }
}

inline void sample(const Sampling& s, const Worker& worker) {
  float *p = worker.array<float>(padded_logits(s)), *other = worker.array<float>(padded_logits(s));
  int32_t* order = worker.array<int32_t>(s.V);
  for (int64_t step = 0; step < s.steps; step++) {
    for (int64_t m = 0; m < s.count; m++) {
      const Network& net = s.networks[m];
      sampling_state(s, net, step, worker);
      worker.wait();
      for (int64_t layer = 0; layer < s.layers; layer++) {
        with_cell(s.cell, [&](auto cell) { sampling_layer<decltype(cell)>(s, net, layer, step, worker); });
        worker.wait();
        if (!plain(s, net)) sampling_between(s, net, layer, worker), worker.wait();
      }
      sampling_logits(s, net, step, worker);
      worker.wait();
    }
    sampling_draw(s, step, worker, p, other, order);
    worker.wait();
    bool running = false;
    for (int64_t b = 0; b < s.B; b++) running = running || s.left[b] > 0;
    if (!running) return;
  }
}
