// The interface of the kernels: plain structs, the same for every processor. bind*.cc check the shapes and types of JAX's arrays
// and fill in the structs; kernels.cc implements the operations once for each instruction set.
//
// Arrays are row-major. T time, B batch, N cell size, P the cell size padded with zeros to a multiple of `padding`, D inputs, V
// vocabulary. "Stored" arrays hold float, or bfloat16 in the bf16 kernels. "Or null" marks optional pointers.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lmgen {

// Whether what is read once is prefetched past the second cache. Not on processors of Intel, where the time loops are faster if
// it comes there, and their outputs, too.
extern const bool NON_TEMPORAL_PREFETCH;

class Barrier;  // of the threads of one call (thread_pool.cc)

struct Worker {  // one of the threads of a call
  int number, count;
  Barrier* barrier;
  void wait() const;                 // at the barrier, for all threads of the call
  void* memory(size_t bytes) const;  // of this thread until the call ends; aligned to 64 bytes, uninitialised
  template <class T>
  T* array(int64_t n) const {
    return static_cast<T*>(memory(sizeof(T) * static_cast<size_t>(n)));
  }
};

// The columns of a matrix in memory: `count` gates of N elements each, which kernels pad with zeros to P. Gate g of the kernels
// is gate (g + first) % count in memory.
struct Gates {
  int64_t N, P, count, first;
};
inline Gates one_gate(int64_t columns) { return {columns, INT64_MAX, 1, 0}; }

struct Matrix {  // of float or bfloat16, row-major
  const void* data;
  int64_t stride;  // elements from row to row
  bool bf16;
  bool transposed;  // whether the operand is the transpose of the matrix in memory
  Gates gates;      // of a row in memory
};

struct Product {  // c [rows, columns] = a [rows, inner] b [inner, columns] + bias [columns]
  Matrix a, b;
  const float* weights;  // or null: factors of the rows of a in memory
  const float* bias;     // or null; in the layout of b's columns
  void* c;
  int64_t c_stride;
  bool c_bf16;
  Gates c_gates;
  int64_t rows, columns, inner;
  bool fits_in_cache;  // whether b fits in the cache of each core
  float* totals;       // or null, for a transposed a: the sum of the rows of b times `weights`, in the layout of a row of c
};

enum Cell { LSTM, GRU, CAPPED_LSTM };  // in the order of CELLS of lmgen/nn/native.py

struct Forward {  // a layer's time loop
  Cell cell;
  bool fits_in_cache;  // whether the weights fit in the cache of each core
  int64_t T, B, N, P;
  const void* inputs;     // stored [T B or R, G P]: W x + b of each time step and column, or of each row of a table
  const int32_t* ids;     // [T, B] rows of the table, or null
  int64_t rows;           // R
  const float* U;         // [N, G N]
  const float* b_u;       // GRU: [N], the bias inside the reset gate's product
  const float *h0, *c0;   // [B, N]; c0: LSTM
  const uint8_t* forget;  // [T, B] true where the state is reset before the step
  const float* mask;      // or null: [B, N] factors of h as the products read it
  float* hs;              // [T, B, N]
  float* c;               // LSTM: [B, N] after the last step
  void* h_stored;         // stored [T or 2, B, P]: h as the products read it, after resets
  void* gates;            // stored [T, B, 4, P]: LSTM i f o g; GRU z r n q = U h + b_u. Null without a gradient
  float* cs;              // [T, B, P] the memory cells; of GRU with a mask the outputs. Null without a gradient
};

struct Backward {  // the gradient of the time loop
  Cell cell;
  bool fits_in_cache;
  int64_t T, B, N, P;
  const float* U;
  const float* c0;  // of GRU with a mask h0
  const uint8_t* forget;
  const float* mask;
  const void *h_stored, *gates;
  const float* cs;
  const float *dhs, *dh, *dc;  // cotangents of hs, of the last h and of the last c
  void* du;          // stored [T, B, 4, P]: cotangents of LSTM i f o g; of GRU n z r (inputs), z r q (products): n z r q
  float *dh0, *dc0;  // [B, N]
};

struct Head {  // softmax cross-entropy of the logits h W + b
  int64_t rows, N, V;
  const float* h;  // [rows, N]
  Matrix W;        // [N, V]
  const float* b;  // [V]
  const int32_t* targets;
  float* nats;        // [rows] -ln p of the targets
  void* kept;         // stored [rows, V]: (p - one-hot target) / inverse of the row; null without a gradient
  float* inverses;    // [rows] 1 / (sum of e^l); null without a gradient
  bool bypass_cache;  // whether `kept` is larger than the caches
  int64_t stride;     // elements of `kept` from row to row
  float* scratch;     // head_scratch_size(rows, V) floats shared by the threads
};

