// Clipping by global norm and AdamW, all in one pass over the weights.

constexpr int64_t PIECE = 1 << 16;  // numbers summed at a time: sums do not depend on how many threads there are

inline int64_t pieces(int64_t n) { return (n + PIECE - 1) / PIECE; }

// The sum of squares of each piece of PIECE numbers, this thread's share of them.
inline void squares(const float* x, int64_t n, float* sums, const Worker& worker) {
  const int64_t end = share(pieces(n), worker.number + 1, worker.count);
  for (int64_t i = share(pieces(n), worker.number, worker.count); i < end; i++) {
    V total[4] = {zero(), zero(), zero(), zero()};
    const int64_t last = least(n, (i + 1) * PIECE);
    for (int64_t k = i * PIECE; k < last; k += 4 * WIDTH)
      for (int q = 0; q < 4; q++) {
        const V v = load(x + k + q * WIDTH, last - k - q * WIDTH);
        total[q] = multiply_add(v, v, total[q]);
      }
    sums[i] = sum((total[0] + total[1]) + (total[2] + total[3]));
  }
}

// Adam with decoupled weight decay (Loshchilov & Hutter 2019), weights and moments in place.
class AdamWLeaf {
 public:
  AdamWLeaf(const AdamW& leaf, const AdamWStep& step) : leaf_(leaf), step_(step) {}

  // Of the numbers from `begin` to `end`, with their gradient; without one it is zero.
  template <bool SOME>
  void update(int64_t begin, int64_t end, const float* gradient) const {
    const V scale = broadcast(step_.scale), rate = broadcast(step_.rate), decay = broadcast(leaf_.decay);
    const V beta1 = broadcast(step_.beta1), beta2 = broadcast(step_.beta2), rest1 = broadcast(1 - step_.beta1),
            rest2 = broadcast(1 - step_.beta2);
    const V correction1 = broadcast(step_.correction1), correction2 = broadcast(step_.correction2),
            epsilon = broadcast(step_.epsilon);
    for (int64_t k = begin; k < end; k += WIDTH) {
      const int64_t n = end - k;
      const V g = SOME ? load(gradient + (k - begin), n) * scale : zero(), p = load(leaf_.weights + k, n);
      const V m = multiply_add(beta1, load(leaf_.mean + k, n), rest1 * g),
              v = multiply_add(beta2, load(leaf_.square + k, n), rest2 * g * g);
      store(leaf_.mean + k, m, n);
      store(leaf_.square + k, v, n);
      store(leaf_.weights + k, p - rate * (m * correction1 / (square_root(v * correction2) + epsilon) + decay * p), n);
    }
  }

 private:
  const AdamW& leaf_;
  const AdamWStep& step_;
};

inline void adamw(const AdamW& leaf, const AdamWStep& step, const Worker& worker) {
  const AdamWLeaf all(leaf, step);
  if (!leaf.places) {
    const int64_t begin = PIECE * share(pieces(leaf.size), worker.number, worker.count),
                  end = least(leaf.size, PIECE * share(pieces(leaf.size), worker.number + 1, worker.count));
    return all.update<true>(begin, end, leaf.gradient + begin);
  }
  const int64_t rows = leaf.size / leaf.width, last = share(rows, worker.number + 1, worker.count);
  for (int64_t r = share(rows, worker.number, worker.count); r < last; r++) {
    const int64_t begin = r * leaf.width, end = begin + leaf.width;
    if (leaf.places[r] < 0)
      all.update<false>(begin, end, nullptr);
    else
      all.update<true>(begin, end, leaf.gradient + leaf.places[r] * leaf.width);
  }
}
