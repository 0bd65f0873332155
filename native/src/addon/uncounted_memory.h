// Memory that V8 shall not count, although it sees it.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cstdint>

namespace sluice {

// The bytes of ArrayBuffers that are taken off V8's count of external memory. They must be back in it before V8 takes them off by
// itself, when such a buffer is detached or collected, or its heap ends: since V8 13 the process is ended when there seems to be less
// than that. So the one who hides a buffer shows it in time, and whoever ends the environment shows all.
class UncountedMemory {
 public:
  explicit UncountedMemory(Napi::Env env) : env_(env) {}
  UncountedMemory(const UncountedMemory&) = delete;

  void Hide(int64_t bytes) {
    hidden_ += bytes;
    Napi::MemoryManagement::AdjustExternalMemory(env_, -bytes);
  }

  // What was hidden; nothing after ShowAll.
  void Show(int64_t bytes) {
    bytes = std::min(bytes, hidden_);
    if (bytes == 0) return;
    hidden_ -= bytes;
    Napi::MemoryManagement::AdjustExternalMemory(env_, bytes);
  }

  void ShowAll() { Show(hidden_); }

 private:
  Napi::Env env_;
  int64_t hidden_ = 0;
};

}  // namespace sluice
