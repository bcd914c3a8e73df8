// The bits of bytes predicted from counts: the methods `predict` and `learn` of lmgen/evaluation/online/counts.py, which explains them
// and has the same in NumPy. Both must give the same bits on every machine, so this file is compiled without special instructions and
// without the contraction of products and sums. Shapes: B columns, K orders, I inputs.

#include <algorithm>
#include <cstdint>

namespace {

struct Counts {  // as CompiledCounts passes it
  int64_t columns, orders, inputs, bits, longest;
  uint32_t* slots;        // [K << bits]
  int64_t* by_history;    // [K, 256, 256]
  int64_t* by_match;      // [longest + 1]
  double* by_node;        // [256, I]
  double* by_known;       // [4 (K + 1), I]
  double* by_last;        // [256, I]
  const uint64_t* hashed; // [K, B]
  int64_t* node;          // [B] and so on
  const int64_t *expected, *length, *last;
  int64_t *index, *check, *history, *p, *of_history;  // [K, B]: what `learn` needs of `predict`
  int64_t *match, *of_match, *set;                    // [B]
  double* x;      // [B, I]
  double* mixed;  // [B]
  const int64_t* gain;         // [256]
  const int64_t* after;        // [2, 256]
  const double* odds;          // [4096]
  const double* probability;   // [24 fine]
  const double* numbers;       // rate, limit, fine

  double* weights(double* table, int64_t row) const { return table + row * inputs; }
  int64_t& history_at(int64_t k, int64_t b, int64_t history) const { return by_history[(k * 256 + history) * 256 + node[b]]; }
};

int64_t expected_bit(const Counts& c, int64_t b, int64_t depth) { return c.expected[b] >> (7 - depth) & 1; }

}  // namespace

extern "C" __attribute__((visibility("default"))) void lmgen_counts_predict(Counts* all, int64_t depth, const double* network) {
  const Counts& c = *all;
  const int64_t B = c.columns, K = c.orders, I = c.inputs;
  for (int64_t b = 0; b < B; b++) {
    double* x = c.x + b * I;
    int64_t known = 0;
    for (int64_t k = 0; k < K; k++) {
      const int64_t at = k * B + b;
      const uint64_t mixed = (c.hashed[at] + uint64_t(c.node[b])) * 0xD6E8FEB86659FD93ull;
      c.index[at] = int64_t(mixed >> (64 - c.bits)) + (k << c.bits);
      c.check[at] = mixed >> 20 & 255;
      uint32_t slot = c.slots[c.index[at]];
      if (slot >> 24 != c.check[at]) slot = 0;
      c.history[at] = slot >> 16 & 255;
      c.p[at] = (slot & 0xFFFF) ^ 0x8000;
      c.of_history[at] = c.history_at(k, b, c.history[at]);
      x[k] = c.odds[c.p[at] >> 4];
      x[K + k] = c.odds[c.of_history[at] >> 4];
      known += c.history[at] > 0;
    }
    const bool agrees = c.expected[b] >> (8 - depth) == c.node[b];
    c.match[b] = agrees ? std::min(c.length[b], c.longest) : 0;
    c.of_match[b] = c.by_match[c.match[b]];
    const double matched = c.odds[c.of_match[b] >> 4];
    x[2 * K] = c.match[b] == 0 ? 0 : expected_bit(c, b, depth) ? matched : -matched;
    x[2 * K + 1] = network[b];
    x[2 * K + 2] = 0.3;
    c.set[b] = known * 4 + std::min<int64_t>(3, (c.match[b] + 7) >> 3);
    const double *u = c.weights(c.by_node, c.node[b]), *v = c.weights(c.by_known, c.set[b]), *w = c.weights(c.by_last, c.last[b]);
    double odds = (u[0] + v[0] + w[0]) * x[0];
    for (int64_t i = 1; i < I; i++) odds += (u[i] + v[i] + w[i]) * x[i];
    odds = std::min(std::max(odds, -c.numbers[1]), c.numbers[1]);
    c.mixed[b] = c.probability[int64_t((odds + 12) * c.numbers[2])];
  }
}

extern "C" __attribute__((visibility("default"))) void lmgen_counts_learn(Counts* all, int64_t depth, const int64_t* bits) {
  const Counts& c = *all;
  const int64_t B = c.columns, K = c.orders, I = c.inputs;
  for (int64_t b = 0; b < B; b++) {
    const double error = c.numbers[0] * (double(bits[b]) - c.mixed[b]), *x = c.x + b * I;
    double *u = c.weights(c.by_node, c.node[b]), *v = c.weights(c.by_known, c.set[b]), *w = c.weights(c.by_last, c.last[b]);
    for (int64_t i = 0; i < I; i++) {
      const double change = error * x[i];
      u[i] += change;
      v[i] += change;
      w[i] += change;
    }
    const int64_t goal = bits[b] * 65535;
    for (int64_t k = 0; k < K; k++) {
      const int64_t at = k * B + b, history = c.history[at];
      const uint32_t p = uint32_t(c.p[at] + ((goal - c.p[at]) * c.gain[history] >> 16));
      c.slots[c.index[at]] = uint32_t(c.check[at]) << 24 | uint32_t(c.after[bits[b] * 256 + history]) << 16 | (p ^ 0x8000);
      c.history_at(k, b, history) = c.of_history[at] + ((goal - c.of_history[at]) >> 6);
    }
    const bool right = c.match[b] > 0 && expected_bit(c, b, depth) == bits[b];
    c.by_match[c.match[b]] = c.of_match[b] + ((int64_t(right) * 65535 - c.of_match[b]) >> 6);
  }
  for (int64_t b = 0; b < B; b++) c.node[b] = c.node[b] << 1 | bits[b];
}
