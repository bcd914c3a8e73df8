// The pipe between caller.cc and server.cc. Values are sent as they lie in memory, which is the same on x86-64 and ARM.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "xla/ffi/api/c_api.h"

class Pipe {
 public:
  Pipe(FILE* in, FILE* out) : in_(in), out_(out) {}

  void write(const void* data, size_t bytes) {
    if (std::fwrite(data, 1, bytes, out_) != bytes) give_up();
  }
  template <class T>
  void put(T value) {
    write(&value, sizeof value);
  }
  void put(const std::string& text) {
    put(text.size());
    write(text.data(), text.size());
  }
  void flush() { std::fflush(out_); }

  void read(void* data, size_t bytes) {
    if (std::fread(data, 1, bytes, in_) != bytes) give_up();
  }
  template <class T>
  T get() {
    T value;
    read(&value, sizeof value);
    return value;
  }
  std::string text() {
    std::string found(get<size_t>(), ' ');
    read(found.data(), found.size());
    return found;
  }

 private:
  [[noreturn]] static void give_up() {
    std::fputs("emulated kernels: the other process has ended\n", stderr);
    std::_Exit(1);
  }

  FILE *in_, *out_;
};

inline int64_t size_of(XLA_FFI_DataType type) {
  switch (type) {
    case XLA_FFI_DataType_PRED:
      return 1;
    case XLA_FFI_DataType_BF16:
      return 2;
    case XLA_FFI_DataType_S64:
      return 8;
    default:
      return 4;
  }
}

inline int64_t bytes_of(const XLA_FFI_Buffer& buffer) {
  int64_t bytes = size_of(buffer.dtype);
  for (int64_t k = 0; k < buffer.rank; k++) bytes *= buffer.dims[k];
  return bytes;
}

enum Question { NAME_OF_KIND, NUMBER, CALL };  // what the caller asks for
