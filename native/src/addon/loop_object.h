// What the classes that live in the event loop have in common.
#pragma once

#include <napi.h>

#include <initializer_list>

#include "../os/intrusive_list.h"
#include "environment.h"

namespace sluice {

// Open from construction until Close. Its handles keep it alive (see Handle), so an open one is never collected.
class LoopObject {
 public:
  // `self` is the JavaScript object; `handler` is whom it tells.
  LoopObject(Napi::Object self, Napi::Object handler, const char* name);
  LoopObject(const LoopObject&) = delete;
  virtual ~LoopObject();

  // Closes everything; afterwards nothing is told. Idempotent.
  virtual void Close() = 0;
  // The process or the worker is about to end: do what must not be left undone.
  virtual void Exiting() {}

 protected:
  Environment& environment() { return environment_; }
  Loop& loop() { return environment_.loop(); }
  bool closed() const { return closed_; }

  // To be called by Close. False if it was closed before.
  bool BeginClosing();

  // handler[method](...arguments), from the event loop only.
  bool Tell(const char* method, std::initializer_list<napi_value> arguments);
  bool Tell(napi_value method, std::initializer_list<napi_value> arguments, napi_value* result);
  // The same as the last thing told.
  void CloseAndTell(const char* method, napi_value argument);

 private:
  friend class Environment;

  napi_env env_;
  Environment& environment_;
  bool closed_ = false;
  os::ListLink<LoopObject> open_{this};
  Napi::ObjectReference handler_;
  napi_async_context context_ = nullptr;
};

}  // namespace sluice
