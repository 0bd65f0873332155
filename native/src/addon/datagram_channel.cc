#include "datagram_channel.h"

#include "poller.h"
#include "values.h"

namespace sluice {

namespace {

// How many datagrams, or groups that the kernel has joined, one system call takes: what there is room for in the read slab.
constexpr size_t kSlots = kSlabBytes / os::kDatagramSlotBytes;
// One channel reads this often before others have their turn.
constexpr int kMaxReads = 4;

// Whether the socket itself is unusable, and not just one datagram or the way to one peer.
bool IsFatal(int error) { return error == EBADF || error == ENOTSOCK || error == EFAULT || error == EINVAL; }

}  // namespace

Napi::Function DatagramChannel::Define(Napi::Env env) {
  return DefineClass(env, "DatagramChannel",
                     {
                         InstanceMethod<&DatagramChannel::Address>("address"),
                         InstanceMethod<&DatagramChannel::ReceiveBufferBytes>("receiveBufferBytes"),
                         InstanceMethod<&DatagramChannel::LargestDatagram>("largestDatagram"),
                         InstanceMethod<&DatagramChannel::Start>("start"),
                         InstanceMethod<&DatagramChannel::Send>("send"),
                         InstanceMethod<&DatagramChannel::Close>("close"),
                         InstanceMethod<&DatagramChannel::Ref>("ref"),
                         InstanceMethod<&DatagramChannel::Unref>("unref"),
                     });
}

DatagramChannel::DatagramChannel(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<DatagramChannel>(info),
      LoopObject(info.This().As<Napi::Object>(),
                 FromJavaScript(info.Env(),
                                [&] { return ToHandler(info[2], {"onPackets", "onRefused", "onError"}); }),
                 "SluiceDatagramChannel") {
  FromJavaScript(info.Env(), [&] {
    const os::Address address = ToAddress(info[0]);
    if (address.family() == AF_UNIX) throw os::ArgumentError("a datagram channel needs an IP address");
    state_.ipv6 = address.family() == AF_INET6;
    state_.connected = info[1].ToBoolean();
    fd_ = os::DatagramSocket(address, state_.connected);
    state_.segments = os::CanSegment(fd_.get());
    poll_.emplace(loop(), info.This().As<Napi::Object>(), fd_.get(), this, [](void* target, int status, int) {
      auto* channel = static_cast<DatagramChannel*>(target);
      channel->environment().FromLoop([&] { channel->Ready(status); });
    });
    max_window_ns_ = ToPollNs(info[3]);
    on_packets_ = Napi::Persistent(info[2].As<Napi::Object>().Get("onPackets").As<Napi::Function>());
  });
}

Napi::Value DatagramChannel::Address(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    if (closed()) throw os::ArgumentError("the channel is closed");
    return ToObject(info.Env(), os::Address::Local(fd_.get()));
  });
}

Napi::Value DatagramChannel::ReceiveBufferBytes(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    if (closed()) throw os::ArgumentError("the channel is closed");
    return Napi::Number::New(info.Env(), os::GetOption(fd_.get(), SOL_SOCKET, SO_RCVBUF));
  });
}

Napi::Value DatagramChannel::LargestDatagram(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    if (closed()) throw os::ArgumentError("the channel is closed");
    const os::Address to = state_.connected ? os::Address::Remote(fd_.get()) : ToAddress(info[0]);
    return Napi::Number::New(info.Env(), os::LargestDatagram(to));
  });
}

void DatagramChannel::Start(const Napi::CallbackInfo&) {
  if (!closed()) poll_->Arm(UV_READABLE);
}

void DatagramChannel::Send(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    if (closed()) throw os::ArgumentError("the channel is closed");
    if (!info[0].IsTypedArray()) throw os::ArgumentError("the records must be in a Uint8Array");
    Napi::Uint8Array array = info[0].As<Napi::Uint8Array>();
    const auto end = static_cast<size_t>(ToInteger(info[1], "end", 0, static_cast<int>(array.ElementLength())));
    os::DatagramSender sender(fd_.get(), state_);
    for (size_t at = 0; at < end;) {
      auto* record = reinterpret_cast<os::DatagramRecord*>(array.Data() + at);
      if (at % 4 != 0 || end - at < sizeof *record || record->length <= 0 || record->segment <= 0 ||
          record->segment > UINT16_MAX || static_cast<size_t>(record->length) > end - at - sizeof *record ||
          record->next < record->length + static_cast<int32_t>(sizeof *record)) {
        throw os::ArgumentError("malformed record at byte " + std::to_string(at));
      }
      sender.Add(*record);
      at += static_cast<size_t>(record->next);
    }
    sender.Flush();
    environment().poller().NoteWritten(max_window_ns_);
  });
}

void DatagramChannel::Ready(int status) {
  // What a peer sent before it went away comes first: it may say more than that there is nobody any more.
  Receive();
  if (status != 0 && !closed()) TakeErrors();
  // After an error libuv polls no more by itself.
  if (!closed()) poll_->Arm(UV_READABLE);
}

void DatagramChannel::TakeErrors() {
  auto* record = reinterpret_cast<os::DatagramRecord*>(environment().read_slab());
  while (!closed()) {
    const os::NetworkError error = os::TakeNetworkError(fd_.get(), *record);
    if (error == os::NetworkError::kNone) return;
    if (error == os::NetworkError::kRefused) Tell("onRefused", {});
  }
}

void DatagramChannel::Receive() {
  const Napi::Env env = environment().env();
  for (int round = 0; round < kMaxReads && !closed(); ++round) {
    const Napi::HandleScope scope(env);
    const ssize_t end = os::ReceiveDatagrams<kSlots>(fd_.get(), environment().read_slab());
    if (end > 0) {
      environment().poller().NoteRead(max_window_ns_);
      Tell(on_packets_.Value(), {Napi::Number::New(env, static_cast<double>(end))}, nullptr);
      // Not all slots were needed: that was all.
      if (static_cast<size_t>(end) <= (kSlots - 1) * os::kDatagramSlotBytes) return;
    } else if (errno == EAGAIN) {
      return;
    } else if (IsFatal(errno)) {
      return CloseAndTell("onError", ToError(env, os::SystemError(errno, "recvmmsg")).Value());
    }
    // Otherwise it was the error of a datagram that was sent, which the queue tells of with its address.
  }
}

void DatagramChannel::Close() {
  if (!BeginClosing()) return;
  on_packets_.Reset();
  poll_.reset();
  fd_.Reset();
  environment().DescriptorClosed();
}

void DatagramChannel::SetRef(bool on) {
  if (!closed()) poll_->SetRef(on);
}

}  // namespace sluice
