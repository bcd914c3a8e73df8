// Softmax cross-entropy of h W + b. Only a tile of the logits l exists at a time. e^l is summed and stored unnormalised: the sum
// of a row is known only after its last column, so readers of the row multiply it by the inverse. A row whose sum overflows or
// underflows is computed again as e^(l - shift), where the shift is its largest logit. Results larger than the caches are written
// with non-temporal stores, whole cache lines at a time.
//
// The vocabulary is split into chunks. The packed weights of one chunk stay in the cache while all rows pass. Each chunk has its
// own sum, and these are added in a fixed order, so the bits do not depend on the number of threads. The threads share the chunks
// if there are enough of them, with a barrier after all rows; otherwise they share the rows.

constexpr int64_t CHUNK = 16;                      // panels
constexpr float MASKED = -1e30f;                   // the logit of an impossible symbol
constexpr float MIN_SUM = 1e-9f, MAX_SUM = 1e16f;  // of a row that needs no shift

inline int64_t packed_size(int64_t inner, int64_t columns) { return lanes_of(inner) * rounded_up(columns, WIDTH); }

inline void pack_head(const Matrix& W, int64_t inner, int64_t columns, float* out) {
  pack(W, 0, lanes_of(inner), inner, columns, Groups(0, (columns + WIDTH - 1) / WIDTH), out);
}

inline int64_t chunks_of(int64_t V) { return (V + CHUNK * WIDTH - 1) / (CHUNK * WIDTH); }

