#pragma once

#include <napi.h>

#include <optional>

#include "../os/unique_fd.h"
#include "handle.h"
#include "loop_object.h"

namespace sluice {

// Tells of the end of a process. See index.ts.
class ProcessWatch : public Napi::ObjectWrap<ProcessWatch>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit ProcessWatch(const Napi::CallbackInfo& info);

  void Close() override;

 private:
  void Close(const Napi::CallbackInfo&) { Close(); }

  // Destroyed from the last to the first: no poll without its descriptor.
  os::UniqueFd fd_;
  std::optional<Poll> poll_;
};

}  // namespace sluice
