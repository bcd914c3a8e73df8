// The XLA FFI handlers. They check the type and shape of every array before a kernel reads it.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "cpu.h"
#include "thread_pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using ffi::DataType;

namespace lmgen {
namespace {

constexpr double WORK_PER_THREAD = 200'000;        // multiplications that justify waking one more thread
constexpr double WORK_PER_THREAD_A_STEP = 50'000;  // the same for one step of sampling, with its barriers

int threads_for(double multiplications) { return int(std::min(multiplications / WORK_PER_THREAD, 64.0)); }

// The arrays of one call: arguments and results by number, checked for type and shape.
class Arrays {
 public:
  Arrays(const ffi::RemainingArgs& arguments, const ffi::RemainingRets& results) : arguments_(arguments), results_(results) {}

  static constexpr int64_t ANY = -1;
  using Shape = std::initializer_list<int64_t>;

  template <class T>
  const T* in(int i, DataType type, Shape shape) {
    auto buffer = arguments_.get<ffi::AnyBuffer>(i);
    return static_cast<const T*>(checked(buffer.has_value() ? &*buffer : nullptr, "argument", i, type, shape));
  }
  template <class T>
  T* out(int i, DataType type, Shape shape) {
    auto buffer = results_.get<ffi::AnyBuffer>(i);
    return static_cast<T*>(checked(buffer.has_value() ? &**buffer : nullptr, "result", i, type, shape));
  }
  const float* floats(int i, Shape shape) { return in<float>(i, DataType::F32, shape); }
  float* floats_out(int i, Shape shape) { return out<float>(i, DataType::F32, shape); }

  // A dimension, or 0 if there is none.
  int64_t size(int i, int dimension) {
    auto buffer = arguments_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() && dimension < int(buffer->dimensions().size()) ? buffer->dimensions()[dimension] : 0;
  }
  int rank(int i) {
    auto buffer = arguments_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() ? int(buffer->dimensions().size()) : 0;
  }
  int64_t size_out(int i, int dimension) {
    auto buffer = results_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() && dimension < int((*buffer)->dimensions().size()) ? (*buffer)->dimensions()[dimension] : 0;
  }
  // n elements of a type, in any shape.
  const void* numbers(int i, DataType type, int64_t n) {
    auto buffer = arguments_.get<ffi::AnyBuffer>(i);
    return counted(buffer.has_value() ? &*buffer : nullptr, "argument", i, type, n);
  }
  void* numbers_out(int i, DataType type, int64_t n) {
    auto buffer = results_.get<ffi::AnyBuffer>(i);
    return counted(buffer.has_value() ? &**buffer : nullptr, "result", i, type, n);
  }
  int64_t count_out(int i) {
    auto buffer = results_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() ? int64_t((*buffer)->element_count()) : 0;
  }
  int64_t count(int i) {
    auto buffer = arguments_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() ? int64_t(buffer->element_count()) : 0;
  }
  DataType type(int i) {
    auto buffer = arguments_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() ? buffer->element_type() : DataType::INVALID;
  }
  DataType type_out(int i) {
    auto buffer = results_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() ? (*buffer)->element_type() : DataType::INVALID;
  }

  void require(bool fine, const std::string& what) {
    if (!fine && error_.empty()) error_ = what;
  }
  bool wrong() const { return !error_.empty(); }
  ffi::Error error() const { return ffi::Error::InvalidArgument("lmgen: " + error_); }

 private:
  void* counted(const ffi::AnyBuffer* buffer, const char* kind, int i, DataType type, int64_t n) {
    const bool fine = buffer && buffer->element_type() == type && int64_t(buffer->element_count()) == n;
    require(fine, std::string(kind) + " " + std::to_string(i) + " has another type or size than the kernel reads");
    return fine ? buffer->untyped_data() : nullptr;
  }
  void* checked(const ffi::AnyBuffer* buffer, const char* kind, int i, DataType type, Shape shape) {
    const std::string name = std::string(kind) + " " + std::to_string(i);
    require(buffer, name + " is missing");
    if (!buffer) return nullptr;
    require(buffer->element_type() == type, name + " has another type than the kernel reads");
    auto dimensions = buffer->dimensions();
    bool same = dimensions.size() == shape.size();
    for (size_t k = 0; same && k < shape.size(); k++) same = shape.begin()[k] == ANY || shape.begin()[k] == dimensions[k];
    require(same, name + " has another shape than the kernel reads");
    return buffer->untyped_data();
  }

