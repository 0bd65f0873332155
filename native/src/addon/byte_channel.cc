#include "byte_channel.h"

#include <sys/socket.h>

#include <span>
#include <vector>

#include "../os/descriptor.h"
#include "../os/rights.h"
#include "../os/socket.h"
#include "poller.h"
#include "values.h"

namespace sluice {

namespace {

// One channel reads this often before others have their turn.
constexpr int kMaxReads = 4;
// What one message with descriptors may carry in bytes. What the kernel leaves of it always fits into an empty slab.
constexpr size_t kMaxBytesWithDescriptors = 4096;

// What a pipe holds that was full once. With the 64 KiB that pipes have, large messages take a fifth longer, and with
// more than this no less. 128 connections of one unprivileged user's processes may have that much (pipe(7)).
constexpr int kPipeBytes = 256 << 10;

}  // namespace

Napi::Function ByteChannel::Define(Napi::Env env) {
  return DefineClass(env, "ByteChannel",
                     {
                         InstanceMethod<&ByteChannel::Start>("start"),
                         InstanceMethod<&ByteChannel::Acquire>("acquire"),
                         InstanceMethod<&ByteChannel::Flush>("flush"),
                         InstanceMethod<&ByteChannel::WantWritable>("wantWritable"),
                         InstanceMethod<&ByteChannel::ShutdownWrite>("shutdownWrite"),
                         InstanceMethod<&ByteChannel::Close>("close"),
                         InstanceMethod<&ByteChannel::Detach>("detach"),
                         InstanceMethod<&ByteChannel::Ref>("ref"),
                         InstanceMethod<&ByteChannel::Unref>("unref"),
                         InstanceMethod<&ByteChannel::SendDescriptors>("sendDescriptors"),
                     });
}

ByteChannel::ByteChannel(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ByteChannel>(info),
      LoopObject(info.This().As<Napi::Object>(),
                 FromJavaScript(info.Env(),
                                [&] { return ToHandler(info[2], {"onRead", "onWritable", "onEnd", "onError"}); }),
                 "SluiceByteChannel"),
      id_(environment().NextChannelId()) {
  FromJavaScript(info.Env(), [&] {
    const int read_fd = ToDescriptor(info[0], "readFd");
    const int write_fd = ToDescriptor(info[1], "writeFd");
    const Napi::Object handler = info[2].As<Napi::Object>();
    if (info[3].IsObject()) {
      const Napi::Value limit = info[3].As<Napi::Object>().Get("maxDescriptors");
      if (!limit.IsUndefined()) {
        descriptors_left_ = ToInteger(limit, "maxDescriptors", 0, static_cast<int>(os::kMaxDescriptors));
      }
      const Napi::Value most = info[3].As<Napi::Object>().Get("maxReadBytes");
      if (!most.IsUndefined()) max_read_ = ToInteger(most, "maxReadBytes", 1, static_cast<int>(kSlabBytes));
      max_window_ns_ = ToPollNs(info[3].As<Napi::Object>().Get("pollMicroseconds"));
    }
    if (descriptors_left_ > 0) ToHandler(handler, {"onDescriptors"});
    reads_socket_ = os::IsSocket(read_fd);
    writes_socket_ = os::IsSocket(write_fd);
    if (descriptors_left_ > 0 && !reads_socket_) throw os::ArgumentError("only a Unix socket carries descriptors");

    const Napi::Object self = info.This().As<Napi::Object>();
    read_poll_.emplace(loop(), self, read_fd, this, OnPoll);
    if (write_fd != read_fd) write_poll_.emplace(loop(), self, write_fd, this, OnPoll);
    on_read_ = Napi::Persistent(handler.Get("onRead").As<Napi::Function>());
    info.This().As<Napi::Object>().DefineProperty(
        Napi::PropertyDescriptor::Value("id", Napi::Number::New(info.Env(), id_), napi_enumerable));

    // Nothing can fail any more.
    read_fd_ = environment().TakeBack(read_fd);
    if (write_fd != read_fd) write_fd_ = environment().TakeBack(write_fd);
  });
}

// ---- Reading

void ByteChannel::Start(const Napi::CallbackInfo&) {
  if (!closed()) {
    reading_ = true;
    UpdatePolling();
  }
}

void ByteChannel::OnPoll(void* target, int status, int events) {
  auto* channel = static_cast<ByteChannel*>(target);
  channel->environment().FromLoop([&] { channel->Ready(status, events); });
}

void ByteChannel::Ready(int status, int events) {
  // With a bad status libuv says only that poll(2) told of an error: reading and writing find out which.
  if (slab_ != nullptr && waits_for_room_ && (status != 0 || (events & UV_WRITABLE) != 0)) Flush();
  if (reading_ && (status != 0 || (events & UV_READABLE) != 0)) Read();
  if (closed() || status == 0) return;
  // They found nothing: it may be an error that was waiting to be asked for. If not, go on polling.
  for (const os::UniqueFd* fd : {&read_fd_, &write_fd_}) {
    if (!*fd || !os::IsSocket(fd->get())) continue;
    const int error = os::PendingError(fd->get());
    if (error != 0) Fail(error, "poll");
  }
  UpdatePolling();
}

void ByteChannel::Read() {
  for (int round = 0; round < kMaxReads && reading_; ++round) {
    const size_t room = max_read_ - carry_;
    const ssize_t count = ReadSome();
    if (count > 0) {
      environment().poller().NoteRead(max_window_ns_);
      PassOn(carry_ + static_cast<size_t>(count));
      // Less than asked for: that was all.
      if (static_cast<size_t>(count) < room) return;
    } else if (count == 0) {
      return EndOfFile();
    } else if (errno == EAGAIN) {
      return;
    } else {
      Fail(errno, reads_socket_ ? "recv" : "read");
      return TellFailure();
    }
  }
}

// Like read(2).
ssize_t ByteChannel::ReadSome() {
  uint8_t* const memory = environment().read_slab() + carry_;
  const size_t room = max_read_ - carry_;
  const int fd = read_fd_.get();
  if (!reads_socket_) return os::Uninterrupted([=] { return read(fd, memory, room); });
  if (descriptors_left_ == 0) return os::Uninterrupted([=] { return recv(fd, memory, room, MSG_DONTWAIT); });

  std::vector<os::UniqueFd> fds;
  bool truncated = false;
  const ssize_t count = os::ReceiveWithDescriptors(fd, std::as_writable_bytes(std::span(memory, room)),
                                                   descriptors_left_, fds, truncated);
  if (count <= 0) return count;
  if (truncated) {
    const int error = os::TruncationError(fds.size(), descriptors_left_);
    fds.clear();
    errno = error;
    return -1;
  }
  if (fds.empty()) return count;
  descriptors_left_ -= fds.size();
  const Napi::Env env = environment().env();
  const Napi::Array numbers = Napi::Array::New(env, fds.size());
  for (uint32_t index = 0; index < fds.size(); ++index) {
    numbers.Set(index, Napi::Number::New(env, fds[index].get()));
  }
  for (os::UniqueFd& received : fds) environment().Lend(std::move(received));
  Tell("onDescriptors", {numbers});
  return count;
}

// Hands readSlab[0..end) to the handler.
void ByteChannel::PassOn(size_t end) {
  if (closed()) return;
  const Napi::Env env = environment().env();
  napi_value result = nullptr;
  const bool ok = Tell(on_read_.Value(), {Napi::Number::New(env, static_cast<double>(end))}, &result);
  if (closed()) return;
  uint32_t carry = 0;
  if (ok && napi_get_value_uint32(env, result, &carry) == napi_ok && carry <= end && carry < max_read_) {
    carry_ = carry;
    return;
  }
  // Where the next frame begins is lost.
  Close();
  if (ok) throw Napi::RangeError::New(env, "onRead must return how many of its bytes are an incomplete frame");
}

void ByteChannel::EndOfFile() {
  if (error_ != 0) return TellFailure();
  reading_ = false;
  UpdatePolling();
  Tell("onEnd", {});
}

// ---- Writing

Napi::Value ByteChannel::Acquire(const Napi::CallbackInfo& info) {
  if (closed()) throw Napi::Error::New(info.Env(), "the channel is closed");
  if (finishing_) throw Napi::Error::New(info.Env(), "the channel was shut down for writing");
  return TakeSlab().object();
}

Slab& ByteChannel::TakeSlab() {
  if (slab_ == nullptr) {
    slab_ = environment().TakeSlab(id_);
    environment().MarkDirty(*this);
  }
  return *slab_;
}

void ByteChannel::Flush(const Napi::CallbackInfo&) {
  if (!held()) Flush();
}

void ByteChannel::Flush() {
  environment().MarkClean(*this);
  if (slab_ == nullptr) return;
  int32_t& start = slab_->start();
  const int32_t end = slab_->end();
  if (error_ != 0) return Drained();  // there is no more writing; the failure is about to be told
  if (start < Slab::kDataStart || start > end || end > static_cast<int32_t>(kSlabBytes)) return Fail(EINVAL, "write");

  while (start < end) {
    const uint8_t* const memory = slab_->memory() + start;
    const size_t count = static_cast<size_t>(end - start);
    const int fd = write_fd();
    const ssize_t written = os::Uninterrupted([&] {
      // No SIGPIPE. For pipes, which have no such flag, Node ignores the signal.
      return writes_socket_ ? send(fd, memory, count, MSG_NOSIGNAL | MSG_DONTWAIT) : write(fd, memory, count);
    });
    if (written == -1 && errno != EAGAIN) return Fail(errno, writes_socket_ ? "send" : "write");
    if (written > 0) {
      start += static_cast<int32_t>(written);
      environment().poller().NoteWritten(max_window_ns_);
    }
    if (start < end && !EnlargePipe()) {
      waits_for_room_ = true;
      return UpdatePolling();
    }
  }
  Drained();
}

// Only once it was full, since a user's pipes share a limit. Whether there is more room now.
bool ByteChannel::EnlargePipe() {
  if (writes_socket_ || enlarged_) return false;
  enlarged_ = true;
  return os::EnlargePipe(write_fd(), kPipeBytes);
}

void ByteChannel::Drained() {
  environment().GiveBack(std::move(slab_));
  if (waits_for_room_) {
    waits_for_room_ = false;
    UpdatePolling();
  }
  if (finishing_) FinishWriting();
  if (wants_writable_) environment().Notify(*this);
}

void ByteChannel::WantWritable(const Napi::CallbackInfo&) {
  if (!closed()) {
    wants_writable_ = true;
    if (slab_ == nullptr) environment().Notify(*this);
  }
}

void ByteChannel::ShutdownWrite(const Napi::CallbackInfo&) {
  if (!closed() && !finishing_) {
    finishing_ = true;
    if (slab_ == nullptr) FinishWriting();
  }
}

void ByteChannel::FinishWriting() {
  if (write_fd_) {
    write_poll_.reset();
    write_fd_.Reset();
    environment().DescriptorClosed();
  } else if (error_ == 0 && writes_socket_ && shutdown(read_fd_.get(), SHUT_WR) == -1) {
    Fail(errno, "shutdown");
  }
}

void ByteChannel::SendDescriptors(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    if (closed() || finishing_) throw os::ArgumentError("the channel is closed, or shut down for writing");
    if (!info[0].IsTypedArray()) throw os::ArgumentError("the bytes must be a Uint8Array");
    if (!info[1].IsArray()) throw os::ArgumentError("the descriptors must be an array");
    const Napi::Uint8Array array = info[0].As<Napi::Uint8Array>();
    const auto bytes = std::as_bytes(std::span(array.Data(), array.ElementLength()));
    if (bytes.empty() || bytes.size() > kMaxBytesWithDescriptors) {
      throw os::ArgumentError("1 to 4096 bytes go with descriptors, not " + std::to_string(bytes.size()));
    }
    const Napi::Array list = info[1].As<Napi::Array>();
    if (list.Length() == 0 || list.Length() > os::kMaxDescriptors) {
      throw os::ArgumentError("1 to 253 descriptors go at once, not " + std::to_string(list.Length()));
    }
    std::vector<int> fds;
    for (uint32_t index = 0; index < list.Length(); ++index) {
      fds.push_back(ToDescriptor(list.Get(index), "a descriptor"));
    }

    if (!held()) Flush();
    if (slab_ != nullptr) throw os::SystemError(EAGAIN, "sendmsg", "earlier bytes are still unsent");
    const size_t sent = os::SendWithDescriptors(write_fd(), bytes, fds);
    if (sent < bytes.size()) {
      Slab& slab = TakeSlab();
      memcpy(slab.memory() + slab.end(), bytes.data() + sent, bytes.size() - sent);
      slab.end() += static_cast<int32_t>(bytes.size() - sent);
    }
  });
}

