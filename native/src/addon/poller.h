// Polling before sleeping: looks at the rings of recently active channels, and at the descriptors of the event loop, for a
// short, bounded time before the loop waits, since waking a sleeping process costs tens of microseconds and one that is awake
// answers in a few, through a ring in less than one.
#pragma once

#include <uv.h>

#include <cstdint>
#include <vector>

#include "../os/poll_window.h"
#include "handle.h"

namespace sluice {

class Environment;
class RingChannel;

// One per environment, however many channels there are. A ring that is not listed here is asleep: its sleeping flag is
// raised, its peer rings when there is something, and it costs nothing. When all sleep, those that were busy lately doze: they
// are listed again as soon as one of all is, so that not each needs its doorbell. Descriptors are not listed: the kernel tells of
// them all at once.
class Poller {
 public:
  explicit Poller(Environment& environment);
  Poller(const Poller&) = delete;

  // Lists `channel`, or does nothing if it is listed.
  void Add(RingChannel& channel);
  void Remove(RingChannel& channel);
  // Whether no more than one is listed, or was until just now.
  bool HasOne() const { return channels_.size() <= 1; }

  // A channel that may be polled for up to `max_window_ns` has sent something, or something has come.
  void NoteSent(uint64_t now, uint64_t max_window_ns) { window_.NoteSent(now, max_window_ns); }
  void NoteReceived(uint64_t now, uint64_t max_window_ns) { window_.NoteReceived(now, max_window_ns); }

  // The same through a descriptor. 0: it is not polled for.
  void NoteWritten(uint64_t max_window_ns) { NoteSent(Now(), max_window_ns); }
  void NoteRead(uint64_t max_window_ns) { NoteReceived(Now(), max_window_ns); }

  // Polls, as long as it pays. Called just before the loop waits.
  void Run();

  // Monotonic, in nanoseconds.
  static uint64_t Now() { return uv_hrtime(); }

 private:
  void WakeDozing();
  bool Serve(uint64_t now);
  bool Spin(uint64_t now);
  void NoteSending(uint64_t now);
  bool DescriptorIsReady() const;
  bool PutToSleep(uint64_t now);

  Environment& environment_;
  // A removed channel leaves a null, which Run takes out, so that what a callback does is no harm to a loop over it.
  std::vector<RingChannel*> channels_;
  // Those that Serve found ready, without what was removed since.
  std::vector<RingChannel*> ready_;
  // Asleep; some may have been listed since.
  std::vector<RingChannel*> dozing_;
  // When it was last seen which of them have nothing to do.
  uint64_t sorted_ = 0;
  // Active while a channel must be looked at again soon: the loop does not wait then.
  Handle<uv_idle_t> idle_;

  os::PollWindow window_;
};

}  // namespace sluice
