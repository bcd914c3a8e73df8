// What the kernels are asked: plain structs, the same for every processor. bind.cc fills them from JAX's arrays, after checking
// their shapes and types; kernels.cc answers, once for each kind of processor.
//
// Arrays are row-major. T time, B batch, N cell size, P the cell size rounded up to `padding` with zeros, D inputs, V vocabulary.
// "Stored" arrays hold float, or bfloat16 in the kernels of that precision.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lmgen {

class Meeting;  // where the threads of one call wait for each other (team.h)

struct Worker {  // one of the threads that share a call
  int number, count;
  Meeting* meeting;
  void wait() const;                 // until all are here
  void* memory(size_t bytes) const;  // for this thread until the end of the call, aligned to 64 bytes, not cleared
  template <class T>
  T* array(int64_t n) const {
    return static_cast<T*>(memory(sizeof(T) * static_cast<size_t>(n)));
  }
};

// How the columns of a matrix lie in memory: gate after gate of N numbers, which kernels see as P, the rest zeros. Their gate g
// is gate (g + first) % count there.
struct Gates {
  int64_t N, P, count, first;
};
inline Gates one_gate(int64_t columns) { return {columns, INT64_MAX, 1, 0}; }

struct Matrix {  // rows of float, or of bfloat16
  const void* data;
  int64_t stride;  // numbers from row to row
  bool bf16;
  bool transposed;  // whether the matrix meant is the transpose of the one in memory
  Gates gates;      // of what lies in a row
};

struct Product {  // c [rows, columns] = a [rows, inner] b [inner, columns] + bias [columns]
  Matrix a, b;
  const float* weights;  // or null: what the rows of a, as they lie in memory, are multiplied by
  const float* bias;     // or null; it lies as the columns of b do
  void* c;
  int64_t c_stride;
  bool c_bf16;
  Gates c_gates;
  int64_t rows, columns, inner;
  bool near;      // whether the cache of each thread holds all of b
  float* totals;  // or null; where a is transposed: the sums of the rows of b, weighted likewise; they lie as a row of c
};

enum Cell { LSTM, GRU };

struct Forward {  // a layer's time loop
  Cell cell;
  bool near;  // whether the cache of each thread holds all weights
  int64_t T, B, N, P;
  const void* inputs;     // stored [T B or R, G P]: W x + b of each time and column, or of each row of a table
  const int32_t* ids;     // [T, B] rows of the table, or null
  int64_t rows;           // R
  const float* U;         // [N, G N]
  const float* b_u;       // GRU: [N], the bias that the reset gate weighs
  const float *h0, *c0;   // [B, N]; c0 of the LSTM only
  const uint8_t* forget;  // [T, B] true where the state is given up before the step
  float* hs;              // [T, B, N]
  float* c;               // LSTM: [B, N] after the last step
  void* fed;              // stored [T or 2, B, P]: what U multiplied at each time
  void* gates;            // stored [T, B, 4, P]: LSTM i f o g; GRU z r n q = U h + b_u. Null where no gradient is wanted
  float* cs;              // LSTM: [T, B, P] the memory cells. Null likewise
};

struct Backward {  // the same loop, back in time
  Cell cell;
  bool near;
  int64_t T, B, N, P;
  const float* U;
  const float* c0;
  const uint8_t* forget;
  const void *fed, *gates;
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
  float* nats;      // [rows] -ln p of the targets
  void* kept;       // stored [rows, V]: p less the one-hot target, but for a factor; or null where no gradient is wanted
  float* inverses;  // [rows] that factor; or null likewise
  bool far;         // whether that is more than caches hold
  int64_t stride;   // numbers of `kept` from row to row
  float* told;      // memory of told_size(rows, V) numbers that the threads share
};

struct RowSums {  // sums [rows, columns] of those rows of x [n, columns], stored, that have the same id, each times its weight
  int64_t n, rows, columns;
  const int32_t* ids;    // null: all are of one row
  const float* weights;  // null: all are 1
  const void* x;
  int64_t stride;  // numbers of x from row to row
  float* sums;
};

struct AdamW {  // one array of weights; they and the moments are updated in place
  int64_t size;
  const float* gradient;
  float *weights, *mean, *square;
  float decay;
  int64_t width;          // numbers in a row, where the gradient has not all rows
  const int32_t* places;  // of each row in the gradient, or -1; null where that has all
};

struct AdamWStep {  // corrections: 1 / (1 - beta^count)
  float scale, rate, beta1, beta2, correction1, correction2, epsilon;
};

constexpr int MOST_LAYERS = 16;

struct Sampling {  // whole networks writing text, a symbol of every row at a time
  Cell cell;
  int64_t layers, steps, B, N, P, V;
  const void* inputs;                                           // stored [V, G P]: what the first layer reads of each symbol
  const float* W[MOST_LAYERS];                                  // packed by `pack_gates`, from the second layer on
  const float* b[MOST_LAYERS];                                  // [G N], from the second layer on
  const float* U[MOST_LAYERS];                                  // packed likewise
  const float* b_u[MOST_LAYERS];                                // GRU: [N]
  const float *gain[MOST_LAYERS + 1], *shift[MOST_LAYERS + 1];  // [N] of what a layer reads, and last the head; or null
  bool residual;                           // what a layer read is added to what it gives, from the second layer on
  const float* head;                       // packed by `pack_head`
  const float* head_b;                     // [V]
  bool forgets;                            // at EOS
  float temperature, top_p, min_p;         // 1, 1 and 0 leave all as it is
  int32_t top_k;                           // 0 likewise
  int32_t eos, unk;                        // unk is never drawn, unless it is -1
  const int32_t* forced;                   // [steps] what comes next whatever the model says; -1: what is drawn
  const float* uniforms;                   // [steps, B]
  float *h[MOST_LAYERS], *c[MOST_LAYERS];  // [B, N] states, in place
  int32_t *last, *left;                    // [B] the symbol read next; how many EOS are still to come, in place
  int32_t* ids;                            // [steps, B] what came
  float* nats;                             // [steps, B] -ln p of it
  void* fed;                               // stored [layers, 2, B, P], memory
  float* logits;                           // [B, V rounded up to vectors], memory
  float* sums;                             // [B, P], memory
  void* read;                              // stored [B, P], memory
  // Numbers by falling value, the earlier first among equals.
  void (*order)(const float* values, int64_t n, int32_t* out);
};

struct Kernels {  // what one kind of processor offers at one precision
  const char* name;
  int64_t padding;
  int64_t padded(int64_t N) const { return (N + padding - 1) / padding * padding; }
  void (*product)(const Product&, const Worker&);
  void (*forward)(const Forward&, const Worker&);
  void (*backward)(const Backward&, const Worker&);
  void (*head)(const Head&, const Worker&);
  int64_t (*told_size)(int64_t rows, int64_t V);
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
