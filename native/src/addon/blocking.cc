#include "blocking.h"

#include <sys/socket.h>

#include <array>
#include <span>
#include <string>
#include <vector>

#include "../os/descriptor.h"
#include "../os/rights.h"
#include "../os/socket.h"
#include "../os/wait.h"
#include "environment.h"
#include "values.h"

namespace sluice {

namespace {

using Info = const Napi::CallbackInfo&;

double Milliseconds(Napi::Value value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0)) throw os::ArgumentError("timeoutMs must be a number, 0 or more");
  return number;
}

// The part of a Uint8Array from the index `from` on, up to the index `to` if it is given.
std::span<uint8_t> Part(Napi::Value array, Napi::Value from, Napi::Value to) {
  if (!array.IsTypedArray() || array.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw os::ArgumentError("the bytes must be a Uint8Array");
  }
  Napi::Uint8Array bytes = array.As<Napi::Uint8Array>();
  const int length = static_cast<int>(bytes.ElementLength());
  const int start = ToInteger(from, "start", 0, length);
  const int end = to.IsUndefined() ? length : ToInteger(to, "end", start, length);
  return std::span<uint8_t>(bytes.Data() + start, static_cast<size_t>(end - start));
}

// -1 where it would block.
Napi::Value Count(Info info, ssize_t count, const char* call) {
  if (count == -1 && errno != EAGAIN) throw os::SystemError(errno, call);
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

Napi::Value Read(Info info) {
  const int fd = ToDescriptor(info[0], "fd");
  const std::span<uint8_t> bytes = Part(info[1], info[2], info[3]);
  return Count(info, os::Uninterrupted([&] { return read(fd, bytes.data(), bytes.size()); }), "read");
}

Napi::Value Write(Info info) {
  const int fd = ToDescriptor(info[0], "fd");
  const std::span<uint8_t> bytes = Part(info[1], info[2], info[3]);
  ssize_t written = os::Uninterrupted([&] { return send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL); });
  // A pipe. Node ignores the signal that writing to one may raise.
  if (written == -1 && errno == ENOTSOCK) {
    written = os::Uninterrupted([&] { return write(fd, bytes.data(), bytes.size()); });
  }
  return Count(info, written, "write");
}

Napi::Value ReceiveDescriptor(Info info) {
  const int fd = ToDescriptor(info[0], "fd");
  const std::span<uint8_t> bytes = Part(info[1], info[2], info[3]);
  const Napi::Array received = info[4].As<Napi::Array>();
  std::vector<os::UniqueFd> fds;
  bool truncated = false;
  // One in all, however many messages they come with.
  const size_t limit = received.Length() == 0 ? 1 : 0;
  const ssize_t count = os::ReceiveWithDescriptors(fd, std::as_writable_bytes(bytes), limit, fds, truncated);
  const Napi::Value result = Count(info, count, "recvmsg");
  if (truncated) {
    const int error = os::TruncationError(fds.size(), limit);
    throw os::SystemError(error, "recvmsg", error == EPROTO ? "more than one descriptor" : "");
  }
  if (!fds.empty()) {
    received.Set(0u, Napi::Number::New(info.Env(), Environment::Of(info.Env()).Lend(std::move(fds.front()))));
  }
  return result;
}

Napi::Value AwaitReady(Info info) {
  std::array<pollfd, 2> items{pollfd{ToInteger(info[0], "readFd", -1, INT32_MAX), POLLIN, 0},
                              pollfd{ToInteger(info[1], "writeFd", -1, INT32_MAX), POLLOUT, 0}};
  const os::Deadline deadline = os::DeadlineIn(Milliseconds(info[2]));
  const std::chrono::nanoseconds brief(ToPollNs(info[3]));
  bool ready = false;
  if (!deadline || os::Clock::now() < *deadline) {
    ready = os::PollBriefly(brief, [&] { return poll(items.data(), items.size(), 0) > 0; });
  }
  if (!ready) ready = os::PollUntil(items, deadline);
  return Napi::Boolean::New(info.Env(), ready);
}

Napi::Value StartConnecting(Info info) {
  const os::Address address = ToAddress(info[0]);
  os::UniqueFd fd = os::StreamSocket(address.family());
  if (os::Connect(fd.get(), address) == os::Progress::kBacklogFull) {
    throw os::SystemError(EAGAIN, "connect", address.Describe());
  }
  return Napi::Number::New(info.Env(), Environment::Of(info.Env()).Lend(std::move(fd)));
}

Napi::Value FinishConnecting(Info info) {
  const int fd = ToDescriptor(info[0], "fd");
  const os::Address address = ToAddress(info[1]);
  pollfd item{fd, POLLOUT, 0};
  if (!os::PollUntil({&item, 1}, os::Clock::now())) throw os::SystemError(ETIMEDOUT, "connect", address.Describe());
  os::FinishConnecting(fd, address);
  if (address.family() != AF_UNIX) os::SetTcpOptions(fd);
  return info.Env().Undefined();
}

Napi::Value Resolve(Info info) {
  if (!info[0].IsString()) throw os::ArgumentError("the host must be a string");
  const std::vector<std::string> addresses = os::Resolve(info[0].As<Napi::String>());
  const Napi::Array result = Napi::Array::New(info.Env(), addresses.size());
  for (uint32_t index = 0; index < addresses.size(); ++index) {
    result.Set(index, Napi::String::New(info.Env(), addresses[index]));
  }
  return result;
}

Napi::Value Shutdown(Info info) {
  // A peer that is gone already needs no end of file.
  if (shutdown(ToDescriptor(info[0], "fd"), SHUT_WR) == -1 && errno != ENOTCONN) throw os::SystemError(errno, "shutdown");
  return info.Env().Undefined();
}

template <auto Function>
void Define(Napi::Object object, const char* name) {
  object.Set(name, Napi::Function::New(
                       object.Env(),
                       [](Info info) { return FromJavaScript(info.Env(), [&] { return Function(info); }); }, name));
}

}  // namespace

void DefineBlockingFunctions(Napi::Object exports) {
  const Napi::Object blocking = Napi::Object::New(exports.Env());
  Define<Read>(blocking, "read");
  Define<Write>(blocking, "write");
  Define<ReceiveDescriptor>(blocking, "receiveDescriptor");
  Define<AwaitReady>(blocking, "awaitReady");
  Define<Shutdown>(blocking, "shutdown");
  Define<StartConnecting>(blocking, "startConnecting");
  Define<FinishConnecting>(blocking, "finishConnecting");
  Define<Resolve>(blocking, "resolve");
  exports.Set("blocking", blocking);
}

}  // namespace sluice
