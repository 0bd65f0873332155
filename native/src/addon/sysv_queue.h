#pragma once

#include <napi.h>
#include <uv.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "../os/sysv_queue.h"
#include "../os/sysv_receiver.h"
#include "environment.h"
#include "handle.h"
#include "loop_object.h"

namespace sluice {

// A System V message queue, received from on a thread of its own. See index.ts.
class SysvQueue : public Napi::ObjectWrap<SysvQueue>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit SysvQueue(const Napi::CallbackInfo& info);

  void Close() override;
  void Exiting() override;

 private:
  static Napi::Value RemoveDead(const Napi::CallbackInfo& info);

  void Start(const Napi::CallbackInfo& info);
  Napi::Value Send(const Napi::CallbackInfo& info);
  void AwaitRoom(const Napi::CallbackInfo& info);
  void Poll(const Napi::CallbackInfo& info);
  Napi::Value Held(const Napi::CallbackInfo& info);
  void Remove(const Napi::CallbackInfo& info);
  void Note(const Napi::CallbackInfo& info);
  void Forget(const Napi::CallbackInfo& info);
  void SetLastWords(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo&) { Close(); }
  void Ref(const Napi::CallbackInfo&);
  void Unref(const Napi::CallbackInfo&);

  void Receive();
  template <class Body>
  void WhileOpen(const Napi::CallbackInfo& info, Body body);

  std::optional<os::SysvQueue> queue_;
  // Whether the queue is this object's to remove.
  bool made_ = false;
  size_t message_bytes_ = 0;
  // Destroyed from the last to the first: nobody notifies a handle that is closed.
  std::optional<Handle<uv_async_t>> arrived_;
  std::optional<Timer> room_;
  std::optional<os::SysvReceiver> receiver_;
  uint64_t next_wait_ms_;
  uint64_t max_window_ns_ = 0;
  std::vector<uint8_t> batch_;
  std::vector<uint8_t> outgoing_;
  std::vector<uint8_t> last_words_;
  Napi::FunctionReference on_messages_;
};

}  // namespace sluice
