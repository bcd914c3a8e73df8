// Softmax cross-entropy of h W + b, a block of rows at a time: of the logits only a block exists.
//
// The vocabulary is cut into chunks. Each has its own maximum and its own sum of exponentials, from which those of the whole row
// come, always in the same order: so the bits do not depend on how many threads there are. Those share the chunks where there are
// enough of them, and meet once a block; else they share the rows.

constexpr int64_t CHUNK = 16 * WIDTH;                               // columns, whose logits stay near from product to exponential
constexpr int64_t HEAD_ROWS = STEPS ? BLOCK_ROWS / 2 : BLOCK_ROWS;  // of a block
constexpr float NEVER = -1e30f;                                     // the logit of what cannot come

inline int64_t packed_size(int64_t inner, int64_t columns) { return lanes_of(inner) * rounded_up(columns, WIDTH); }

inline void pack_head(const Matrix& W, int64_t inner, int64_t columns, float* out) {
  pack(W, 0, lanes_of(inner), inner, columns, Groups(0, (columns + WIDTH - 1) / WIDTH), out);
}

inline int64_t chunks_of(int64_t V_) { return (V_ + CHUNK - 1) / CHUNK; }

// What the threads tell each other of the rows of a block: of each chunk its maximum and its sum, and the target's logit.
inline int64_t told_size(int64_t V_) { return HEAD_ROWS * (2 * chunks_of(V_) + 1); }

// From logits l [n] (n a multiple of WIDTH) to e^(l - max) in place; returns the sum of them, and the largest in `top`.
inline float exponentials(float* l, int64_t n, float& top) {
  V most = broadcast(-3e38f), sums = zero();
  for (int64_t v = 0; v < n; v += WIDTH) most = larger(load(l + v), most);
  top = largest(most);
  most = broadcast(top);
  for (int64_t v = 0; v < n; v += WIDTH) {
    const V e = exponential(load(l + v) - most);
    store(l + v, e);
    sums = sums + e;
  }
  return sum(sums);
}

// The same of a whole row, from those of its chunks.
inline void of_chunks(const float* told, int64_t chunks, float& top, float& total) {
  top = told[0];
  for (int64_t c = 1; c < chunks; c++) top = told[2 * c] > top ? told[2 * c] : top;
  total = 0;
  for (int64_t c = 0; c < chunks; c++) total += told[2 * c + 1] * __builtin_expf(told[2 * c] - top);
}

class HeadPart {  // the chunks and rows of one thread
 public:
  HeadPart(const Head& h, const Worker& worker)
      : h_(h),
        worker_(worker),
        lanes_(lanes_of(h.N)),
        chunks_(chunks_of(h.V)),
        across_(chunks_ >= 2 * worker.count),
        begin_(across_ ? share(chunks_, worker.number, worker.count) : 0),
        end_(across_ ? share(chunks_, worker.number + 1, worker.count) : chunks_),
        width_(rounded_up(least(h.V, end_ * CHUNK), WIDTH) - begin_ * CHUNK),
        groups_(begin_ * CHUNK / WIDTH, width_ / WIDTH),
        packed_(worker.array<float>(lanes_ * width_)),
        bias_(worker.array<float>(width_)),
        left_(worker.array<float>(HEAD_ROWS * lanes_ + WIDTH)),
        logits_(worker.array<float>(HEAD_ROWS * width_)),
        told_(across_ ? h.told : worker.array<float>(told_size(h.V))) {
    pack(h.W, 0, lanes_, h.N, h.V, groups_, packed_);
    for (int64_t v = 0; v < width_; v++) bias_[v] = begin_ * CHUNK + v < h.V ? h.b[begin_ * CHUNK + v] : NEVER;
  }

