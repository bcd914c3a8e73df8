// Softmax cross-entropy of h W + b, a block of rows at a time: of the logits only a block exists.

inline int64_t packed_size(int64_t inner, int64_t columns) { return lanes_of(inner) * rounded_up(columns, WIDTH); }

// From logits l [V] (V a multiple of WIDTH) to e^(l - max) in place; returns the sum of them, and the largest in `top`.
inline float softmax(float* l, int64_t V_, float& top) {
  V most = broadcast(-3e38f), total = zero();
  for (int64_t v = 0; v < V_; v += WIDTH) most = larger(load(l + v), most);
  top = largest(most);
  most = broadcast(top);
  for (int64_t v = 0; v < V_; v += WIDTH) {
    const V e = exponential(load(l + v) - most);
    store(l + v, e);
    total = total + e;
  }
  return sum(total);
}

// One row's nats, and its probabilities less the one-hot target.
inline void head_row(const Head& h, int64_t row, float* l, int64_t padded) {
  const int32_t target = h.targets[row];
  const float logit = l[target];
  float top;
  const float total = softmax(l, padded, top);
  h.nats[row] = __builtin_logf(total) + (top - logit);
  if (!h.excess) return;
  Stored* out = static_cast<Stored*>(h.excess) + row * h.stride;
  const V scale = broadcast(1 / total);
  const float p = l[target] / total;
  for (int64_t v = 0; v < h.V; v += WIDTH) store(out + v, load(l + v) * scale, h.V - v);
#if LMGEN_BF16
  store(out + target, broadcast(p - 1), 1);
#else
  out[target] = p - 1;
#endif
}

inline void pack_head(const Matrix& W, int64_t inner, int64_t columns, float* out) {
  pack(W, 0, lanes_of(inner), inner, columns, Groups(0, (columns + WIDTH - 1) / WIDTH), out);
}

constexpr float NEVER = -1e30f;  // the logit of what cannot come

inline void head(const Head& h, const Worker& worker) {
  const int64_t lanes = lanes_of(h.N), panels = (h.V + WIDTH - 1) / WIDTH, padded = panels * WIDTH;
  const Groups groups(0, panels);
  const Cut blocks(h.rows, BLOCK_ROWS);
  float* packed = static_cast<float*>(h.packed);
  Groups mine = groups;
  mine.begin = share(groups.end, worker.number, worker.count), mine.end = share(groups.end, worker.number + 1, worker.count);
  pack(h.W, 0, lanes, h.N, h.V, mine, packed);
  float* bias = worker.array<float>(padded);
  for (int64_t v = 0; v < padded; v++) bias[v] = v < h.V ? h.b[v] : NEVER;
  float* left = worker.array<float>(BLOCK_ROWS * lanes + WIDTH);
  float* logits = worker.array<float>(BLOCK_ROWS * padded);
  alignas(64) float z[SUMS * WIDTH];
  worker.wait();  // until all of W is packed
  const int64_t end = share(blocks.pieces, worker.number + 1, worker.count);
  for (int64_t i = share(blocks.pieces, worker.number, worker.count); i < end; i++) {
    const int64_t r0 = blocks.at(i);
    const Cut few(blocks.size(i), tile_rows(PANELS));
    pack_left({h.h, h.N, false, false, one_gate(h.N)}, r0, few, 0, lanes, h.N, nullptr, left);
    for (int64_t g = 0; g < groups.end; g++)
      for (int64_t j = 0; j < few.pieces; j++) {
        const int rows = few.size(j), width = groups.size(g);
        tile_of(width, rows, left + few.at(j) * lanes, lanes, 1, packed + groups.at(g) * lanes * WIDTH, lanes, z);
        for (int r = 0; r < rows; r++)
          for (int p = 0; p < width; p++) {
            const int64_t v = (groups.at(g) + p) * WIDTH;
            store(logits + (few.at(j) + r) * padded + v, load(z + (r * width + p) * WIDTH) + load(bias + v));
          }
      }
    for (int64_t r = 0; r < blocks.size(i); r++) head_row(h, r0 + r, logits + r * padded, padded);
  }
}
