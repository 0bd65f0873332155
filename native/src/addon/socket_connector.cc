#include "socket_connector.h"

#include <algorithm>

#include "../os/socket.h"
#include "values.h"

namespace sluice {

namespace {

// No event tells that a Unix listener's backlog has room again (connect(2)), so the attempt is repeated: soon at first,
// since a listener that is alive accepts within microseconds; then no more often than costs next to nothing.
constexpr uint64_t kMaxWaitMs = 64;
constexpr uint64_t kMaxTotalWaitMs = 10'000;

}  // namespace

Napi::Function SocketConnector::Define(Napi::Env env) {
  return DefineClass(env, "SocketConnector", {InstanceMethod<&SocketConnector::Cancel>("cancel")});
}

SocketConnector::SocketConnector(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SocketConnector>(info),
      LoopObject(info.This().As<Napi::Object>(),
                 FromJavaScript(info.Env(), [&] { return ToHandler(info[1], {"onConnect", "onError"}); }),
                 "SluiceSocketConnector") {
  FromJavaScript(info.Env(), [&] {
    address_ = ToAddress(info[0]);
    timer_.emplace(loop(), info.This().As<Napi::Object>(), this, [](void* target) {
      auto* connector = static_cast<SocketConnector*>(target);
      connector->environment().FromLoop([&] { connector->Begin(); });
    });
    // From the event loop, since a Unix socket connects at once and nothing may be told from in here.
    timer_->Start(0);
  });
}

// Runs `step`; a failing system call ends the attempt.
template <class Step>
void SocketConnector::Attempt(Step step) {
  try {
    step();
  } catch (const os::SystemError& error) {
    CloseAndTell("onError", ToError(environment().env(), error).Value());
  }
}

void SocketConnector::Begin() {
  Attempt([&] {
    if (!fd_) fd_ = os::StreamSocket(address_->family());
    switch (os::Connect(fd_.get(), *address_)) {
      case os::Progress::kConnected: return Connected();
      case os::Progress::kPending:
        poll_.emplace(loop(), Value(), fd_.get(), this, [](void* target, int, int) {
          auto* connector = static_cast<SocketConnector*>(target);
          connector->environment().FromLoop([&] { connector->Finish(); });
        });
        return poll_->Arm(UV_WRITABLE);
      case os::Progress::kBacklogFull:
        if (waited_ms_ >= kMaxTotalWaitMs) {
          throw os::SystemError(EAGAIN, "connect", address_->Describe() + " (its backlog stayed full)");
        }
        waited_ms_ += next_wait_ms_;
        timer_->Start(next_wait_ms_);
        next_wait_ms_ = std::min(next_wait_ms_ * 2, kMaxWaitMs);
    }
  });
}

void SocketConnector::Finish() {
  Attempt([&] {
    os::FinishConnecting(fd_.get(), *address_);
    Connected();
  });
}

void SocketConnector::Connected() {
  if (address_->family() != AF_UNIX) os::SetTcpOptions(fd_.get());
  const int fd = environment().Lend(std::move(fd_));
  CloseAndTell("onConnect", Napi::Number::New(environment().env(), fd));
}

void SocketConnector::Close() {
  if (!BeginClosing()) return;
  poll_.reset();
  timer_.reset();
  fd_.Reset();
}

}  // namespace sluice
