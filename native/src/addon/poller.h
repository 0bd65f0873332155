// Polling before sleeping: looks at the rings of recently active channels for a short, bounded time before the event loop
// waits, since waking a sleeping process costs tens of microseconds and a ring that is watched answers in less than one.
#pragma once

#include <uv.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "handle.h"

namespace sluice {

class Environment;
class RingChannel;

// One per environment, however many channels there are. A channel that is not listed here is asleep: its sleeping flag is
// raised, its peer rings when there is something, and it costs nothing.
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
  void NoteSent(uint64_t now, uint64_t max_window_ns);
  void NoteReceived(uint64_t now, uint64_t max_window_ns);

  // For how long to poll after the last action, of at most `max_window_ns`.
  uint64_t Window(uint64_t max_window_ns) const;

  // Monotonic, in nanoseconds.
  static uint64_t Now() { return uv_hrtime(); }

 private:
  // What was done last: other answers are to be expected after each.
  enum Action { kSent, kReceived, kActions };

  void Run();
  bool Serve(uint64_t now);
  bool Spin(uint64_t now);
  bool Awaits(uint64_t now);
  bool PutToSleep(uint64_t now);

  void Learn(uint64_t waited, uint64_t max_window_ns);

  Environment& environment_;
  // A removed channel leaves a null, which Run takes out, so that what a callback does is no harm to a loop over it.
  std::vector<RingChannel*> channels_;
  Handle<uv_prepare_t> prepare_;
  // Active while a channel must be looked at again soon: the loop does not wait then.
  Handle<uv_idle_t> idle_;

  // How often the window after each action was halved, adapted to whether polling pays: see Learn.
  int halvings_[kActions] = {};
  Action last_action_ = kReceived;
  uint64_t last_active_ = 0;
};

}  // namespace sluice
