#include "socket_listener.h"

#include "../os/socket.h"
#include "values.h"

namespace sluice {

namespace {

// How many connections are accepted before the rest of the process has its turn.
constexpr int kMaxAccepts = 64;
// How long to wait for descriptors that are freed elsewhere, which nothing tells.
constexpr uint64_t kPauseMs = 100;

bool IsShortage(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

}  // namespace

Napi::Function SocketListener::Define(Napi::Env env) {
  return DefineClass(env, "SocketListener",
                     {
                         InstanceMethod<&SocketListener::Address>("address"),
                         InstanceMethod<&SocketListener::Close>("close"),
                         InstanceMethod<&SocketListener::Ref>("ref"),
                         InstanceMethod<&SocketListener::Unref>("unref"),
                     });
}

SocketListener::SocketListener(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SocketListener>(info),
      LoopObject(info.This().As<Napi::Object>(),
                 FromJavaScript(info.Env(), [&] { return ToHandler(info[1], {"onConnection", "onError"}); }),
                 "SluiceSocketListener") {
  FromJavaScript(info.Env(), [&] {
    const os::Address address = ToAddress(info[0]);
    os::ListenOptions options;
    if (info[2].IsObject()) {
      const Napi::Object given = info[2].As<Napi::Object>();
      const Napi::Value backlog = given.Get("backlog");
      const Napi::Value mode = given.Get("mode");
      const Napi::Value ipv6_only = given.Get("ipv6Only");
      if (!backlog.IsUndefined()) options.backlog = ToInteger(backlog, "backlog", 1, INT32_MAX);
      if (!mode.IsUndefined()) options.mode = static_cast<mode_t>(ToInteger(mode, "mode", 0, 0777));
      if (!ipv6_only.IsUndefined()) options.ipv6_only = ipv6_only.ToBoolean();
    }
    fd_ = os::Listen(address, options);
    if (address.is_path()) file_ = os::SocketFile(address.unix_name());
    address_ = os::Address::Local(fd_.get());
    const Napi::Object self = info.This().As<Napi::Object>();
    timer_.emplace(loop(), self, this, [](void* listener) { static_cast<SocketListener*>(listener)->Resume(); });
    poll_.emplace(loop(), self, fd_.get(), this, [](void* target, int, int) {
      auto* listener = static_cast<SocketListener*>(target);
      listener->environment().FromLoop([&] { listener->Accept(); });
    });
    poll_->Arm(UV_READABLE);
  });
}

Napi::Value SocketListener::Address(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] { return ToObject(info.Env(), *address_); });
}

void SocketListener::Accept() {
  const Napi::Env env = environment().env();
  for (int count = 0; count < kMaxAccepts && !closed(); ++count) {
    os::Address address;
    os::UniqueFd fd;
    try {
      fd = os::Accept(fd_.get(), address);
    } catch (const os::SystemError& error) {
      return Refused(error);
    }
    if (!fd) break;
    const Napi::HandleScope scope(env);
    const Napi::Object peer = DescribePeer(fd.get(), address);
    Tell("onConnection", {Napi::Number::New(env, environment().Lend(std::move(fd))), peer});
  }
  if (!closed()) poll_->Arm(UV_READABLE);
}

Napi::Object SocketListener::DescribePeer(int fd, const os::Address& address) {
  const Napi::Env env = environment().env();
  return address.family() == AF_UNIX ? ToObject(env, os::PeerCredentials(fd)) : ToObject(env, address);
}

void SocketListener::Refused(const os::SystemError& error) {
  const Napi::Error told = ToError(environment().env(), error);
  if (!IsShortage(error.number())) return CloseAndTell("onError", told.Value());
  // Those who wait make the socket readable: polling it would only spin.
  poll_->Arm(0);
  timer_->Start(kPauseMs);
  environment().AwaitDescriptor(*this);
  Tell("onError", {told.Value()});
}

void SocketListener::Resume() {
  awaiting_.Unlink();
  timer_->Stop();
  poll_->Arm(UV_READABLE);
}

void SocketListener::Close() {
  if (!BeginClosing()) return;
  awaiting_.Unlink();
  poll_.reset();
  timer_.reset();
  file_.Remove();
  fd_.Reset();
}

void SocketListener::SetRef(bool on) {
  if (closed()) return;
  poll_->SetRef(on);
  timer_->SetRef(on);
}

}  // namespace sluice
