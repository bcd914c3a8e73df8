// What the XLA FFI handlers share: checks of the arrays of a call, and how the call is run.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <new>
#include <string>

#include "thread_pool.h"
#include "xla/ffi/api/ffi.h"

#define ARRAYS ffi::Ffi::Bind().RemainingArgs().RemainingRets()  // what every handler takes; attributes follow

namespace lmgen {

namespace ffi = xla::ffi;
using ffi::DataType;

constexpr double WORK_PER_THREAD = 200'000;  // multiplications that justify waking one more thread

inline int threads_for(double multiplications) { return int(std::min(multiplications / WORK_PER_THREAD, 64.0)); }

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

inline DataType stored(bool bf16) { return bf16 ? DataType::BF16 : DataType::F32; }

template <class Work>
ffi::Error run(Arrays& arrays, double multiplications, Work work) {
  if (arrays.wrong()) return arrays.error();
  run_on_threads(threads_for(multiplications), work);
  return ffi::Error::Success();
}

inline void require_ids(Arrays& arrays, const int32_t* ids, int64_t n, int64_t rows) {
  for (int64_t k = 0; !arrays.wrong() && k < n; k++) arrays.require(ids[k] >= 0 && ids[k] < rows, "an id is out of range");
}

inline ffi::Error no_kernels() {
  return ffi::Error(ffi::ErrorCode::kUnimplemented, "lmgen: no kernels for this processor and precision");
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

}  // namespace lmgen
