#include "ring_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <atomic>

#include "../os/descriptor.h"
#include "../os/ring.h"
#include "poller.h"
#include "values.h"

namespace sluice {

namespace {

// A window that shrinks below this is not worth a look; it is where one begins again.
constexpr uint64_t kMinWindowNs = 10'000;
constexpr int kMaxPollMicroseconds = 1000;
// Where both ends sleep, an answer takes as long as waking both of them. So a wait of this many windows may become one that
// a window covers, as soon as both ends poll.
constexpr uint64_t kHopefulWindows = 4;

}  // namespace

Napi::Function RingChannel::Define(Napi::Env env) {
  return DefineClass(env, "RingChannel",
                     {
                         InstanceMethod<&RingChannel::Start>("start"),
                         InstanceMethod<&RingChannel::Watch>("watch"),
                         InstanceMethod<&RingChannel::Ring>("ring"),
                         InstanceMethod<&RingChannel::Close>("close"),
                         InstanceMethod<&RingChannel::Ref>("ref"),
                         InstanceMethod<&RingChannel::Unref>("unref"),
                     });
}

RingChannel::RingChannel(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<RingChannel>(info),
      LoopObject(info.This().As<Napi::Object>(),
                 FromJavaScript(info.Env(), [&] { return ToHandler(info[3], {"onWake", "onEnd"}); }),
                 "SluiceRingChannel") {
  FromJavaScript(info.Env(), [&] {
    const int fd = ToDescriptor(info[0], "fd");
    Segment& segment = Segment::From(info[1]);
    const int endpoint = ToInteger(info[2], "endpoint", 0, 1);
    const int poll_us = ToInteger(info[4], "pollMicroseconds", 0, kMaxPollMicroseconds);
    if (!os::IsSocket(fd)) throw os::ArgumentError("the doorbell must be a socket");

    os::SegmentHeader& header = segment.mapping()->segment->header();
    inbound_head_ = &header.rings[1 - endpoint].head;
    outbound_tail_ = &header.rings[endpoint].tail;
    sleeping_ = &header.endpoints[endpoint].sleeping;
    peer_ = &header.endpoints[1 - endpoint];
    capacity_ = segment.capacity();
    max_window_ns_ = static_cast<uint64_t>(poll_us) * 1000;
    std::fill(window_ns_, window_ns_ + kActions, max_window_ns_);

    Napi::Int32Array words = Napi::Int32Array::New(info.Env(), kWords);
    words_ = words.Data();
    words_object_ = Napi::Persistent(words);
    const Napi::Object self = info.This().As<Napi::Object>();
    self.DefineProperty(Napi::PropertyDescriptor::Value("words", words, napi_enumerable));
    poll_.emplace(loop(), self, fd, this, OnPoll);

    on_wake_ = Napi::Persistent(info[3].As<Napi::Object>().Get("onWake").As<Napi::Function>());

    // Nothing can fail any more.
    fd_ = environment().TakeBack(fd);
    mapping_ = segment.mapping();
    ++mapping_->channels;
  });
}

void RingChannel::Start(const Napi::CallbackInfo&) {
  if (closed() || started_) return;
  started_ = true;
  poll_->Arm(UV_READABLE);
  // What has come before is seen by the poller.
  environment().poller().Add(*this);
}

// JavaScript has sent something, and this channel was asleep.
void RingChannel::Watch(const Napi::CallbackInfo&) {
  if (closed() || !started_) return;
  sleeping_->store(os::kAwake, std::memory_order_release);
  environment().poller().Add(*this);
}

void RingChannel::Ring(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    if (!closed()) os::Wake(*peer_, info[0].As<Napi::Number>().Uint32Value(), fd_.get());
  });
}

void RingChannel::OnPoll(void* target, int status, int) {
  auto* channel = static_cast<RingChannel*>(target);
  channel->environment().FromLoop([&] { channel->HearDoorbell(status != 0); });
}

// `last`: libuv has stopped to watch the socket, which has an error (uv__poll_io). It comes after the bells.
void RingChannel::HearDoorbell(bool last) {
  char bells[1024];
  ssize_t count;
  do {
    count = os::Uninterrupted([&] { return recv(fd_.get(), bells, sizeof bells, MSG_DONTWAIT); });
  } while (last && count > 0);
  if (count == -1 && errno == EAGAIN && !last) return;
  // An end of file; or an error, which a peer leaves that goes away without hearing its own doorbell.
  if (count <= 0) return CloseAndTell("onEnd", environment().env().Undefined());
  sleeping_->store(os::kAwake, std::memory_order_release);
  environment().poller().Add(*this);
  Wake();
}

// Whether there is something to take, or the room that was waited for. What the peer wrote is judged by JavaScript.
bool RingChannel::Ready() const {
  if (inbound_head_->load(std::memory_order_acquire) != word(kTaken)) return true;
  const uint32_t tail = outbound_tail_->load(std::memory_order_acquire);
  if (word(kWaiting) != 0 && capacity_ - (word(kPublished) - tail) >= word(kWaiting)) return true;
  return mapping_->fault->load(std::memory_order_relaxed) != 0;
}

void RingChannel::Wake() {
  const uint64_t now = Poller::Now();
  NoteSending(now);
  Learn(now - last_active_);
  last_action_ = kReceived;
  last_active_ = now;
  Tell(on_wake_.Value(), {}, nullptr);
  if (!closed()) NoteSending(Poller::Now());
}

bool RingChannel::Awaits(uint64_t now) {
  NoteSending(now);
  return now < last_active_ + window_ns_[last_action_];
}

// Raises the flag, after which the peer rings; false if there is something to do after all.
bool RingChannel::Sleep() {
  // SYNC POINT 3 and 4: the flag before the last look; the peer publishes before it looks at the flag.
  sleeping_->store(os::kAsleepOnSocket, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!Ready()) return true;
  sleeping_->store(os::kAwake, std::memory_order_seq_cst);
  return false;
}

void RingChannel::NoteSending(uint64_t now) {
  if (word(kPublished) == seen_published_) return;
  seen_published_ = word(kPublished);
  // Nothing came until this side went on by itself: polling for as long would have been in vain.
  if (last_action_ == kReceived && now - last_active_ > kHopefulWindows * max_window_ns_) Learn(now - last_active_);
  last_action_ = kSent;
  last_active_ = now;
}

// Adapts how long to poll after the last action, now that something has come `waited` nanoseconds after it: as the Linux
// kernel's KVM adapts its polling for a halted guest (Documentation/virt/kvm/halt-polling.rst). A wait that a window
// might cover doubles the window, any other halves it.
void RingChannel::Learn(uint64_t waited) {
  uint64_t& window = window_ns_[last_action_];
  if (waited <= kHopefulWindows * max_window_ns_) {
    window = std::min(std::max(2 * window, kMinWindowNs), max_window_ns_);
  } else {
    window = window < 2 * kMinWindowNs ? 0 : window / 2;
  }
}

void RingChannel::Close(const Napi::CallbackInfo&) { Close(); }

void RingChannel::Close() {
  if (!BeginClosing()) return;
  if (listed()) environment().poller().Remove(*this);
  on_wake_.Reset();
  poll_.reset();
  fd_.Reset();
  --mapping_->channels;
  mapping_.reset();
  environment().DescriptorClosed();
}

void RingChannel::Ref(const Napi::CallbackInfo&) {
  if (!closed()) poll_->SetRef(true);
}

void RingChannel::Unref(const Napi::CallbackInfo&) {
  if (!closed()) poll_->SetRef(false);
}

}  // namespace sluice
