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

// For how long a channel is looked at that has nothing to do while others have: a thousand busy connections may have a few
// milliseconds between two messages of one, and to be woken through the doorbell takes as long as hundreds of looks.
constexpr uint64_t kIdleNs = 20'000'000;
// How often it dozes after it was busy: while a thousand are served, their peer may pause a few times.
constexpr int kMaxDozes = 8;

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
    max_window_ns_ = ToPollNs(info[4]);
    if (!os::IsSocket(fd)) throw os::ArgumentError("the doorbell must be a socket");

    os::SegmentHeader& header = segment.mapping()->segment->header();
    inbound_head_ = &header.rings[1 - endpoint].head;
    outbound_tail_ = &header.rings[endpoint].tail;
    sleeping_ = &header.endpoints[endpoint].sleeping;
    fault_ = segment.mapping()->fault;
    peer_ = &header.endpoints[1 - endpoint];
    capacity_ = segment.capacity();

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
  Rouse();
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
  Rouse();
  environment().poller().Add(*this);
  Wake(Poller::Now());
}

// Whether there is something to take, or the room that was waited for. What the peer wrote is judged by JavaScript.
bool RingChannel::Ready() const {
  if (inbound_head_->load(std::memory_order_acquire) != word(kTaken)) return true;
  if (word(kWaiting) != 0 &&
      capacity_ - (word(kPublished) - outbound_tail_->load(std::memory_order_acquire)) >= word(kWaiting)) {
    return true;
  }
  return fault_->load(std::memory_order_relaxed) != 0;
}

// What is sent in answer is noted by the poller, which looks at the clock anyway.
void RingChannel::Wake(uint64_t now) {
  NoteSending(now);
  environment().poller().NoteReceived(now, max_window_ns_);
  last_active_ = now;
  dozes_ = 0;
  words_[kAlone] = max_window_ns_ > 0 && environment().poller().HasOne() ? 1 : 0;
  Tell(on_wake_.Value(), {}, nullptr);
}

void RingChannel::NoteSending(uint64_t now) {
  if (word(kPublished) == seen_published_) return;
  seen_published_ = word(kPublished);
  environment().poller().NoteSent(now, max_window_ns_);
  last_active_ = now;
  dozes_ = 0;
}

// While the poller polls: whether this channel should be among what it looks at.
bool RingChannel::IsWorthALook(uint64_t now) const {
  return max_window_ns_ > 0 && now < last_active_ + kIdleNs;
}

bool RingChannel::MayDoze() { return max_window_ns_ > 0 && ++dozes_ <= kMaxDozes; }

// Raises the flag, after which the peer rings; false if there is something to do after all.
bool RingChannel::Sleep() {
  // SYNC POINT 3 and 4: the flag before the last look; the peer publishes before it looks at the flag.
  sleeping_->store(os::kAsleepOnSocket, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!Ready()) return true;
  sleeping_->store(os::kAwake, std::memory_order_seq_cst);
  return false;
}

// Takes the flag back. The peer may have rung meanwhile: an empty bell.
void RingChannel::Rouse() { sleeping_->store(os::kAwake, std::memory_order_release); }

void RingChannel::Close(const Napi::CallbackInfo&) { Close(); }

void RingChannel::Close() {
  if (!BeginClosing()) return;
  environment().poller().Remove(*this);
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
