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

  // Monotonic, in nanoseconds.
  static uint64_t Now() { return uv_hrtime(); }

 private:
  void Run();
  bool Serve();
  bool Spin();
  bool AnyAwaits(uint64_t now) const;
  bool PutToSleep(uint64_t now);

  Environment& environment_;
  // A removed channel leaves a null, which Run takes out, so that what a callback does is no harm to a loop over it.
  std::vector<RingChannel*> channels_;
  Handle<uv_prepare_t> prepare_;
  // Active while a channel must be looked at again soon: the loop does not wait then.
  Handle<uv_idle_t> idle_;
};

}  // namespace sluice