  const ffi::RemainingArgs& arguments_;
  const ffi::RemainingRets& results_;
  std::string error_;
};

DataType stored(bool bf16) { return bf16 ? DataType::BF16 : DataType::F32; }

template <class Work>
ffi::Error run(Arrays& arrays, double multiplications, Work work) {
  if (arrays.wrong()) return arrays.error();
  run_on_threads(threads_for(multiplications), work);
  return ffi::Error::Success();
}

void require_ids(Arrays& arrays, const int32_t* ids, int64_t n, int64_t rows) {
  for (int64_t k = 0; !arrays.wrong() && k < n; k++) arrays.require(ids[k] >= 0 && ids[k] < rows, "an id is out of range");
}

ffi::Error no_kernels() {
  return ffi::Error(ffi::ErrorCode::kUnimplemented, "lmgen: no kernels for this processor and precision");
}

// a, b, bias [columns] or [0], weights [rows of a in memory] or [0] -> c, and with a transposed and b not optionally the sum of
// the rows of b times `weights`. `a_from` and `b_from` are the first columns used of wider arrays. If b_gates or c_gates is not
// 1, a row of that matrix consists of gates; the other matrices have each gate padded and begin with `first_gate`. c may have
// more than two dimensions.
ffi::Error product(ffi::RemainingArgs arguments, ffi::RemainingRets results, bool bf16, bool transposed_a, bool transposed_b,
                   int64_t a_from, int64_t b_from, int64_t b_gates, int64_t c_gates, int64_t first_gate) {
  const Kernels* kernels = kernels_for(bf16);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  auto gates = [&](int64_t count, int64_t width) {  // of a row in memory
    if (count == 1) return one_gate(width);
    arrays.require(count > 1 && width % count == 0 && first_gate >= 0 && first_gate < count, "the gates do not match the arrays");
    const int64_t N = width / std::max<int64_t>(count, 1);
    return Gates{N, kernels->padded(N), count, first_gate};
  };
  Product p{};
  p.rows = transposed_a ? arrays.size_out(0, 0) : arrays.size(0, 0);
  const int64_t c_width = p.rows ? arrays.count_out(0) / p.rows : 0;
  p.c_gates = gates(c_gates, c_width), p.columns = c_gates == 1 ? c_width : c_gates * p.c_gates.P;
  p.b.gates = b_gates == 1 ? one_gate(transposed_b ? arrays.size(1, 1) - b_from : p.columns) : gates(b_gates, arrays.size(1, 1));
  const int64_t b_width = b_gates == 1 ? p.b.gates.N : b_gates * p.b.gates.P;
  p.inner = transposed_a ? arrays.size(0, 0) : transposed_b ? b_width : arrays.size(1, 0);
  arrays.require(b_gates == 1 || b_from == 0, "the gates do not match the arrays");
  auto matrix = [&](int i, int64_t height, int64_t width, int64_t from, bool transposed, const Gates& gates) {
    const bool narrow = bf16 && arrays.type(i) == DataType::BF16;
    const char* data = arrays.in<char>(i, stored(narrow), {height, Arrays::ANY});
    arrays.require(from >= 0 && from <= arrays.size(i, 1) - width,
                   "the selected columns lie outside of argument " + std::to_string(i));
    return Matrix{data + from * (narrow ? 2 : 4), arrays.size(i, 1), narrow, transposed, gates};
  };
  const int64_t a_height = transposed_a ? p.inner : p.rows, a_width = transposed_a ? p.rows : p.inner;
  p.a = matrix(0, a_height, a_width, a_from, transposed_a, one_gate(a_width));
  p.b = matrix(1, transposed_b ? p.columns : p.inner, p.b.gates.N * p.b.gates.count, b_from, transposed_b, p.b.gates);
  arrays.require(b_width == (transposed_b ? p.inner : p.columns), "the shapes of the matrices do not match");
  if (arrays.size(2, 0)) p.bias = arrays.floats(2, {transposed_b ? p.columns : p.b.gates.N * p.b.gates.count});
  if (arrays.size(3, 0)) p.weights = arrays.floats(3, {a_height});
  p.c_bf16 = bf16 && arrays.type_out(0) == DataType::BF16;
  p.c = arrays.numbers_out(0, stored(p.c_bf16), p.rows * c_width), p.c_stride = c_width;
  p.fits_in_cache = fits_in_cache(kernels->packed_size(p.inner, p.columns));
  if (results.size() > 1) {
    p.totals = arrays.floats_out(1, {c_width});
    arrays.require(transposed_a && !transposed_b && b_gates == 1, "only a weight gradient has totals");
  }
  return run(arrays, double(p.rows) * double(p.columns) * double(p.inner), [&](const Worker& w) { kernels->product(p, w); });
}

// inputs, ids [T, B] or [0, 0], U, b_u [N] or [0], h0, c0 or [0, 0], forget, mask or [0, 0] -> hs, c, h_stored, and for a
// gradient gates, cs.
ffi::Error forward(ffi::RemainingArgs arguments, ffi::RemainingRets results, bool bf16, int64_t cell) {
  const Kernels* kernels = kernels_for(bf16);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  const bool gru = cell == GRU;
  const int64_t T = arrays.size(6, 0), B = arrays.size(6, 1), N = arrays.size(2, 0), gates = gru ? 3 : 4, P = kernels->padded(N);
  Forward f{};
  f.cell = Cell(cell), f.T = T, f.B = B, f.N = N, f.P = P;
  f.fits_in_cache = fits_in_cache(kernels->packed_size(P, gates * P));
  if (arrays.size(1, 0)) f.ids = arrays.in<int32_t>(1, DataType::S32, {T, B});
  f.rows = f.ids ? arrays.size(0, 0) : T * B;
  f.inputs = f.ids ? arrays.in<void>(0, stored(bf16), {f.rows, gates, P}) : arrays.in<void>(0, stored(bf16), {T, B, gates, P});
  arrays.require(T >= 1 && B >= 1, "the input is empty");
  f.U = arrays.floats(2, {N, gates * N});
  f.b_u = gru ? arrays.floats(3, {N}) : nullptr;
  f.h0 = arrays.floats(4, {B, N});
  f.c0 = gru ? nullptr : arrays.floats(5, {B, N});
  f.forget = arrays.in<uint8_t>(6, DataType::PRED, {T, B});
  f.mask = arrays.size(7, 0) ? arrays.floats(7, {B, N}) : nullptr;
  f.hs = arrays.floats_out(0, {T, B, N});
  f.c = gru ? nullptr : arrays.floats_out(1, {B, N});
  const bool keep = results.size() > 3;
  f.h_stored = arrays.out<void>(2, stored(bf16), {keep ? T : 2, B, P});
  if (keep) f.gates = arrays.out<void>(3, stored(bf16), {T, B, 4, P});
  if (keep && (!gru || f.mask)) f.cs = arrays.floats_out(4, {T, B, P});
  if (f.ids) require_ids(arrays, f.ids, T * B, f.rows);
  const double work = double(T) * double(B) * double(N) * double(gates * P);
  return run(arrays, work, [&](const Worker& w) { kernels->forward(f, w); });
}

// U, c0 or [0, 0], forget, h_stored, gates, cs or [0], dhs, dh, dc or [0, 0], mask or [0, 0] -> du, dh0, dc0.
ffi::Error backward(ffi::RemainingArgs arguments, ffi::RemainingRets results, bool bf16, int64_t cell) {
  const Kernels* kernels = kernels_for(bf16);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  const bool gru = cell == GRU;
  const int64_t T = arrays.size(2, 0), B = arrays.size(2, 1), N = arrays.size(0, 0), gates = gru ? 3 : 4, P = kernels->padded(N);
  arrays.require(T >= 1 && B >= 1, "the input is empty");
  Backward b{};
  b.cell = Cell(cell), b.T = T, b.B = B, b.N = N, b.P = P;
  b.fits_in_cache = fits_in_cache(kernels->packed_size(P, gates * P));
  b.U = arrays.floats(0, {N, gates * N});
  b.mask = arrays.size(9, 0) ? arrays.floats(9, {B, N}) : nullptr;
  b.c0 = gru && !b.mask ? nullptr : arrays.floats(1, {B, N});
  b.forget = arrays.in<uint8_t>(2, DataType::PRED, {T, B});
  b.h_stored = arrays.in<void>(3, stored(bf16), {T, B, P});
  b.gates = arrays.in<void>(4, stored(bf16), {T, B, 4, P});
  b.cs = gru && !b.mask ? nullptr : arrays.floats(5, {T, B, P});
  b.dhs = arrays.floats(6, {T, B, N});
  b.dh = arrays.floats(7, {B, N});
  b.dc = gru ? nullptr : arrays.floats(8, {B, N});
  b.du = arrays.out<void>(0, stored(bf16), {T, B, 4, P});
  b.dh0 = arrays.floats_out(1, {B, N});
  b.dc0 = gru ? nullptr : arrays.floats_out(2, {B, N});
  const double work = double(T) * double(B) * double(N) * double(gates * P);
  return run(arrays, work, [&](const Worker& w) { kernels->backward(b, w); });
}

// h, W, b, targets -> nats, scratch, and for a gradient `kept` and `inverses`. W is [N, V], or transposed [V, N].
ffi::Error head(ffi::RemainingArgs arguments, ffi::RemainingRets results, bool bf16, bool transposed) {
  const Kernels* kernels = kernels_for(bf16);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  Head h{};
  h.rows = arrays.size(0, 0), h.N = arrays.size(0, 1), h.V = arrays.size(2, 0);
  h.h = arrays.floats(0, {h.rows, h.N});
  h.W = {arrays.floats(1, {transposed ? h.V : h.N, transposed ? h.N : h.V}), transposed ? h.N : h.V, false, transposed,
         one_gate(transposed ? h.N : h.V)};
  h.b = arrays.floats(2, {h.V});
  h.targets = arrays.in<int32_t>(3, DataType::S32, {h.rows});
  h.nats = arrays.floats_out(0, {h.rows});
  h.scratch = arrays.floats_out(1, {kernels->head_scratch_size(h.rows, h.V)});
  if (results.size() > 2) {
    h.stride = arrays.size_out(2, 1);
    arrays.require(h.stride >= h.V, "the sizes do not match");
    h.bypass_cache = exceeds_cache(double(h.rows) * double(h.stride) * (bf16 ? sizeof(uint16_t) : sizeof(float)));
    h.kept = arrays.out<void>(2, stored(bf16), {h.rows, h.stride});
    h.inverses = arrays.floats_out(3, {h.rows});
  }
  require_ids(arrays, h.targets, h.rows, h.V);
  return run(arrays, double(h.rows) * double(h.N) * double(h.V), [&](const Worker& w) { kernels->head(h, w); });
}

// ids [n] or [0], x [n, columns or more], weights [n] or [0] -> sums [rows, columns].
ffi::Error sum_rows(ffi::RemainingArgs arguments, ffi::RemainingRets results, bool bf16) {
  const Kernels* kernels = kernels_for(bf16);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  RowSums s{};
  s.n = arrays.size(1, 0), s.stride = arrays.size(1, 1), s.rows = arrays.size_out(0, 0), s.columns = arrays.size_out(0, 1);
  if (arrays.size(0, 0)) s.ids = arrays.in<int32_t>(0, DataType::S32, {s.n});
  s.x = arrays.in<void>(1, stored(bf16), {s.n, s.stride});
  if (arrays.size(2, 0)) s.weights = arrays.floats(2, {s.n});
  s.sums = arrays.floats_out(0, {s.rows, s.columns});
  arrays.require(s.columns <= s.stride && (s.ids || s.rows == 1), "the sizes do not match");
  if (s.ids) require_ids(arrays, s.ids, s.n, s.rows);
  return run(arrays, double(s.n) * double(s.columns), [&](const Worker& w) { kernels->sum_rows(s, w); });
}

// The sparse gradient of a table: the gradients of its rows that were read, summed by id.
struct TableGradient {
  std::vector<int32_t> places, numbers;  // the row of `sums`: of each row of the table, or -1; of each row read
  std::vector<float> sums;
  RowSums task;

