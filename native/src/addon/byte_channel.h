#pragma once

#include <napi.h>

#include <cstddef>
#include <memory>
#include <optional>

#include "../os/unique_fd.h"
#include "environment.h"
#include "handle.h"
#include "loop_object.h"

namespace sluice {

// Bytes both ways over a socket, or over one descriptor for reading and another for writing. See index.ts.
class ByteChannel : public Napi::ObjectWrap<ByteChannel>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit ByteChannel(const Napi::CallbackInfo& info);

  // Writes what is unsent, as far as the kernel takes it. Runs no JavaScript.
  void Flush();
  // Whether JavaScript is writing beyond the slab's end just now.
  bool held() const { return slab_ != nullptr && slab_->held() != 0; }
  // Tells what Environment::Notify was called for.
  void Deliver();

  void Close() override;
  void Exiting() override { Flush(); }

 private:
  friend class Environment;

  void Start(const Napi::CallbackInfo& info);
  Napi::Value Acquire(const Napi::CallbackInfo& info);
  void Flush(const Napi::CallbackInfo& info);
  void WantWritable(const Napi::CallbackInfo& info);
  void ShutdownWrite(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  Napi::Value Detach(const Napi::CallbackInfo& info);
  void Ref(const Napi::CallbackInfo& info);
  void Unref(const Napi::CallbackInfo& info);
  void SendDescriptors(const Napi::CallbackInfo& info);

  static void OnPoll(void* channel, int status, int events);
  void Ready(int status, int events);
  void Read();
  ssize_t ReadSome();
  void PassOn(size_t end);
  void EndOfFile();

  int write_fd() const { return write_fd_ ? write_fd_.get() : read_fd_.get(); }
  Slab& TakeSlab();
  bool EnlargePipe();
  void Drained();
  void FinishWriting();
  void Fail(int error, const char* call);
  void TellFailure();
  void UpdatePolling();

  const int32_t id_;
  bool reads_socket_ = false;
  bool writes_socket_ = false;
  // The same socket both ways, or else two descriptors with a poll each: libuv takes one handle per descriptor.
  os::UniqueFd read_fd_;
  os::UniqueFd write_fd_;
  std::optional<Poll> read_poll_;
  std::optional<Poll> write_poll_;

  bool reading_ = false;
  bool refs_ = true;
  size_t carry_ = 0;
  size_t max_read_ = kSlabBytes;
  size_t descriptors_left_ = 0;
  uint64_t max_window_ns_ = 0;
  Napi::FunctionReference on_read_;

  // Present while there may be unsent bytes. Then either the channel is dirty, or it waits for room.
  std::unique_ptr<Slab> slab_;
  bool waits_for_room_ = false;
  bool wants_writable_ = false;
  bool finishing_ = false;
  bool enlarged_ = false;

  // The failure to tell, with the name of its system call.
  int error_ = 0;
  const char* failed_call_ = nullptr;

  os::ListLink<ByteChannel> dirty_{this};
  os::ListLink<ByteChannel> pending_{this};
};

}  // namespace sluice
