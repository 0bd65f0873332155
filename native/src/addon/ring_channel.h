#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "../os/unique_fd.h"
#include "environment.h"
#include "handle.h"
#include "loop_object.h"
#include "segment.h"

namespace sluice {

// One end of a pair of rings: sleeps, wakes its peer and is woken. What is in the rings is JavaScript's. See index.ts.
class RingChannel : public Napi::ObjectWrap<RingChannel>, public LoopObject {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit RingChannel(const Napi::CallbackInfo& info);

  void Close() override;

 private:
  friend class Poller;

  // What JavaScript and this object tell each other; the indices are those of `words` in index.ts.
  enum Word { kTaken, kPublished, kWaiting, kListed, kAlone, kWords };

  void Start(const Napi::CallbackInfo& info);
  void Watch(const Napi::CallbackInfo& info);
  void Ring(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  void Ref(const Napi::CallbackInfo& info);
  void Unref(const Napi::CallbackInfo& info);

  static void OnPoll(void* channel, int status, int events);
  void HearDoorbell(bool last);

  // Called by the poller.
  bool Ready() const;

  void Wake(uint64_t now);
  void NoteSending(uint64_t now);
  bool IsWorthALook(uint64_t now) const;
  bool MayDoze();
  bool Sleep();
  void Rouse();

  uint32_t word(Word index) const { return static_cast<uint32_t>(words_[index]); }
  bool listed() const { return words_[kListed] != 0; }
  void set_listed(bool listed) { words_[kListed] = listed ? 1 : 0; }

  std::shared_ptr<Segment::Mapping> mapping_;
  // In the segment, where the peer can write, too.
  const os::SharedWord* inbound_head_;
  const os::SharedWord* outbound_tail_;
  os::SharedWord* sleeping_;
  const std::atomic<uint32_t>* fault_;
  os::SegmentHeader::Endpoint* peer_;
  uint32_t capacity_;
  int32_t* words_;
  Napi::Reference<Napi::Int32Array> words_object_;

  Napi::FunctionReference on_wake_;

  os::UniqueFd fd_;
  std::optional<Poll> poll_;
  bool started_ = false;

  // How long to poll at most; 0 for not at all.
  uint64_t max_window_ns_;
  uint64_t last_active_ = 0;
  // How often it dozed since.
  int dozes_ = 0;
  uint32_t seen_published_ = 0;
};

}  // namespace sluice