  TableGradient(const int32_t* ids, int64_t n, int64_t rows, int64_t width, const float* read)
      : places(size_t(rows), -1), numbers(static_cast<size_t>(n)) {
    int32_t found = 0;
    for (int64_t k = 0; k < n; k++) {
      int32_t& at = places[size_t(ids[k])];
      if (at < 0) at = found++;
      numbers[size_t(k)] = at;
    }
    sums.resize(size_t(found * width));
    task = {n, found, width, numbers.data(), nullptr, read, width, sums.data()};
  }
};

// [nats, rate], count [], then weights, means, squares, gradients (n of each), ids [rows] or [0] -> weights, means, squares in
// place, the global norm of the gradients []. The gradient number `table` is sparse: it has one row for each id. If the nats or
// the norm is not finite, nothing changes.
ffi::Error adamw(ffi::RemainingArgs arguments, ffi::RemainingRets results, float clip, float beta1, float beta2, float epsilon,
                 int64_t table, ffi::Span<const float> decay) {
  const Kernels* kernels = kernels_for(false);
  if (!kernels) return no_kernels();
  Arrays arrays(arguments, results);
  const int leaves = int(decay.size());
  const float* scalars = arrays.floats(0, {2});
  const int32_t* count = arrays.in<int32_t>(1, DataType::S32, {});
  const int64_t read = arrays.size(2 + 4 * leaves, 0);
  const int32_t* ids = arrays.in<int32_t>(2 + 4 * leaves, DataType::S32, {read});
  std::vector<AdamW> all;
  std::optional<TableGradient> rows;
  int64_t total = 0, pieces = 0;
  for (int k = 0; k < leaves; k++) {
    const int64_t size = arrays.count(2 + k);
    const float* before[3];
    float* after[3];
    for (int part = 0; part < 3; part++) {
      before[part] = static_cast<const float*>(arrays.numbers(2 + part * leaves + k, DataType::F32, size));
      after[part] = static_cast<float*>(arrays.numbers_out(part * leaves + k, DataType::F32, size));
      if (!arrays.wrong() && before[part] != after[part]) std::memcpy(after[part], before[part], size_t(size) * sizeof(float));
    }
    AdamW leaf{size, nullptr, after[0], after[1], after[2], decay.begin()[k], 0, nullptr};
    if (k == table) {
      const int64_t height = arrays.size(2 + k, 0), width = arrays.size(2 + k, 1);
      const float* gradient = arrays.floats(2 + 3 * leaves + k, {read, width});
      arrays.require(width > 0 && height * width == size, "only a matrix can have a sparse gradient");
      require_ids(arrays, ids, read, height);
      if (arrays.wrong()) return arrays.error();
      rows.emplace(ids, read, height, width, gradient);
      leaf.gradient = rows->sums.data(), leaf.width = width, leaf.places = rows->places.data();
    } else {
      leaf.gradient = static_cast<const float*>(arrays.numbers(2 + 3 * leaves + k, DataType::F32, size));
    }
    all.push_back(leaf);
    total += size, pieces += kernels->pieces(size);
  }
  float* const global = arrays.out<float>(3 * leaves, DataType::F32, {});
  std::vector<float> sums(size_t(pieces), 0.0f);
  return run(arrays, double(total), [&](const Worker& worker) {
    if (rows) kernels->sum_rows(rows->task, worker), worker.wait();
    int64_t at = 0;
    for (const AdamW& leaf : all) {
      const int64_t size = leaf.places ? int64_t(rows->sums.size()) : leaf.size;
      kernels->squares(leaf.gradient, size, sums.data() + at, worker), at += kernels->pieces(size);
    }
    worker.wait();
    double squared = 0;
    for (float sum : sums) squared += sum;
    const double norm = std::sqrt(squared);
    if (worker.number == 0) *global = float(norm);
    if (!std::isfinite(float(norm)) || !std::isfinite(scalars[0])) return;
    const double steps = double(*count) + 1;
    const AdamWStep step{float(norm < clip ? 1.0 : clip / norm),
                         scalars[1],
                         beta1,
                         beta2,
                         float(1 / (1 - std::pow(double(beta1), steps))),
                         float(1 / (1 - std::pow(double(beta2), steps))),
                         epsilon};
    // In reverse: the last gradients are still in the cache.
    for (auto leaf = all.rbegin(); leaf != all.rend(); leaf++) kernels->adamw(*leaf, step, worker);
  });
}

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

// An operation that reports lack of memory as an error of the call.
template <auto operation>
struct Guarded;
template <class... Arguments, ffi::Error (*operation)(Arguments...)>
struct Guarded<operation> {
  static ffi::Error call(Arguments... arguments) {
    try {
      return operation(arguments...);
    } catch (const std::bad_alloc&) { return ffi::Error(ffi::ErrorCode::kResourceExhausted, "lmgen: not enough memory"); }
  }
};

}  // namespace

#pragma GCC visibility push(default)
#define ARRAYS ffi::Ffi::Bind().RemainingArgs().RemainingRets()
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_product, Guarded<product>::call,
                              ARRAYS.Attr<bool>("bf16")
                                  .Attr<bool>("transposed_a")
                                  .Attr<bool>("transposed_b")
                                  .Attr<int64_t>("a_from")
                                  .Attr<int64_t>("b_from")
                                  .Attr<int64_t>("b_gates")
                                  .Attr<int64_t>("c_gates")
                                  .Attr<int64_t>("first_gate"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_forward, Guarded<forward>::call, ARRAYS.Attr<bool>("bf16").Attr<int64_t>("cell"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_backward, Guarded<backward>::call, ARRAYS.Attr<bool>("bf16").Attr<int64_t>("cell"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_sum_rows, Guarded<sum_rows>::call, ARRAYS.Attr<bool>("bf16"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_head, Guarded<head>::call, ARRAYS.Attr<bool>("bf16").Attr<bool>("transposed"));
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
XLA_FFI_DEFINE_HANDLER_SYMBOL(lmgen_adamw, Guarded<adamw>::call,
                              ARRAYS.Attr<float>("clip")
                                  .Attr<float>("beta1")
                                  .Attr<float>("beta2")
                                  .Attr<float>("epsilon")
                                  .Attr<int64_t>("table")
                                  .Attr<ffi::Span<const float>>("decay"));

extern "C" {
const char* lmgen_kind(bool bf16) { return kernels_for(bf16) ? kernels_for(bf16)->name : ""; }
int64_t lmgen_padding(bool bf16) { return kernels_for(bf16)->padding; }
int64_t lmgen_head_scratch_size(bool bf16, int64_t rows, int64_t V) { return kernels_for(bf16)->head_scratch_size(rows, V); }
int64_t lmgen_packed_size(bool bf16, int64_t inner, int64_t columns) { return kernels_for(bf16)->packed_size(inner, columns); }
// For tests where JAX cannot be called: how many of the requested threads run.
int lmgen_selftest(int threads) {
  std::atomic<int> arrived{0};
  run_on_threads(threads, [&](const Worker& worker) {
    worker.wait();
    arrived++;
    worker.wait();
  });
  return arrived;
}
int lmgen_api_minor() { return XLA_FFI_API_MINOR; }
int lmgen_threads() { return max_threads(); }
}
#pragma GCC visibility pop

}  // namespace lmgen
