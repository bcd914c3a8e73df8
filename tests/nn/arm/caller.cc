// A library with the functions of native/bind.cc, which are computed by another process: server.cc under an emulator, started by
// the command in LMGEN_TESTS_EMULATOR. So JAX runs as fast as it does, and only the kernels are emulated.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mutex>

#include "pipe.h"

namespace {

Pipe start() {
  int there[2], back[2];
  const char* command = std::getenv("LMGEN_TESTS_EMULATOR");
  if (!command || pipe(there) || pipe(back)) std::abort();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, there[0], 0);
  posix_spawn_file_actions_adddup2(&actions, back[1], 1);
  for (int end : {there[0], there[1], back[0], back[1]}) posix_spawn_file_actions_addclose(&actions, end);
  std::string words[] = {"sh", "-c", std::string("exec ") + command};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t process;
  if (posix_spawn(&process, "/bin/sh", &actions, nullptr, arguments, environ)) std::abort();
  close(there[0]), close(back[1]);
  return Pipe(fdopen(back[0], "rb"), fdopen(there[1], "wb"));
}

std::mutex one_at_a_time;

Pipe& server() {
  static Pipe pipe = start();
  return pipe;
}

int64_t number(const char* function, int64_t a = 0, int64_t b = 0, int64_t c = 0) {
  std::lock_guard<std::mutex> lock(one_at_a_time);
  Pipe& pipe = server();
  pipe.put(NUMBER), pipe.put(std::string(function));
  for (int64_t argument : {a, b, c}) pipe.put(argument);
  pipe.flush();
  return pipe.get<int64_t>();
}

void put_shape(Pipe& pipe, const XLA_FFI_Buffer& buffer) {
  pipe.put(buffer.dtype), pipe.put(buffer.rank);
  pipe.write(buffer.dims, size_t(buffer.rank) * sizeof *buffer.dims);
}

XLA_FFI_Error* call(const char* function, XLA_FFI_CallFrame* frame) {
  if (frame->extension_start && frame->extension_start->type == XLA_FFI_Extension_Metadata) {  // JAX asks what this is
    XLA_FFI_Metadata* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(frame->extension_start)->metadata;
    metadata->api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
    metadata->traits = 0;
    return nullptr;
  }
  std::lock_guard<std::mutex> lock(one_at_a_time);
  Pipe& pipe = server();
  const auto argument = [frame](int64_t i) -> XLA_FFI_Buffer& { return *static_cast<XLA_FFI_Buffer*>(frame->args.args[i]); };
  const auto result = [frame](int64_t i) -> XLA_FFI_Buffer& { return *static_cast<XLA_FFI_Buffer*>(frame->rets.rets[i]); };
  pipe.put(CALL), pipe.put(std::string(function));
  pipe.put(frame->args.size);
  for (int64_t i = 0; i < frame->args.size; i++) {
    put_shape(pipe, argument(i));
    pipe.write(argument(i).data, size_t(bytes_of(argument(i))));
  }
  pipe.put(frame->rets.size);
  for (int64_t i = 0; i < frame->rets.size; i++) {
    put_shape(pipe, result(i));
    int64_t same = frame->args.size;  // the argument in whose place the result is written
    while (--same >= 0 && (argument(same).data != result(i).data || !bytes_of(result(i)))) {}
    pipe.put(same);
  }
  pipe.put(frame->attrs.size);
  for (int64_t i = 0; i < frame->attrs.size; i++) {
    const XLA_FFI_ByteSpan& name = *frame->attrs.names[i];
    pipe.put(std::string(name.ptr, name.len)), pipe.put(frame->attrs.types[i]);
    const bool many = frame->attrs.types[i] == XLA_FFI_AttrType_ARRAY;
    const auto* array = static_cast<XLA_FFI_Array*>(frame->attrs.attrs[i]);
    const auto* scalar = static_cast<XLA_FFI_Scalar*>(frame->attrs.attrs[i]);
    const XLA_FFI_DataType type = many ? array->dtype : scalar->dtype;
    const int64_t size = many ? int64_t(array->size) : 1;
    pipe.put(type), pipe.put(size);
    pipe.write(many ? array->data : scalar->value, size_t(size * size_of(type)));
  }
  pipe.flush();
  const auto code = pipe.get<XLA_FFI_Error_Code>();
  const std::string message = pipe.text();
  for (int64_t i = 0; i < frame->rets.size; i++) pipe.read(result(i).data, size_t(bytes_of(result(i))));
  if (code == XLA_FFI_Error_Code_OK) return nullptr;
  XLA_FFI_Error_Create_Args error{XLA_FFI_Error_Create_Args_STRUCT_SIZE, nullptr, message.c_str(), code};
  return frame->api->XLA_FFI_Error_Create(&error);
}

}  // namespace

extern "C" {
#define HANDLER(name) \
  XLA_FFI_Error* name(XLA_FFI_CallFrame* frame) { return call(#name, frame); }
HANDLER(lmgen_product)
HANDLER(lmgen_forward)
HANDLER(lmgen_backward)
HANDLER(lmgen_head)
HANDLER(lmgen_sum_rows)
HANDLER(lmgen_adamw)
HANDLER(lmgen_pack)
HANDLER(lmgen_sample)

const char* lmgen_kind(bool bf16) {
  std::lock_guard<std::mutex> lock(one_at_a_time);
  static std::string kinds[2];
  Pipe& pipe = server();
  pipe.put(NAME_OF_KIND), pipe.put(bf16);
  pipe.flush();
  kinds[bf16] = pipe.text();
  return kinds[bf16].c_str();
}
int64_t lmgen_padding(bool bf16) { return number("lmgen_padding", bf16); }
int64_t lmgen_head_scratch_size(bool bf16, int64_t rows, int64_t V) { return number("lmgen_head_scratch_size", bf16, rows, V); }
int64_t lmgen_packed_size(bool bf16, int64_t inner, int64_t columns) { return number("lmgen_packed_size", bf16, inner, columns); }
int lmgen_threads() { return int(number("lmgen_threads")); }
int lmgen_api_minor() { return XLA_FFI_API_MINOR; }
}
