// The n-grams that are mixed with a network while it writes: where a row is in their tree, and what they expect next.

struct Children {
  int32_t begin, end;
};

// The children of a node among those of a level; none where the arrays are damaged.
inline Children children_of(const NGrams& g, int64_t level, int32_t node) {
  const Children found{g.first[level][node], g.first[level][node + 1]};
  return found.begin >= 0 && found.begin <= found.end && found.end <= g.count[level] ? found : Children{0, 0};
}

// Moves a row to the contexts that end with the symbol just read. Node k of a row is that of its last k + 1 symbols, or -1.
inline void read_ngrams(const Sampling& s, int64_t b) {
  const NGrams& g = s.ngrams;
  const int32_t id = s.last[b];
  const bool cut = s.forgets && id == s.eos;  // no context reaches back over the end of a text
  for (int64_t k = g.order - 2; k > 0; k--) {
    const int32_t parent = g.nodes[(k - 1) * s.B + b];
    int32_t node = -1;
    if (parent >= 0 && !cut) {
      Children among = children_of(g, k, parent);
      const int32_t last = among.end;
      while (among.begin < among.end) {
        const int32_t middle = among.begin + (among.end - among.begin) / 2;
        if (g.ids[k][middle] < id)
          among.begin = middle + 1;
        else
          among.end = middle;
      }
      if (among.begin < last && g.ids[k][among.begin] == id) node = among.begin;
    }
    g.nodes[k * s.B + b] = node;
  }
  if (g.order > 1) g.nodes[b] = id;
}

// ln x of a normal number above 0, to seven digits; written so that compilers make vectors of it.
inline float logarithm(float x) {
  int32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  const int32_t power = (bits - 0x3f3504f3) >> 23;  // x / 2^power is between the roots of 1/2 and 2
  bits -= power * (1 << 23);
  float rest;
  __builtin_memcpy(&rest, &bits, 4);
  const float t = (rest - 1) / (rest + 1), z = t * t;
  return float(power) * 0.69314718f + 2 * t * (1 + z * (1 / 3.f + z * (1 / 5.f + z * (1 / 7.f + z * (1 / 9.f)))));
}

// Replaces the logits l [padded] of a row by ln p of the mixture; `p` and `q` are scratch memory.
inline void mix_ngrams(const Sampling& s, int64_t b, float* l, int64_t padded, float* p, float* q) {
  const NGrams& g = s.ngrams;
  float lower[MAX_ORDER], scale = 1;  // what the backoff weights of longer contexts leave
  int64_t length = 0;
  for (int64_t k = g.order - 2; k >= 0; k--) {
    const int32_t node = g.nodes[k * s.B + b];
    lower[k] = scale;
    if (node >= 0) scale *= g.backoff[k][node], length++;
  }
  float top;
  for (int64_t v = 0; v < padded; v++) p[v] = l[v];
  const float total = exponentials(p, padded, top);
  if (!(total < 3e38f)) return;  // the logits are no numbers: their nats say so
  for (int64_t v = 0; v < s.V; v++) q[v] = g.p[0][v] * scale;
  for (int64_t k = 0; k < g.order - 1; k++) {
    const int32_t node = g.nodes[k * s.B + b];
    if (node < 0) continue;
    const Children among = children_of(g, k + 1, node);
    for (int32_t c = among.begin; c < among.end; c++)
      if (g.ids[k + 1][c] >= 0 && g.ids[k + 1][c] < s.V) q[g.ids[k + 1][c]] = g.p[k + 1][c] * lower[k];
  }
  const float of_network = g.of_network[length] / total, of_ngrams = g.of_ngrams[length];
  for (int64_t v = 0; v < s.V; v++) {
    const float mixed = of_network * p[v] + of_ngrams * q[v];
    l[v] = logarithm(mixed > 1e-37f ? mixed : 1e-37f);
  }
}
