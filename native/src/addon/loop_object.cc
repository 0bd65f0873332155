#include "loop_object.h"

#include <utility>

namespace sluice {

LoopObject::LoopObject(Napi::Object self, Napi::Object handler, const char* name)
    : env_(self.Env()), environment_(Environment::Of(env_)), handler_(Napi::Persistent(handler)) {
  const napi_status status = napi_async_init(env_, self, Napi::String::New(env_, name), &context_);
  if (status != napi_ok) throw Napi::Error::New(env_);
  environment_.open_.PushBack(open_);
}

LoopObject::~LoopObject() {
  // Not closed when its constructor failed.
  if (context_ != nullptr) napi_async_destroy(env_, context_);
}

bool LoopObject::BeginClosing() {
  if (closed_) return false;
  closed_ = true;
  open_.Unlink();
  handler_.Reset();
  environment_.Retire(std::exchange(context_, nullptr));
  return true;
}

bool LoopObject::Tell(const char* method, std::initializer_list<napi_value> arguments) {
  return Tell(handler_.Get(method), arguments, nullptr);
}

bool LoopObject::Tell(napi_value method, std::initializer_list<napi_value> arguments, napi_value* result) {
  return environment_.Call(context_, handler_.Value(), method, arguments, result);
}

void LoopObject::CloseAndTell(const char* method, napi_value argument) {
  const Napi::Object handler = handler_.Value();
  const Napi::Value function = handler.Get(method);
  napi_async_context context = context_;
  Close();
  environment_.Call(context, handler, function, {argument});
}

}  // namespace sluice
