// The XLA FFI handlers of products, time loops, the head and the optimiser. They check the type and shape of every array before a
// kernel reads it.
#include <atomic>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "arrays.h"
#include "cpu.h"

namespace lmgen {
namespace {

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

}  // namespace

#pragma GCC visibility push(default)
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
