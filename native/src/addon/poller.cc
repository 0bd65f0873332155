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

constexpr int kLooksPerYield = 20;

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
    const bool served = Serve() || Spin();
    now = Now();
    if (served) {
      done = now >= end;
    } else {
      // Whoever has the loop not wait (setImmediate, another handle that is ready) is not kept waiting either.
      done = now >= end || !AnyAwaits(now) || uv_backend_timeout(environment_.loop().get()) == 0;
      // To a process that shares this processor, for which this one may be waiting.
      if (!done) sched_yield();
    }
  }

  if (PutToSleep(now)) uv_idle_start(idle_.get(), [](uv_idle_t*) {});
  std::erase(channels_, nullptr);
  if (channels_.empty()) uv_prepare_stop(prepare_.get());
}

// Wakes every channel that has something to do. Whether there was one.
bool Poller::Serve() {
  bool served = false;
  for (size_t index = 0; index < channels_.size(); ++index) {
    RingChannel* const channel = channels_[index];
    if (channel == nullptr || !channel->Ready()) continue;
    served = true;
    environment_.FromLoop([channel] { channel->Wake(); });
  }
  return served;
}

// A sched_yield(2) takes half a microsecond in which nothing is seen, so there are some looks before each.
bool Poller::Spin() {
  for (int look = 0; look < kLooksPerYield; ++look) {
    os::Relax();
    if (Serve()) return true;
  }
  return false;
}

bool Poller::AnyAwaits(uint64_t now) const {
  return std::any_of(channels_.begin(), channels_.end(),
                     [now](RingChannel* channel) { return channel != nullptr && channel->Awaits(now); });
}

// Takes out the channels that have nothing to wait for any more. Whether some must be looked at again without waiting.
bool Poller::PutToSleep(uint64_t now) {
  bool again = false;
  for (RingChannel*& channel : channels_) {
    if (channel == nullptr) continue;
    if (channel->Awaits(now) || !channel->Sleep()) {
      again = true;
    } else {
      channel->set_listed(false);
      channel = nullptr;
    }
  }
  return again;
}

}  // namespace sluice
