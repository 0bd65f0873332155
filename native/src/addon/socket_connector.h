#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>

#include "../os/address.h"
#include "../os/error.h"
#include "../os/unique_fd.h"
#include "handle.h"
#include "loop_object.h"

namespace sluice {

// One attempt to connect. See index.ts.
class SocketConnector : public Napi::ObjectWrap<SocketConnector>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit SocketConnector(const Napi::CallbackInfo& info);

  void Close() override;

 private:
  void Cancel(const Napi::CallbackInfo&) { Close(); }

  void Begin();
  void Finish();
  void Connected();
  template <class Step>
  void Attempt(Step step);

  std::optional<os::Address> address_;
  os::UniqueFd fd_;
  std::optional<Poll> poll_;
  std::optional<Timer> timer_;
  uint64_t next_wait_ms_ = 1;
  uint64_t waited_ms_ = 0;
};

}  // namespace sluice
