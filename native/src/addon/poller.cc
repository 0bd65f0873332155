#include "poller.h"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <utility>

#include "../os/wait.h"
#include "environment.h"
#include "ring_channel.h"

namespace sluice {

namespace {

// However busy the rings are, timers and other descriptors have their turn this often. A loop that prolonged itself with
// every message was seen to fire a 10 ms timer after 44 ms.
constexpr uint64_t kMaxTurnNs = 200'000;

constexpr size_t kLooksPerYield = 20;

// How many channels are woken before microtasks run: for each alone a process with some tens of busy ones makes a fifth fewer calls; and
// of a thousand at once, what the first ones have touched has left the processor's caches by then.
constexpr size_t kWokenAtOnce = 8;

// How often to see which channels have nothing to do any more, while others have.
constexpr uint64_t kSortNs = 1'000'000;

}  // namespace

Poller::Poller(Environment& environment)
    : environment_(environment),
      idle_(environment.loop(), Napi::Object(), this,
            [](uv_loop_t* uv, uv_idle_t* handle) { uv_idle_init(uv, handle); }) {
  // What is only to have the loop not wait does not keep the process alive.
  idle_.SetRef(false);
}

void Poller::Add(RingChannel& channel) {
  if (channel.listed()) return;
  channel.set_listed(true);
  channels_.push_back(&channel);
}

void Poller::Remove(RingChannel& channel) {
  for (std::vector<RingChannel*>* list : {&channels_, &dozing_, &ready_}) {
    std::replace(list->begin(), list->end(), &channel, static_cast<RingChannel*>(nullptr));
  }
  channel.set_listed(false);
}

void Poller::Run() {
  uv_idle_stop(idle_.get());
  if (!channels_.empty()) WakeDozing();

  uint64_t now = Now();
  const uint64_t end = now + kMaxTurnNs;
  NoteSending(now);
  for (bool done = false; !done;) {
    const bool served = Serve(now) || Spin(now);
    now = Now();
    if (served) {
      NoteSending(now);
      window_.Prolong(now);
      done = now >= end;
    } else {
      // Whoever has the loop not wait (setImmediate, another handle that is ready) is not kept waiting either.
      done = now >= end || !window_.IsOpen(now) || uv_backend_timeout(environment_.loop().get()) == 0 ||
             DescriptorIsReady();
      // To a process that shares this processor, for which this one may be waiting.
      if (!done) sched_yield();
    }
  }

  if (PutToSleep(now)) uv_idle_start(idle_.get(), [](uv_idle_t*) {});
  std::erase(channels_, nullptr);
}

void Poller::WakeDozing() {
  for (RingChannel* channel : std::exchange(dozing_, {})) {
    if (channel == nullptr || channel->listed()) continue;
    channel->Rouse();
    channel->set_listed(true);
    channels_.push_back(channel);
  }
}

// Wakes every channel that has something to do, as of `now`: looking at the clock for each would take longer than looking at
// its ring. Whether there was one.
bool Poller::Serve(uint64_t now) {
  ready_.clear();
  for (RingChannel* channel : channels_) {
    if (channel != nullptr && channel->Ready()) ready_.push_back(channel);
  }
  if (ready_.size() == 1) environment_.FromLoop([&] { ready_[0]->Wake(now); });
  if (ready_.size() <= 1) return !ready_.empty();
  for (size_t begin = 0; begin < ready_.size(); begin += kWokenAtOnce) {
    const size_t end = std::min(begin + kWokenAtOnce, ready_.size());
    environment_.FromLoop([&] {
      environment_.InOneTurn([&] {
        for (size_t index = begin; index < end; ++index) {
          // None if one of those before it has closed it.
          if (ready_[index] != nullptr) ready_[index]->Wake(now);
        }
      });
    });
  }
  return true;
}

// A sched_yield(2) takes half a microsecond in which nothing is seen, so there are some looks before each.
bool Poller::Spin(uint64_t now) {
  for (size_t looks = 0; looks < kLooksPerYield && !channels_.empty(); looks += channels_.size()) {
    os::Relax();
    if (Serve(now)) return true;
  }
  return false;
}

// JavaScript may have sent something since it was last asked.
void Poller::NoteSending(uint64_t now) {
  for (RingChannel* channel : channels_) {
    if (channel != nullptr) channel->NoteSending(now);
  }
}

// A look that takes nothing away from libuv, as epoll_wait(2) would where a descriptor is watched by edges: that of
// uv_async_send, in libuv 1.49. It costs a quarter of a microsecond, whatever the number of descriptors.
bool Poller::DescriptorIsReady() const {
  pollfd item{uv_backend_fd(environment_.loop().get()), POLLIN, 0};
  return poll(&item, 1, 0) > 0;
}

// Takes out the channels that have nothing to wait for any more. Whether some, or descriptors, must be looked at again without
// waiting.
bool Poller::PutToSleep(uint64_t now) {
  const bool awaits = window_.IsOpen(now);
  // To look at each takes time, of which there are many turns.
  if (awaits && now < sorted_ + kSortNs) return true;
  sorted_ = now;
  bool again = awaits;
  for (RingChannel*& channel : channels_) {
    if (channel == nullptr) continue;
    if ((awaits && channel->IsWorthALook(now)) || !channel->Sleep()) {
      again = true;
    } else {
      channel->set_listed(false);
      if (!awaits && channel->MayDoze()) dozing_.push_back(channel);
      channel = nullptr;
    }
  }
  return again;
}

}  // namespace sluice
