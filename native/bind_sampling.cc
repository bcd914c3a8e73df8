// The XLA FFI handlers of sampling. They check the type and shape of every array before a kernel reads it.
#include <algorithm>
#include <cstring>
#include <memory>

#include "arrays.h"
#include "cpu.h"

namespace lmgen {
namespace {

constexpr double WORK_PER_THREAD_A_STEP = 50'000;  // the same for one step of sampling, with its barriers

// w [inner, gates N] -> packed for the time loop; with no gates, the head [N, V] or transposed [V, N] -> packed.
ffi::Error pack(ffi::RemainingArgs arguments, ffi::RemainingRets results, bool bf16, bool transposed, int64_t gates) {
  const Kernels* kernels = kernels_for(bf16);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  const int64_t height = arrays.size(0, 0), width = arrays.size(0, 1);
  const float* w = arrays.floats(0, {height, width});
  const int64_t inner = transposed ? width : height, columns = transposed ? height : width, N = gates ? width / gates : 0,
                P = kernels->padded(N);
  float* out = arrays.floats_out(0, {gates ? kernels->packed_size(P, gates * P) : kernels->packed_size(inner, columns)});
  arrays.require(!gates || (N >= height && width == gates * N), "the sizes do not match");
  return run(arrays, 0, [&](const Worker&) {
    if (gates)
      kernels->pack_gates(w, {N, P, gates, 0}, inner, out);
    else
      kernels->pack_head({w, width, false, transposed, one_gate(width)}, inner, columns, out);
  });
}

void order(const float* values, int64_t n, int32_t* out) {
  for (int64_t k = 0; k < n; k++) out[k] = int32_t(k);
  std::sort(out, out + n, [&](int32_t a, int32_t b) { return values[a] > values[b] || (values[a] == values[b] && a < b); });
}

// Of a sampling: arguments, and as many results, of the whole; further arguments of each network, and of each of its layers.
constexpr int OF_ALL = 6, OF_NETWORK = 5, OF_LAYER = 8;

// What is changed in place: copied into the result where that has other memory.
template <class T>
T* in_place(const Arrays& arrays, const T* before, T* after, int64_t n) {
  if (!arrays.wrong() && before != after) std::memcpy(after, before, size_t(n) * sizeof *after);
  return after;
}

// The n-grams of the arguments from number `first` on, [2, order] weights first, and their nodes: the last result.
void take_ngrams(Arrays& arrays, int first, int result, Sampling& s) {
  NGrams& g = s.ngrams;
  g.of_network = arrays.floats(first, {2, g.order}), g.of_ngrams = g.of_network + g.order;
  const int32_t* before = arrays.in<int32_t>(first + 1, DataType::S32, {g.order - 1, s.B});
  g.nodes = arrays.out<int32_t>(result, DataType::S32, {g.order - 1, s.B});
  for (int64_t k = 0; k < g.order && !arrays.wrong(); k++) {
    const int i = int(first + 2 + 4 * k);
    g.count[k] = arrays.size(i + 1, 0);
    g.first[k] = arrays.in<int32_t>(i, DataType::S32, {(k ? g.count[k - 1] : 1) + 1});
    g.ids[k] = arrays.in<int32_t>(i + 1, DataType::S32, {g.count[k]});
    g.p[k] = arrays.floats(i + 2, {g.count[k]}), g.backoff[k] = arrays.floats(i + 3, {g.count[k]});
  }
  arrays.require(g.count[0] == s.V, "the n-grams have another vocabulary");
  for (int64_t k = 0; k < (g.order - 1) * s.B && !arrays.wrong(); k++) {
    arrays.require(before[k] >= -1 && before[k] < g.count[k / s.B], "a node of the n-grams is out of range");
    g.nodes[k] = before[k];
  }
}

// The arrays of one network of a sampling, from the argument `first` and the result `result` on.
void take_network(Arrays& arrays, const Kernels& kernels, bool bf16, int first, int result, const Sampling& s, Network& net) {
  const bool gru = s.cell == GRU;
  const int64_t gates = gru ? 3 : 4, size = kernels.packed_size(s.P, gates * s.P);
  auto norm = [&](int i, int64_t layer) {
    if (!arrays.size(i, 0)) return;
    net.gain[layer] = arrays.floats(i, {s.N}), net.shift[layer] = arrays.floats(i + 1, {s.N});
  };
  net.inputs = arrays.in<void>(first, stored(bf16), {s.V, gates, s.P});
  net.head = arrays.floats(first + 1, {kernels.packed_size(s.N, s.V)});
  net.head_b = arrays.floats(first + 2, {s.V});
  norm(first + 3, s.layers);
  net.h_stored = arrays.out<void>(result, stored(bf16), {s.layers, 2, s.B, s.P});
  net.logits = arrays.floats_out(result + 1, {s.B, Arrays::ANY});
  arrays.require(arrays.size_out(result + 1, 1) >= (s.V + 63) / 64 * 64, "the array for logits is too small");
  for (int64_t l = 0; l < s.layers && !arrays.wrong(); l++) {
    const int i = first + OF_NETWORK + OF_LAYER * int(l), o = result + 2 + 2 * int(l);
    net.U[l] = arrays.floats(i, {size});
    if (gru) net.b_u[l] = arrays.floats(i + 1, {s.N});
    if (l) net.W[l] = arrays.floats(i + 2, {size}), net.b[l] = arrays.floats(i + 3, {gates * s.N});
    if (l) norm(i + 6, l);
    arrays.require(!l || !net.gain[l] == !net.gain[s.layers], "some layers are normalised and some are not");
    net.h[l] = in_place(arrays, arrays.floats(i + 4, {s.B, s.N}), arrays.floats_out(o, {s.B, s.N}), s.B * s.N);
    if (!gru) net.c[l] = in_place(arrays, arrays.floats(i + 5, {s.B, s.N}), arrays.floats_out(o + 1, {s.B, s.N}), s.B * s.N);
  }
}

// forced and uniforms [steps, B], of each row temperature, top_p and min_p [3, B], top_k and whether unk may be drawn [2, B],
// last and left [B]; then of each network inputs [V, G, P], packed head, its bias, the gain and shift of the head's norm or [0];
// and of each of its layers packed U, b_u or [0], packed W or [0], b or [0], h, c or [0, 0], and the gain and shift of its norm
// or [0]
// -> ids, nats, last, left, sums, read, then of each network h_stored, logits, and of each of its layers h, c. (h_stored, logits,
// sums, read are scratch.)
ffi::Error sample(ffi::RemainingArgs arguments, ffi::RemainingRets results, bool bf16, int64_t cell, int64_t networks,
                  int64_t eos, int64_t unk, bool forgets, bool residual, int64_t ngrams) {
  const Kernels* kernels = kernels_for(bf16);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  auto sampling = std::make_unique<Sampling>();
  Sampling& s = *sampling;
  arrays.require(networks >= 1 && networks <= MAX_NETWORKS, "the number of networks is out of range");
  arrays.require(ngrams >= 0 && ngrams <= MAX_ORDER, "the order of the n-grams is out of range");
  if (arrays.wrong()) return arrays.error();
  const int64_t of_networks = int64_t(arguments.size()) - OF_ALL - (ngrams ? 2 + 4 * ngrams : 0);
  s.cell = Cell(cell), s.count = networks, s.layers = (of_networks / networks - OF_NETWORK) / OF_LAYER;
  arrays.require(s.layers >= 1 && s.layers <= MAX_LAYERS && of_networks == networks * (OF_NETWORK + OF_LAYER * s.layers),
                 "the number of layers is out of range");
  if (arrays.wrong()) return arrays.error();
  s.V = arrays.size(OF_ALL + 2, 0), s.steps = arrays.size(1, 0), s.B = arrays.size(1, 1);
  s.N = arrays.size(OF_ALL + OF_NETWORK + 4, 1), s.P = kernels->padded(s.N);
  arrays.require(s.V > 0 && eos >= 0 && eos < s.V && unk >= 0 && unk < s.V, "the sizes do not match");
  s.forced = arrays.in<int32_t>(0, DataType::S32, {s.steps, s.B});
  s.uniforms = arrays.floats(1, {s.steps, s.B});
  s.temperature = arrays.floats(2, {3, s.B}), s.top_p = s.temperature + s.B, s.min_p = s.top_p + s.B;
  s.top_k = arrays.in<int32_t>(3, DataType::S32, {2, s.B}), s.unknown = s.top_k + s.B;
  s.ids = arrays.out<int32_t>(0, DataType::S32, {s.steps, s.B});
  s.nats = arrays.floats_out(1, {s.steps, s.B});
  s.last = in_place(arrays, arrays.in<int32_t>(4, DataType::S32, {s.B}), arrays.out<int32_t>(2, DataType::S32, {s.B}), s.B);
  s.left = in_place(arrays, arrays.in<int32_t>(5, DataType::S32, {s.B}), arrays.out<int32_t>(3, DataType::S32, {s.B}), s.B);
  s.sums = arrays.floats_out(4, {s.B, s.P});
  s.read = arrays.out<void>(5, stored(bf16), {s.B, s.P});
  const int64_t arguments_each = OF_NETWORK + OF_LAYER * s.layers, results_each = 2 + 2 * s.layers;
  for (int64_t m = 0; m < networks && !arrays.wrong(); m++)
    take_network(arrays, *kernels, bf16, int(OF_ALL + arguments_each * m), int(OF_ALL + results_each * m), s, s.networks[m]);
  s.ngrams.order = ngrams;
  if (ngrams && !arrays.wrong())
    take_ngrams(arrays, int(OF_ALL + arguments_each * networks), int(OF_ALL + results_each * networks), s);
  if (arrays.wrong()) return arrays.error();
  require_ids(arrays, s.last, s.B, s.V);
  for (int64_t k = 0; k < s.steps * s.B; k++) arrays.require(s.forced[k] < s.V, "a forced id is out of range");
  s.eos = int32_t(eos), s.unk = int32_t(unk), s.forgets = forgets, s.residual = residual, s.order = order;
  std::memset(s.ids, 0, size_t(s.steps * s.B) * sizeof(int32_t));
  std::memset(s.nats, 0, size_t(s.steps * s.B) * sizeof(float));
  const int64_t gates = s.cell == GRU ? 3 : 4;
  const double a_step = double(s.B) * double(s.N) * double((2 * s.layers - 1) * gates * s.P + s.V);
  return run(arrays, WORK_PER_THREAD / WORK_PER_THREAD_A_STEP * a_step, [&](const Worker& w) { kernels->sample(s, w); });
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_pack, Guarded<pack>::call,
                              ARRAYS.Attr<bool>("bf16").Attr<bool>("transposed").Attr<int64_t>("gates"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_sample, Guarded<sample>::call,
                              ARRAYS.Attr<bool>("bf16")
                                  .Attr<int64_t>("cell")
                                  .Attr<int64_t>("networks")
                                  .Attr<int64_t>("eos")
                                  .Attr<int64_t>("unk")
                                  .Attr<bool>("forgets")
                                  .Attr<bool>("residual")
                                  .Attr<int64_t>("ngrams"));
#pragma GCC visibility pop

}  // namespace lmgen
