#include "poller.h"

#include <sched.h>
#include <sys/epoll.h>

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
  Begin();
}

void Poller::Remove(RingChannel& channel) {
  if (!channel.listed()) return;
  channel.set_listed(false);
  *std::find(channels_.begin(), channels_.end(), &channel) = nullptr;
}

void Poller::NoteWritten(uint64_t max_window_ns) {
  if (max_window_ns == 0) return;
  window_.NoteSent(Now(), max_window_ns);
  looks_at_descriptors_ = true;
  Begin();
}

void Poller::NoteRead(uint64_t max_window_ns) {
  if (max_window_ns == 0) return;
  window_.NoteReceived(Now(), max_window_ns);
  looks_at_descriptors_ = true;
  Begin();
}

void Poller::Begin() {
  uv_prepare_start(prepare_.get(), [](uv_prepare_t* handle) { static_cast<Poller*>(handle->data)->Run(); });
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
      window_.Prolong(now);
      done = now >= end;
    } else {
      // Whoever has the loop not wait (setImmediate, another handle that is ready) is not kept waiting either.
      done = now >= end || !Awaits(now) || uv_backend_timeout(environment_.loop().get()) == 0 || DescriptorIsReady();
      // To a process that shares this processor, for which this one may be waiting.
      if (!done) sched_yield();
    }
  }

  const bool again = PutToSleep(now);
  std::erase(channels_, nullptr);
  if (again) {
    uv_idle_start(idle_.get(), [](uv_idle_t*) {});
  } else {
    looks_at_descriptors_ = false;
    if (channels_.empty()) uv_prepare_stop(prepare_.get());
  }
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
  for (size_t looks = 0; looks < kLooksPerYield && !channels_.empty(); looks += channels_.size()) {
    os::Relax();
    if (Serve(now)) return true;
  }
  return false;
}

// Whether it pays to poll on.
bool Poller::Awaits(uint64_t now) {
  for (RingChannel* channel : channels_) {
    if (channel != nullptr) channel->NoteSending(now);
  }
  return window_.IsOpen(now);
}

// A look that takes nothing away from libuv, whose epoll instance tells again of what is still ready (epoll(7), level-triggered).
// It costs a fifth of a microsecond, whatever the number of descriptors.
bool Poller::DescriptorIsReady() const {
  epoll_event event;
  return looks_at_descriptors_ && epoll_wait(uv_backend_fd(environment_.loop().get()), &event, 1, 0) > 0;
}

// Takes out the channels that have nothing to wait for any more. Whether some must be looked at again without waiting.
bool Poller::PutToSleep(uint64_t now) {
  const bool awaits = Awaits(now);
  bool again = awaits && looks_at_descriptors_;
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

}  // namespace sluice
