#pragma once

#include <napi.h>

#include <optional>

#include "../os/datagram.h"
#include "../os/unique_fd.h"
#include "environment.h"
#include "handle.h"
#include "loop_object.h"

namespace sluice {

// A datagram socket. See index.ts.
class DatagramChannel : public Napi::ObjectWrap<DatagramChannel>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit DatagramChannel(const Napi::CallbackInfo& info);

  void Close() override;

 private:
  Napi::Value Address(const Napi::CallbackInfo& info);
  Napi::Value ReceiveBufferBytes(const Napi::CallbackInfo& info);
  Napi::Value LargestDatagram(const Napi::CallbackInfo& info);
  void Start(const Napi::CallbackInfo& info);
  void Send(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo&) { Close(); }
  void Ref(const Napi::CallbackInfo&) { SetRef(true); }
  void Unref(const Napi::CallbackInfo&) { SetRef(false); }

  void SetRef(bool on);
  void Ready(int status);
  void TakeErrors();
  void Receive();

  os::DatagramSocketState state_;
  // Destroyed from the last to the first: no poll without its descriptor.
  os::UniqueFd fd_;
  std::optional<Poll> poll_;
  uint64_t max_window_ns_;
  Napi::FunctionReference on_packets_;
};

}  // namespace sluice
