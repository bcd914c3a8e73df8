// Clipping by the global norm and AdamW, in one pass over the weights.

constexpr int64_t PIECE = 1 << 16;  // elements a partial sum, so that sums do not depend on the number of threads

inline int64_t pieces(int64_t n) { return (n + PIECE - 1) / PIECE; }

// This thread's share of the sums of squares, one a piece of PIECE elements.
inline void squares(const float* x, int64_t n, float* sums, const Worker& worker) {
  const int64_t end = share(pieces(n), worker.number + 1, worker.count);
  for (int64_t i = share(pieces(n), worker.number, worker.count); i < end; i++) {
    Vec total[4] = {zero(), zero(), zero(), zero()};
    const int64_t last = min(n, (i + 1) * PIECE);
    for (int64_t k = i * PIECE; k < last; k += 4 * WIDTH)
      for (int q = 0; q < 4; q++) {
        const Vec v = load(x + k + q * WIDTH, last - k - q * WIDTH);
        total[q] = multiply_add(v, v, total[q]);
      }
    sums[i] = sum((total[0] + total[1]) + (total[2] + total[3]));
  }
}

// Adam with decoupled weight decay (Loshchilov & Hutter 2019), in place, of the elements from `begin` to `end`; without GIVEN
// their gradient is zero.
template <bool GIVEN>
void update(const AdamW& leaf, const AdamWStep& step, int64_t begin, int64_t end, const float* gradient) {
  const Vec scale = broadcast(step.scale), rate = broadcast(step.rate), decay = broadcast(leaf.decay);
  const Vec beta1 = broadcast(step.beta1), beta2 = broadcast(step.beta2), rest1 = broadcast(1 - step.beta1),
            rest2 = broadcast(1 - step.beta2);
  const Vec correction1 = broadcast(step.correction1), correction2 = broadcast(step.correction2),
            epsilon = broadcast(step.epsilon);
  for (int64_t k = begin; k < end; k += WIDTH) {
    const int64_t n = end - k;
    const Vec g = GIVEN ? load(gradient + (k - begin), n) * scale : zero(), p = load(leaf.weights + k, n);
    const Vec m = multiply_add(beta1, load(leaf.mean + k, n), rest1 * g),
              v = multiply_add(beta2, load(leaf.square + k, n), rest2 * g * g);
    store(leaf.mean + k, m, n);
    store(leaf.square + k, v, n);
    store(leaf.weights + k, p - rate * (m * correction1 / (square_root(v * correction2) + epsilon) + decay * p), n);
  }
}

inline void adamw(const AdamW& leaf, const AdamWStep& step, const Worker& worker) {
  if (!leaf.places) {
    const int64_t begin = PIECE * share(pieces(leaf.size), worker.number, worker.count),
                  end = min(leaf.size, PIECE * share(pieces(leaf.size), worker.number + 1, worker.count));
    return update<true>(leaf, step, begin, end, leaf.gradient + begin);
  }
  const int64_t rows = leaf.size / leaf.width, last = share(rows, worker.number + 1, worker.count);
  for (int64_t r = share(rows, worker.number, worker.count); r < last; r++) {
    const int64_t begin = r * leaf.width, end = begin + leaf.width;
    if (leaf.places[r] < 0)
      update<false>(leaf, step, begin, end, nullptr);
    else
      update<true>(leaf, step, begin, end, leaf.gradient + leaf.places[r] * leaf.width);
  }
}
