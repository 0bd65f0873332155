#include "process_watch.h"

#include "../os/process.h"
#include "environment.h"
#include "values.h"

namespace sluice {

Napi::Function ProcessWatch::Define(Napi::Env env) {
  return DefineClass(env, "ProcessWatch", {InstanceMethod<&ProcessWatch::Close>("close")});
}

ProcessWatch::ProcessWatch(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ProcessWatch>(info),
      LoopObject(info.This().As<Napi::Object>(), FromJavaScript(info.Env(), [&] { return ToHandler(info[1], {"onExit"}); }),
                 "SluiceProcessWatch") {
  FromJavaScript(info.Env(), [&] {
    fd_ = os::OpenProcess(ToInteger(info[0], "pid", 1, INT32_MAX));
    poll_.emplace(loop(), info.This().As<Napi::Object>(), fd_.get(), this, [](void* target, int, int) {
      auto* watch = static_cast<ProcessWatch*>(target);
      watch->environment().FromLoop([&] { watch->CloseAndTell("onExit", watch->environment().env().Undefined()); });
    });
    poll_->SetRef(false);
    poll_->Arm(UV_READABLE);
  });
}

void ProcessWatch::Close() {
  if (!BeginClosing()) return;
  poll_.reset();
  fd_.Reset();
  environment().DescriptorClosed();
}

}  // namespace sluice