  void run() {
    const Cut blocks(h_.rows, HEAD_ROWS);
    int64_t i = across_ ? 0 : share(blocks.pieces, worker_.number, worker_.count);
    const int64_t last = across_ ? blocks.pieces : share(blocks.pieces, worker_.number + 1, worker_.count);
    for (; i < last; i++) {
      const int64_t row0 = blocks.at(i), rows = blocks.size(i);
      float* told = told_ + (across_ ? i % 2 * told_size(h_.V) : 0);  // others may still read what was told before
      products(row0, rows, told);
      if (across_) worker_.wait();  // until all is told
      for (int64_t r = 0; r < rows; r++) outcome(row0 + r, logits_ + r * width_, told + r * (2 * chunks_ + 1));
    }
  }

 private:
  // Logits and exponentials of a block, chunk by chunk.
  void products(int64_t row0, int64_t rows, float* told) {
    const Cut tiles(rows, tile_rows(PANELS));
    pack_left({h_.h, h_.N, false, false, one_gate(h_.N)}, row0, tiles, 0, lanes_, h_.N, nullptr, left_);
    int64_t g = 0;
    for (int64_t c = begin_; c < end_; c++) {
      const int64_t from = (c - begin_) * CHUNK, n = least(CHUNK, width_ - from);
      for (; g < groups_.end && groups_.at(g) * WIDTH < from + n; g++) logits(g, tiles);
      for (int64_t r = 0; r < rows; r++) {
        float *l = logits_ + r * width_ + from, *to = told + r * (2 * chunks_ + 1);
        const int64_t target = h_.targets[row0 + r] - c * CHUNK;
        if (target >= 0 && target < n) to[2 * chunks_] = l[target];
        to[2 * c + 1] = exponentials(l, n, to[2 * c]);
      }
    }
  }

  // Those of a group of panels.
  void logits(int64_t g, const Cut& tiles) {
    alignas(64) float z[SUMS * WIDTH];
    const int64_t panel = groups_.at(g), panels = groups_.size(g);
    for (int64_t j = 0; j < tiles.pieces; j++) {
      const int64_t r0 = tiles.at(j), rows = tiles.size(j);
      tile_of(int(panels), int(rows), left_ + r0 * lanes_, lanes_, 1, packed_ + panel * lanes_ * WIDTH, lanes_, z);
      for (int64_t p = 0; p < panels; p++) {
        const V bias = load(bias_ + (panel + p) * WIDTH);
        for (int64_t r = 0; r < rows; r++)
          store(logits_ + (r0 + r) * width_ + (panel + p) * WIDTH, load(z + (r * panels + p) * WIDTH) + bias);
      }
    }
  }

  // One row's nats, and of this thread's chunks the probabilities less the one-hot target.
  void outcome(int64_t row, const float* e, const float* told) {
    float top, total;
    of_chunks(told, chunks_, top, total);
    const int64_t target = h_.targets[row], first = begin_ * CHUNK;
    const bool mine = target >= first && target < end_ * CHUNK;
    if (mine) h_.nats[row] = __builtin_logf(total) + (top - told[2 * chunks_]);
    if (!h_.excess) return;
    Stored* out = static_cast<Stored*>(h_.excess) + row * h_.stride;
    for (int64_t c = begin_; c < end_; c++) {
      const V scale = broadcast(__builtin_expf(told[2 * c] - top) / total);
      for (int64_t v = c * CHUNK; v < least(c * CHUNK + CHUNK, h_.V); v += WIDTH)
        store(out + v, load(e + v - first) * scale, h_.V - v);
    }
    if (!mine) return;
    const float p = e[target - first] * (__builtin_expf(told[2 * (target / CHUNK)] - top) / total);
#if LMGEN_BF16
    store(out + target, broadcast(p - 1), 1);
#else
    out[target] = p - 1;
#endif
  }

  const Head& h_;
  const Worker& worker_;
  const int64_t lanes_, chunks_;
  const bool across_;
  const int64_t begin_, end_, width_;  // chunks, and how many columns they are
  const Groups groups_;
  float *const packed_, *const bias_, *const left_, *const logits_, *const told_;
};

inline void head(const Head& h, const Worker& worker) { HeadPart(h, worker).run(); }