struct RowSums {  // sums [rows, columns] of the rows of x [n, columns], stored, times their weights, grouped by id
  int64_t n, rows, columns;
  const int32_t* ids;    // or null: one sum of all rows
  const float* weights;  // or null: all 1
  const void* x;
  int64_t stride;  // elements of x from row to row
  float* sums;
};

struct AdamW {  // one array of weights, updated in place with its moments
  int64_t size;
  const float* gradient;
  float *weights, *mean, *square;
  float decay;
  int64_t width;          // elements a row, if the gradient is sparse
  const int32_t* places;  // or null if the gradient is dense: the row of `gradient` for each row, or -1 if zero
};

struct AdamWStep {  // corrections: 1 / (1 - beta^count)
  float scale, rate, beta1, beta2, correction1, correction2, epsilon;
};

constexpr int MAX_LAYERS = 16, MAX_NETWORKS = 32;

constexpr int MAX_ORDER = 32;

// A tree of n-grams that are mixed with a network. The children of node n of level k - 1 are the nodes of level k from first[n]
// to first[n + 1], in the order of their last symbols.
struct NGrams {
  int64_t order, count[MAX_ORDER];  // 0: none; the nodes of each level
  const int32_t *first[MAX_ORDER], *ids[MAX_ORDER];
  const float *p[MAX_ORDER], *backoff[MAX_ORDER];  // of each node: the probability of its last symbol, its backoff weight
  const float *of_network, *of_ngrams;             // [order] weights, by the length of the context
  int32_t* nodes;                                  // [order - 1, B] of the last 1, 2, ... symbols, in place
};

struct Network {                                              // the weights and the states of one network that generates text
  const void* inputs;                                         // stored [V, G P]: W x + b of the first layer for each symbol
  const float* W[MAX_LAYERS];                                 // packed by `pack_gates`; from the second layer on
  const float* b[MAX_LAYERS];                                 // [G N], from the second layer on
  const float* U[MAX_LAYERS];                                 // packed by `pack_gates`
  const float* b_u[MAX_LAYERS];                               // GRU: [N]
  const float *gain[MAX_LAYERS + 1], *shift[MAX_LAYERS + 1];  // [N] layer norm before each layer and the head; or null
  const float* head;                                          // packed by `pack_head`
  const float* head_b;                                        // [V]
  float *h[MAX_LAYERS], *c[MAX_LAYERS];                       // [B, N] states, in place
  void* h_stored;                                             // stored [layers, 2, B, P], scratch
  float* logits;                                              // [B, V rounded up to vectors], scratch
};

struct Sampling {  // networks of one shape that generate text together, one symbol of every row a step
  Cell cell;
  int64_t layers, steps, B, N, P, V, count;  // the number of networks, whose probabilities are averaged
  Network networks[MAX_NETWORKS];
  NGrams ngrams;
  bool residual;                             // residual connections, from the second layer on
  bool forgets;                              // reset the state at EOS
  const float *temperature, *top_p, *min_p;  // [B]; 1, 1 and 0 turn them off
  const int32_t *top_k, *unknown;            // [B]; 0 turns it off; whether unk may be drawn
  int32_t eos, unk;
  const int32_t* forced;  // [steps, B] the prompt; -1 where a symbol is drawn
  const float* uniforms;  // [steps, B]
  int32_t *last, *left;   // [B] the next input; the number of EOS still to draw; in place
  int32_t* ids;           // [steps, B] output symbols
  float* nats;            // [steps, B] their -ln p
  float* sums;            // [B, P], scratch
  void* read;             // stored [B, P], scratch
  // A stable argsort, largest value first.
  void (*order)(const float* values, int64_t n, int32_t* out);
};

struct Kernels {  // the operations of one instruction set at one precision
  const char* name;
  int64_t padding;
  int64_t padded(int64_t N) const { return (N + padding - 1) / padding * padding; }
  void (*product)(const Product&, const Worker&);
  void (*forward)(const Forward&, const Worker&);
  void (*backward)(const Backward&, const Worker&);
  void (*head)(const Head&, const Worker&);
  int64_t (*head_scratch_size)(int64_t rows, int64_t V);
  int64_t (*packed_size)(int64_t inner, int64_t columns);
  void (*pack_gates)(const float* w, const Gates& gates, int64_t inner, float* out);  // w [inner, gates]
  void (*pack_head)(const Matrix& W, int64_t inner, int64_t columns, float* out);
  void (*sample)(const Sampling&, const Worker&);
  void (*sum_rows)(const RowSums&, const Worker&);
  int64_t (*pieces)(int64_t size);
  void (*squares)(const float* x, int64_t size, float* sums, const Worker&);
  void (*adamw)(const AdamW&, const AdamWStep&, const Worker&);
};

}  // namespace lmgen