// ---- Failing and closing

// To be told by Deliver, since this may be inside a method that JavaScript called.
void ByteChannel::Fail(int error, const char* call) {
  if (error_ == 0) {
    error_ = error;
    failed_call_ = call;
  }
  if (slab_ != nullptr) {
    environment().MarkClean(*this);
    environment().GiveBack(std::move(slab_));
  }
  waits_for_room_ = false;
  UpdatePolling();
  environment().Notify(*this);
}

void ByteChannel::TellFailure() {
  const Napi::Env env = environment().env();
  CloseAndTell("onError", ToError(env, os::SystemError(error_, failed_call_)).Value());
}

void ByteChannel::Deliver() {
  if (error_ != 0) {
    // What the peer sent before it went away is still there to be read.
    if (reading_) Read();
    if (!closed()) TellFailure();
  } else if (wants_writable_ && slab_ == nullptr) {
    wants_writable_ = false;
    Tell("onWritable", {});
  }
}

void ByteChannel::Close(const Napi::CallbackInfo&) {
  Close();
}

Napi::Value ByteChannel::Detach(const Napi::CallbackInfo& info) {
  if (closed() || finishing_ || slab_ != nullptr || write_fd_) {
    throw Napi::Error::New(info.Env(), "only one descriptor with nothing unsent can be taken out of its channel");
  }
  const int fd = environment().Lend(std::move(read_fd_));
  Close();
  return Napi::Number::New(info.Env(), fd);
}

void ByteChannel::Close() {
  if (!BeginClosing()) return;
  reading_ = false;
  environment().MarkClean(*this);
  pending_.Unlink();
  if (slab_ != nullptr) environment().GiveBack(std::move(slab_));
  on_read_.Reset();
  read_poll_.reset();
  write_poll_.reset();
  read_fd_.Reset();
  write_fd_.Reset();
  environment().DescriptorClosed();
}

void ByteChannel::Ref(const Napi::CallbackInfo&) {
  refs_ = true;
  UpdatePolling();
}

void ByteChannel::Unref(const Napi::CallbackInfo&) {
  refs_ = false;
  UpdatePolling();
}

// Reading is armed from start to end, not again for each message: that would cost a system call.
void ByteChannel::UpdatePolling() {
  if (closed()) return;
  const int writable = waits_for_room_ ? UV_WRITABLE : 0;
  if (write_poll_) write_poll_->Arm(writable);
  read_poll_->Arm((reading_ ? UV_READABLE : 0) | (write_fd_ ? 0 : writable));
  read_poll_->SetRef(refs_ || (waits_for_room_ && !write_fd_));
}

}  // namespace sluice
