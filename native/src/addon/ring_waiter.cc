#include "ring_waiter.h"

#include <sys/socket.h>

#include "../os/descriptor.h"
#include "environment.h"
#include "values.h"

namespace sluice {

Napi::Function RingWaiter::Define(Napi::Env env) {
  return DefineClass(env, "RingWaiter",
                     {
                         InstanceMethod<&RingWaiter::Wait>("wait"),
                         InstanceMethod<&RingWaiter::Ring>("ring"),
                         InstanceMethod<&RingWaiter::Close>("close"),
                     });
}

RingWaiter::RingWaiter(const Napi::CallbackInfo& info) : Napi::ObjectWrap<RingWaiter>(info) {
  FromJavaScript(info.Env(), [&] {
    const int fd = ToDescriptor(info[0], "fd");
    Segment& segment = Segment::From(info[1]);
    const int endpoint = ToInteger(info[2], "endpoint", 0, 1);
    how_ = info[3].ToBoolean() ? os::kAsleepOnSemaphore : os::kAsleepOnSocket;
    poll_ = std::chrono::nanoseconds(ToPollNs(info[4]));
    if (!os::IsSocket(fd)) throw os::ArgumentError("the doorbell must be a socket");

    os::SegmentHeader& header = segment.mapping()->segment->header();
    inbound_ = &header.rings[1 - endpoint];
    outbound_ = &header.rings[endpoint];
    self_ = &header.endpoints[endpoint];
    peer_ = &header.endpoints[1 - endpoint];
    capacity_ = segment.capacity();

    const Napi::Int32Array words = Napi::Int32Array::New(info.Env(), kWords);
    words_object_ = Napi::Persistent(words);
    words_ = words_object_.Value().Data();
    // Nobody need ask it to poll.
    words_[kListed] = 1;
    info.This().As<Napi::Object>().DefineProperty(
        Napi::PropertyDescriptor::Value("words", words, napi_enumerable));

    fd_ = Environment::Of(info.Env()).TakeBack(fd);
    mapping_ = segment.mapping();
    ++mapping_->channels;
  });
}

Napi::Value RingWaiter::Wait(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&]() -> Napi::Value {
    if (!fd_) throw os::ArgumentError("the ring's channel is closed");
    const double milliseconds = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
    if (!(milliseconds >= 0)) throw os::ArgumentError("timeoutMs must be a number, 0 or more");
    const os::Woken woken = Wait(milliseconds);
    return Napi::Number::New(info.Env(), woken == os::Woken::kReady ? 1 : woken == os::Woken::kPeerGone ? -1 : 0);
  });
}

os::Woken RingWaiter::Wait(double milliseconds) {
  if (Ready()) return os::Woken::kReady;
  if (milliseconds == 0) return PeerGone() ? os::Woken::kPeerGone : os::Woken::kTimedOut;
  const os::Deadline deadline = os::DeadlineIn(milliseconds);
  if (os::PollBriefly(poll_, [this] { return Ready(); })) return os::Woken::kReady;
  return os::Sleep(*self_, how_, fd_.get(), deadline, [this] { return Ready(); });
}

// What the peer wrote is judged by JavaScript.
bool RingWaiter::Ready() const {
  if (inbound_->head.load(std::memory_order_seq_cst) != word(kTaken)) return true;
  const uint32_t tail = outbound_->tail.load(std::memory_order_seq_cst);
  if (word(kWaiting) != 0 && capacity_ - (word(kPublished) - tail) >= word(kWaiting)) return true;
  return mapping_->fault->load(std::memory_order_relaxed) != 0;
}

bool RingWaiter::PeerGone() const {
  pollfd item{fd_.get(), POLLRDHUP, 0};
  return os::Uninterrupted([&] { return poll(&item, 1, 0); }) == 1;
}

void RingWaiter::Ring(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    if (fd_) os::Wake(*peer_, info[0].As<Napi::Number>().Uint32Value(), fd_.get());
  });
}

void RingWaiter::Close(const Napi::CallbackInfo&) { Close(); }

void RingWaiter::Close() {
  if (!fd_) return;
  fd_.Reset();
  --mapping_->channels;
  mapping_.reset();
}

}  // namespace sluice