// Scratch memory shared by the threads. Per row: the sum and the largest logit of every chunk, and the target's logit.
inline int64_t head_scratch_size(int64_t rows, int64_t V) { return rows * (2 * chunks_of(V) + 1); }

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
        panels_(min((h.V + WIDTH - 1) / WIDTH, end_ * CHUNK) - begin_ * CHUNK),
        blocks_(h.rows, BLOCK_ROWS),
        first_(across_ ? 0 : share(blocks_.pieces, worker.number, worker.count)),
        last_(across_ ? blocks_.pieces : share(blocks_.pieces, worker.number + 1, worker.count)),
        packed_(worker.array<float>(lanes_ * min(CHUNK, panels_) * WIDTH)),
        bias_(worker.array<float>(panels_ * WIDTH)),
        left_(worker.array<float>((end_ - begin_ > 1 ? blocks_.at(last_) - blocks_.at(first_) : BLOCK_ROWS) * lanes_ + WIDTH)),
        sums_(worker.array<float>(BLOCK_ROWS * WIDTH)),
        tops_(worker.array<float>(BLOCK_ROWS * WIDTH)),
        shifts_(worker.array<float>(h.rows)) {
    for (int64_t v = 0, first = begin_ * CHUNK * WIDTH; v < panels_ * WIDTH; v++)
      bias_[v] = first + v < h.V ? h.b[first + v] : MASKED;
    for (int64_t row = 0; row < h.rows; row++) shifts_[row] = 0;
  }

  void run() {
    chunks([](int64_t) { return true; });
    if (set_shifts()) {
      sync();  // before the scratch memory is overwritten
      chunks([this](int64_t i) { return shifted(i); });
    }
    for (int64_t row = blocks_.at(first_); row < blocks_.at(last_); row++) write_result(row);
  }

 private:
  void sync() const {
    if (across_) worker_.wait();
  }

  float* scratch(int64_t row) const { return h_.scratch + row * (2 * chunks_ + 1); }

  Groups groups_of(int64_t c) const {
    const int64_t from = (c - begin_) * CHUNK;
    return Groups(begin_ * CHUNK + from, min(CHUNK, panels_ - from));
  }

  // Packed block i of the rows of h. All blocks are kept if more than one chunk reads them.
  float* left(int64_t i) const { return left_ + (end_ - begin_ > 1 ? blocks_.at(i) - blocks_.at(first_) : 0) * lanes_; }

  // Computes all chunks of the blocks for which `wanted` is true.
  template <class F>
  void chunks(F wanted) {
    for (int64_t c = begin_; c < end_; c++) {
      pack(h_.W, 0, lanes_, h_.N, h_.V, groups_of(c), packed_);
      for (int64_t i = first_; i < last_; i++) {
        if (!wanted(i)) continue;
        if (c == begin_)
          pack_left({h_.h, h_.N, false, false, one_gate(h_.N)}, blocks_.at(i), blocks_.size(i), 0, lanes_, h_.N, nullptr,
                    left(i));
        block(c, i);
      }
    }
    stream_fence();
    sync();
  }

  // Prefetches what is packed after a block: the next rows unless they are packed already, and a share of the next chunk's
  // weights.
  Prefetcher prefetcher_for(int64_t c, int64_t i) const {
    Prefetcher prefetcher;
    if (c == begin_ && i + 1 < last_) prefetcher.add(h_.h + blocks_.at(i + 1) * h_.N, blocks_.size(i + 1), h_.N, h_.N);
    if (c + 1 == end_) return prefetcher;
    const int64_t v0 = (c + 1) * CHUNK * WIDTH, columns = min(CHUNK * WIDTH, h_.V - v0), rows = h_.W.transposed ? columns : h_.N;
    const int64_t from = share(rows, i - first_, last_ - first_), n = share(rows, i - first_ + 1, last_ - first_) - from;
    h_.W.transposed ? prefetcher.add(h_.W, v0 + from, n, 0, h_.N) : prefetcher.add(h_.W, from, n, v0, columns);
    return prefetcher;
  }

  void block(int64_t c, int64_t i) {
    const int64_t row0 = blocks_.at(i), first = (c - begin_) * CHUNK;
    const Cut tiles(blocks_.size(i), tile_rows(PANELS));
    const Groups groups = groups_of(c);
    Prefetcher prefetcher = prefetcher_for(c, i);
    prefetcher.spread_over(groups.count * tiles.pieces * prefetch_steps(lanes_));
    for (int64_t r = 0; r < tiles.n; r++) store(sums_ + r * WIDTH, zero()), store(tops_ + r * WIDTH, broadcast(MASKED));
    for (int64_t g = 0; g < groups.count; g++)
      for (int64_t j = 0; j < tiles.pieces; j++)
        exponentials(i, tiles.at(j), tiles.size(j), packed_ + groups.at(g) * lanes_ * WIDTH, first + groups.at(g), groups.size(g),
                     prefetcher);
    for (int64_t r = 0; r < tiles.n; r++) {
      scratch(row0 + r)[2 * c] = sum(load(sums_ + r * WIDTH));
      scratch(row0 + r)[2 * c + 1] = largest(load(tops_ + r * WIDTH));
    }
  }

  // e^l of rows r0 … of block i and a group of this thread's panels.
  void exponentials(int64_t i, int64_t r0, int rows, const float* weights, int64_t panel, int panels, Prefetcher& prefetcher) {
    alignas(64) float z[SUMS * WIDTH];
    tile_of(panels, rows, left(i) + r0 * lanes_, lanes_, 1, weights, lanes_, z, false, &prefetcher);
    const int64_t row0 = blocks_.at(i), column = (begin_ * CHUNK + panel) * WIDTH;
    for (int64_t r = r0; r < r0 + rows; r++) {
      const float* products = z + (r - r0) * panels * WIDTH;
      const int64_t row = row0 + r, target = h_.targets[row] - column;
      if (target >= 0 && target < panels * WIDTH) scratch(row)[2 * chunks_] = products[target] + bias_[panel * WIDTH + target];
      const Vec shift = broadcast(shifts_[row]);
      Vec total = load(sums_ + r * WIDTH), top = load(tops_ + r * WIDTH);
      Stored* kept = h_.kept ? static_cast<Stored*>(h_.kept) + row * h_.stride + column : nullptr;
      const auto next = [&](int64_t p) {
        const Vec logit = load(products + p * WIDTH) + load(bias_ + (panel + p) * WIDTH), e = exponential(logit - shift);
        total = total + e, top = larger(top, logit);
        return e;
      };
      int64_t p = 0;
      for (const int64_t lines = h_.bypass_cache ? whole_lines(kept, panels, h_.V - column) : 0; p < lines; p += LINE_VECTORS) {
        Vec e[LINE_VECTORS];
        for (int q = 0; q < LINE_VECTORS; q++) e[q] = next(p + q);
        stream(kept + p * WIDTH, e);
      }
      for (; p < panels; p++) {
        const Vec e = next(p);
        if (kept && column + (p + 1) * WIDTH <= h_.V)
          store(kept + p * WIDTH, e);
        else if (kept)
          store(kept + p * WIDTH, e, h_.V - column - p * WIDTH);
      }
      store(sums_ + r * WIDTH, total), store(tops_ + r * WIDTH, top);
    }
  }

  // How many of the panels at p fill whole cache lines; `left` elements remain in the row. 0 unless p is aligned to a line.
  static int64_t whole_lines(const Stored* p, int64_t panels, int64_t left) {
    const bool begins = p && reinterpret_cast<uintptr_t>(p) % LINE == 0;
    return begins ? min(panels, left / WIDTH) / LINE_VECTORS * LINE_VECTORS : 0;
  }

  float total(int64_t row) const {
    float sum = 0;
    for (int64_t c = 0; c < chunks_; c++) sum += scratch(row)[2 * c];
    return sum;
  }

  // Sets the shifts of the rows that need one; returns whether any does.
  bool set_shifts() {
    bool any = false;
    for (int64_t row = blocks_.at(first_); row < blocks_.at(last_); row++) {
      const float sum = total(row);
      if (sum >= MIN_SUM && sum <= MAX_SUM) continue;
      shifts_[row] = scratch(row)[1];
      for (int64_t c = 1; c < chunks_; c++)
        shifts_[row] = scratch(row)[2 * c + 1] > shifts_[row] ? scratch(row)[2 * c + 1] : shifts_[row];
      any = true;
    }
    return any;
  }

  bool shifted(int64_t i) const {
    for (int64_t row = blocks_.at(i); row < blocks_.at(i + 1); row++)
      if (shifts_[row] != 0) return true;
    return false;
  }

  // The thread that owns the target's chunk writes the row's results and subtracts the one-hot target.
  void write_result(int64_t row) const {
    const int64_t target = h_.targets[row], chunk = target / (CHUNK * WIDTH);
    if (chunk < begin_ || chunk >= end_) return;
    const float sum = total(row), logit = scratch(row)[2 * chunks_] - shifts_[row];
    h_.nats[row] = __builtin_logf(sum) - logit;
    if (!h_.kept) return;
    h_.inverses[row] = 1 / sum;
    store(static_cast<Stored*>(h_.kept) + row * h_.stride + target, exponential(broadcast(logit)) - broadcast(sum), 1);
  }

  const Head& h_;
  const Worker& worker_;
  const int64_t lanes_, chunks_;
  const bool across_;
  const int64_t begin_, end_, panels_;  // this thread's chunks, and the number of their panels
  const Cut blocks_;
  const int64_t first_, last_;  // this thread's blocks
  float *const packed_, *const bias_, *const left_, *const sums_, *const tops_, *const shifts_;
};

inline void head(const Head& h, const Worker& worker) { HeadPart(h, worker).run(); }
