#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../os/posix_queue.h"
#include "environment.h"
#include "handle.h"
#include "loop_object.h"

namespace sluice {

// A POSIX message queue in the event loop. See index.ts.
class PosixQueue : public Napi::ObjectWrap<PosixQueue>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit PosixQueue(const Napi::CallbackInfo& info);

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
  void SetLastWords(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo&) { Close(); }
  void Ref(const Napi::CallbackInfo&);
  void Unref(const Napi::CallbackInfo&);

  void Ready(int events);
  void Receive();
  void Arm();

  std::string name_;
  // Whether the name is this object's to remove.
  bool named_ = false;
  // Destroyed from the last to the first: no poll without its descriptor.
  std::optional<os::PosixQueue> queue_;
  std::optional<sluice::Poll> poll_;
  uint64_t max_window_ns_ = 0;
  bool receiving_ = false;
  bool awaits_room_ = false;
  std::vector<uint8_t> outgoing_;
  std::vector<uint8_t> last_words_;
  Napi::FunctionReference on_messages_;
};

}  // namespace sluice
