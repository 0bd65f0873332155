#pragma once

#include <napi.h>

#include <chrono>
#include <cstdint>
#include <memory>

#include "../os/ring.h"
#include "../os/unique_fd.h"
#include "../os/wait.h"
#include "segment.h"

namespace sluice {

// A RingChannel without an event loop: its owner waits. See index.ts.
class RingWaiter : public Napi::ObjectWrap<RingWaiter> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit RingWaiter(const Napi::CallbackInfo& info);
  ~RingWaiter() { Close(); }

 private:
  // As of RingChannel, and written by JavaScript alone.
  enum Word { kTaken, kPublished, kWaiting, kListed, kAlone, kWords };

  Napi::Value Wait(const Napi::CallbackInfo& info);
  void Ring(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  os::Woken Wait(double milliseconds);
  bool Ready() const;
  bool PeerGone() const;
  void Close();

  uint32_t word(Word index) const { return static_cast<uint32_t>(words_[index]); }

  std::shared_ptr<Segment::Mapping> mapping_;
  const os::SegmentHeader::Ring* inbound_;
  const os::SegmentHeader::Ring* outbound_;
  os::SegmentHeader::Endpoint* self_;
  os::SegmentHeader::Endpoint* peer_;
  uint32_t capacity_;
  int32_t* words_;
  Napi::Reference<Napi::Int32Array> words_object_;
  os::UniqueFd fd_;
  os::Sleeping how_;
  std::chrono::nanoseconds poll_;
};

}  // namespace sluice
