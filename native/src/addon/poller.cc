#include "poller.h"

#include <sched.h>

#include <algorithm>

#include "../os/wait.h"
#include "environment.h"
#include "ring_channel.h"

namespace sluice {

namespace {

// However busy the rings are, timers and other descriptors have their turn this often. A loop that prolonged itself with
// every message was seen to fire a 10 ms timer after 44 ms.
constexpr uint64_t kMaxTurnNs = 200'000;

constexpr size_t kLooksPerYield = 20;

// A window that is halved this often is none: not worth a look.
constexpr int kMaxHalvings = 3;
// Where both ends sleep, an answer takes as long as waking both of them. So a wait of this many windows may become one that
// a window covers, as soon as both ends poll.
constexpr uint64_t kHopefulWindows = 4;

}  // namespace

Poller::Poller(Environment& environment)
    : environment_(environment),
      prepare_(environment.loop(), Napi::Object(), this,
               [](uv_loop_t* uv, uv_prepare_t* handle) { uv_prepare_init(uv, handle); }),
      idle_(environment.loop(), Napi::Object(), this,
            [](uv_loop_t* uv, uv_idle_t* handle) { uv_idle_init(uv, handle); }) {
  prepare_.SetRef(false);
}

void Poller::Add(RingChannel& channel) {
  if (channel.listed()) return;
  channel.set_listed(true);
  channels_.push_back(&channel);
  uv_prepare_start(prepare_.get(), [](uv_prepare_t* handle) { static_cast<Poller*>(handle->data)->Run(); });
}

void Poller::Remove(RingChannel& channel) {
  if (!channel.listed()) return;
  channel.set_listed(false);
  *std::find(channels_.begin(), channels_.end(), &channel) = nullptr;
}

// Just before the loop waits.
void Poller::Run() {
  uv_idle_stop(idle_.get());
  environment_.FlushDirty(Environment::Held::kFlush);

  uint64_t now = Now();
  const uint64_t end = now + kMaxTurnNs;
  for (bool done = false; !done;) {
    const bool served = Serve(now) || Spin(now);
    now = Now();
    if (served) {
      last_active_ = now;
      done = now >= end;
    } else {
      // Whoever has the loop not wait (setImmediate, another handle that is ready) is not kept waiting either.
      done = now >= end || !Awaits(now) || uv_backend_timeout(environment_.loop().get()) == 0;
      // To a process that shares this processor, for which this one may be waiting.
      if (!done) sched_yield();
    }
  }

  if (PutToSleep(now)) uv_idle_start(idle_.get(), [](uv_idle_t*) {});
  std::erase(channels_, nullptr);
  if (channels_.empty()) uv_prepare_stop(prepare_.get());
}

// Wakes every channel that has something to do, as of `now`: looking at the clock for each would take longer than looking at
// its ring. Whether there was one.
bool Poller::Serve(uint64_t now) {
  bool served = false;
  for (size_t index = 0; index < channels_.size(); ++index) {
    RingChannel* const channel = channels_[index];
    if (channel == nullptr || !channel->Ready()) continue;
    served = true;
    environment_.FromLoop([=] { channel->Wake(now); });
  }
  return served;
}

// A sched_yield(2) takes half a microsecond in which nothing is seen, so there are some looks before each.
bool Poller::Spin(uint64_t now) {
  const size_t step = std::max<size_t>(channels_.size(), 1);
  for (size_t looks = 0; looks < kLooksPerYield; looks += step) {
    os::Relax();
    if (Serve(now)) return true;
  }
  return false;
}

// Whether there is a channel for which it pays to poll on.
bool Poller::Awaits(uint64_t now) {
  bool awaits = false;
  for (RingChannel* channel : channels_) {
    if (channel == nullptr) continue;
    channel->NoteSending(now);
    awaits |= now < last_active_ + Window(channel->max_window_ns());
  }
  return awaits;
}

// Takes out the channels that have nothing to wait for any more. Whether some must be looked at again without waiting.
bool Poller::PutToSleep(uint64_t now) {
  const bool awaits = Awaits(now);
  bool again = false;
  for (RingChannel*& channel : channels_) {
    if (channel == nullptr) continue;
    if ((awaits && channel->IsWorthALook(now)) || !channel->Sleep()) {
      again = true;
    } else {
      channel->set_listed(false);
      channel = nullptr;
    }
  }
  return again;
}

void Poller::NoteSent(uint64_t now, uint64_t max_window_ns) {
  // Nothing came until this side went on by itself: polling for as long would have been in vain.
  if (last_action_ == kReceived && now - last_active_ > kHopefulWindows * max_window_ns) {
    Learn(now - last_active_, max_window_ns);
  }
  last_action_ = kSent;
  last_active_ = now;
}

void Poller::NoteReceived(uint64_t now, uint64_t max_window_ns) {
  Learn(now - last_active_, max_window_ns);
  last_action_ = kReceived;
  last_active_ = now;
}

uint64_t Poller::Window(uint64_t max_window_ns) const {
  const int halvings = halvings_[last_action_];
  return halvings < kMaxHalvings ? max_window_ns >> halvings : 0;
}

// Adapts how long to poll after the last action, now that something has come `waited` nanoseconds after it: as the Linux
// kernel's KVM adapts its polling for a halted guest (Documentation/virt/kvm/halt-polling.rst). A wait that a window
// might cover doubles the window, any other halves it.
void Poller::Learn(uint64_t waited, uint64_t max_window_ns) {
  if (max_window_ns == 0) return;
  int& halvings = halvings_[last_action_];
  if (waited <= kHopefulWindows * max_window_ns) {
    halvings = std::max(halvings - 1, 0);
  } else {
    halvings = std::min(halvings + 1, kMaxHalvings);
  }
}

}  // namespace sluice
