#include "descriptors.h"

#include <utility>

#include "../os/descriptor.h"
#include "../os/directory.h"
#include "../os/file_lock.h"
#include "../os/socket.h"
#include "environment.h"
#include "values.h"

namespace sluice {

namespace {

using Info = const Napi::CallbackInfo&;

int Fd(Info info) { return ToDescriptor(info[0], "fd"); }

int Bytes(Info info) { return ToInteger(info[1], "bytes", 1, INT32_MAX); }

Napi::Value Number(Info info, int number) { return Napi::Number::New(info.Env(), number); }

// A new descriptor, now JavaScript's.
Napi::Value Lent(Info info, os::UniqueFd fd) {
  return Number(info, Environment::Of(info.Env()).Lend(std::move(fd)));
}

Napi::Value Pair(Info info, std::pair<os::UniqueFd, os::UniqueFd> fds) {
  const Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, Lent(info, std::move(fds.first)));
  pair.Set(1u, Lent(info, std::move(fds.second)));
  return pair;
}

template <int Option>
Napi::Value SetBuffer(Info info) {
  return Number(info, os::SetBuffer(Fd(info), Option, Bytes(info)));
}

void CloseFd(Info info) {
  Environment& environment = Environment::Of(info.Env());
  const int fd = Fd(info);
  os::Check(fcntl(fd, F_GETFD), "close");  // a stale number is a mistake that close(2) would hide from UniqueFd
  environment.TakeBack(fd).Reset();
  environment.DescriptorClosed();
}

std::string Text(Napi::Value value, const char* what) {
  if (!value.IsString()) throw os::ArgumentError(std::string(what) + " must be a string");
  return value.As<Napi::String>();
}

Napi::Value LockFile(Info info) {
  os::UniqueFd lock = os::LockFile(Text(info[0], "the path"));
  return lock ? Lent(info, std::move(lock)) : info.Env().Undefined();
}

int Directory(Info info) { return ToDescriptor(info[0], "directory"); }

std::string Name(Info info) { return Text(info[1], "the name"); }

Napi::Value OpenAt(Info info) {
  const std::string access = Text(info[2], "the access");
  const int flags = access == "read"    ? O_RDONLY
                    : access == "write" ? O_WRONLY
                    : access == "both"  ? O_RDWR
                    : access == "look"  ? O_PATH
                                        : throw os::ArgumentError("the access is read, write, both or look");
  return Lent(info, os::OpenAt(Directory(info), Name(info), flags));
}

template <auto Function>
void Define(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New(
                        exports.Env(),
                        [](Info info) -> Napi::Value {
                          return FromJavaScript(info.Env(), [&]() -> Napi::Value {
                            if constexpr (std::is_void_v<decltype(Function(info))>) {
                              Function(info);
                              return info.Env().Undefined();
                            } else {
                              return Function(info);
                            }
                          });
                        },
                        name));
}

}  // namespace

void DefineDescriptorFunctions(Napi::Object exports) {
  Define<[](Info info) { return Pair(info, os::Pipe()); }>(exports, "pipe2");
  Define<[](Info info) { return Pair(info, os::SocketPair()); }>(exports, "socketPair");
  Define<[](Info info) { return ToObject(info.Env(), os::PeerCredentials(Fd(info))); }>(exports, "peerCredentials");
  Define<[](Info info) { return ToObject(info.Env(), os::Address::Local(Fd(info))); }>(exports, "localAddress");
  Define<[](Info info) { return ToObject(info.Env(), os::Address::Remote(Fd(info))); }>(exports, "peerAddress");
  Define<[](Info info) { return Napi::String::New(info.Env(), os::KindOf(Fd(info))); }>(exports, "fstatKind");
  Define<[](Info info) { os::SetCloseOnExec(Fd(info), info[1].ToBoolean()); }>(exports, "setCloseOnExec");
  Define<[](Info info) { os::SetNonBlocking(Fd(info), info[1].ToBoolean()); }>(exports, "setNonBlocking");
  Define<SetBuffer<SO_SNDBUF>>(exports, "setSendBuffer");
  Define<SetBuffer<SO_RCVBUF>>(exports, "setReceiveBuffer");
  Define<[](Info info) { return Lent(info, os::Duplicate(Fd(info))); }>(exports, "dup");
  Define<[](Info info) { os::DuplicateOnto(Fd(info), ToDescriptor(info[1], "to")); }>(exports, "dup2");
  Define<CloseFd>(exports, "closeFd");
  Define<LockFile>(exports, "lockFile");
  Define<[](Info info) { return Lent(info, os::OpenDirectory(Text(info[0], "the path"))); }>(exports, "openDirectory");
  Define<OpenAt>(exports, "openAt");
  Define<[](Info info) { os::MakeFifoAt(Directory(info), Name(info), ToInteger(info[2], "mode", 0, 0777)); }>(
      exports, "makeFifoAt");
  Define<[](Info info) { os::UnlinkAt(Directory(info), Name(info)); }>(exports, "unlinkAt");
}

}  // namespace sluice
