// Runs the functions of a library of kernels for caller.cc, on the machine of that library: server LIBRARY. Each array ends where
// its page does, and the next page cannot be accessed, so that a kernel that reads or writes past an end ends the process.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <vector>

#include "pipe.h"

struct XLA_FFI_Error {
  XLA_FFI_Error_Code code = XLA_FFI_Error_Code_OK;
  std::string message;
};

namespace {

class Memory {
 public:
  explicit Memory(size_t bytes) : size_((bytes + PAGE - 1) / PAGE * PAGE + PAGE) {
    char* pages = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages == MAP_FAILED || mprotect(pages + size_ - PAGE, PAGE, PROT_NONE)) std::abort();
    std::memset(pages, 0xff, size_ - PAGE);  // as floats, what no kernel has written is no number
    pages_ = pages, data = pages + size_ - PAGE - bytes;
  }
  ~Memory() { munmap(pages_, size_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  char* data;

 private:
  static constexpr size_t PAGE = 1 << 16;  // no smaller than that of any machine
  size_t size_;
  char* pages_;
};

struct Array : XLA_FFI_Buffer {
  std::vector<int64_t> sizes;
  std::unique_ptr<Memory> memory;

  explicit Array(Pipe& pipe) : XLA_FFI_Buffer{} {
    struct_size = XLA_FFI_Buffer_STRUCT_SIZE;
    dtype = pipe.get<XLA_FFI_DataType>(), rank = pipe.get<int64_t>();
    sizes.resize(size_t(rank));
    pipe.read(sizes.data(), sizes.size() * sizeof sizes[0]);
    dims = sizes.data();
  }
  void allocate() { memory = std::make_unique<Memory>(size_t(bytes_of(*this))), data = memory->data; }
};

struct Attribute {
  std::string name;
  XLA_FFI_ByteSpan span;
  XLA_FFI_AttrType type;
  std::vector<char> value;
  XLA_FFI_Array array;
  XLA_FFI_Scalar scalar;

  explicit Attribute(Pipe& pipe) : name(pipe.text()), span{name.data(), name.size()}, type(pipe.get<XLA_FFI_AttrType>()) {
    const auto element = pipe.get<XLA_FFI_DataType>();
    const auto size = pipe.get<int64_t>();
    value.resize(size_t(size * size_of(element)));
    pipe.read(value.data(), value.size());
    array = {element, size_t(size), value.data()}, scalar = {element, value.data()};
  }
  void* as_passed() { return type == XLA_FFI_AttrType_ARRAY ? static_cast<void*>(&array) : &scalar; }
};

XLA_FFI_Error* create(XLA_FFI_Error_Create_Args* args) { return new XLA_FFI_Error{args->errc, args->message}; }

template <class T>
std::vector<std::unique_ptr<T>> all_of(Pipe& pipe, void (*prepare)(T&, Pipe&)) {
  std::vector<std::unique_ptr<T>> found;
  for (auto n = pipe.get<int64_t>(); n > 0; n--) found.push_back(std::make_unique<T>(pipe)), prepare(*found.back(), pipe);
  return found;
}

void call(Pipe& pipe, XLA_FFI_Handler* handler) {
  auto arguments = all_of<Array>(pipe, [](Array& a, Pipe& pipe) {
    a.allocate();
    pipe.read(a.data, size_t(bytes_of(a)));
  });
  std::vector<std::unique_ptr<Array>> results;
  for (auto n = pipe.get<int64_t>(); n > 0; n--) {
    results.push_back(std::make_unique<Array>(pipe));
    const auto same = pipe.get<int64_t>();
    if (same < 0)
      results.back()->allocate();
    else
      results.back()->data = arguments[size_t(same)]->data;
  }
  auto attributes = all_of<Attribute>(pipe, [](Attribute&, Pipe&) {});

  std::vector<void*> in, out, values;
  std::vector<XLA_FFI_ByteSpan*> names;
  std::vector<XLA_FFI_AttrType> types;
  for (auto& a : arguments) in.push_back(static_cast<XLA_FFI_Buffer*>(a.get()));
  for (auto& r : results) out.push_back(static_cast<XLA_FFI_Buffer*>(r.get()));
  for (auto& a : attributes) values.push_back(a->as_passed()), names.push_back(&a->span), types.push_back(a->type);
  std::vector<XLA_FFI_ArgType> buffers(in.size(), XLA_FFI_ArgType_BUFFER);
  std::vector<XLA_FFI_RetType> returned(out.size(), XLA_FFI_RetType_BUFFER);

  XLA_FFI_Api api{};
  api.struct_size = XLA_FFI_Api_STRUCT_SIZE;
  api.api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
  api.XLA_FFI_Error_Create = create;
  XLA_FFI_CallFrame frame{};
  frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
  frame.api = &api, frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
  frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, int64_t(in.size()), buffers.data(), in.data()};
  frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, int64_t(out.size()), returned.data(), out.data()};
  frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, int64_t(values.size()), types.data(), names.data(), values.data()};
  const std::unique_ptr<XLA_FFI_Error> error(handler(&frame));
  pipe.put(error ? error->code : XLA_FFI_Error_Code_OK), pipe.put(error ? error->message : std::string());
  for (auto& r : results) pipe.write(r->data, size_t(bytes_of(*r)));
}

}  // namespace

int main(int, char** arguments) {
  void* library = dlopen(arguments[1], RTLD_NOW);
  if (!library) return std::fprintf(stderr, "%s\n", dlerror()), 1;
  const auto function = [library](const std::string& name) { return dlsym(library, name.c_str()); };
  Pipe pipe(stdin, stdout);
  for (int next; std::fread(&next, sizeof next, 1, stdin) == 1; pipe.flush()) {
    if (next == NAME_OF_KIND) {
      const auto kind = reinterpret_cast<const char* (*)(bool)>(function("lmgen_kind"));
      pipe.put(std::string(kind(pipe.get<bool>())));
    } else if (next == NUMBER) {
      const std::string name = pipe.text();
      int64_t a[3];
      pipe.read(a, sizeof a);
      // A 32-bit result is in the lower half of the register.
      const auto found = reinterpret_cast<int64_t (*)(bool, int64_t, int64_t)>(function(name))(a[0], a[1], a[2]);
      pipe.put(name == "lmgen_threads" ? int64_t(int(found)) : found);
    } else {
      const std::string name = pipe.text();
      call(pipe, reinterpret_cast<XLA_FFI_Handler*>(function(name)));
    }
  }
}
