#pragma once

#include <napi.h>

#include <optional>

#include "../os/address.h"
#include "../os/error.h"
#include "../os/socket_file.h"
#include "../os/unique_fd.h"
#include "environment.h"
#include "handle.h"
#include "loop_object.h"

namespace sluice {

// Accepts connections at one address. See index.ts.
class SocketListener : public Napi::ObjectWrap<SocketListener>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit SocketListener(const Napi::CallbackInfo& info);

  // Goes on accepting, after a pause for want of descriptors.
  void Resume();

  void Close() override;
  void Exiting() override { Close(); }

 private:
  friend class Environment;

  Napi::Value Address(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo&) { Close(); }
  void Ref(const Napi::CallbackInfo&) { SetRef(true); }
  void Unref(const Napi::CallbackInfo&) { SetRef(false); }

  void SetRef(bool on);
  void Accept();
  void Refused(const os::SystemError& error);
  Napi::Object DescribePeer(int fd, const os::Address& address);

  // Destroyed from the last to the first: no poll without its descriptor, no socket file without its socket.
  os::UniqueFd fd_;
  os::SocketFile file_;
  std::optional<os::Address> address_;
  std::optional<Poll> poll_;
  std::optional<Timer> timer_;
  os::ListLink<SocketListener> awaiting_{this};
};

}  // namespace sluice
