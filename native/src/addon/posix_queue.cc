#include "posix_queue.h"

#include <utility>

#include "poller.h"
#include "queue_messages.h"
#include "values.h"

namespace sluice {

Napi::Function PosixQueue::Define(Napi::Env env) {
  return DefineClass(env, "PosixQueue",
                     {
                         InstanceMethod<&PosixQueue::Start>("start"),
                         InstanceMethod<&PosixQueue::Send>("send"),
                         InstanceMethod<&PosixQueue::AwaitRoom>("awaitRoom"),
                         InstanceMethod<&PosixQueue::Poll>("poll"),
                         InstanceMethod<&PosixQueue::Held>("held"),
                         InstanceMethod<&PosixQueue::Remove>("remove"),
                         InstanceMethod<&PosixQueue::SetLastWords>("setLastWords"),
                         InstanceMethod<&PosixQueue::Close>("close"),
                         InstanceMethod<&PosixQueue::Ref>("ref"),
                         InstanceMethod<&PosixQueue::Unref>("unref"),
                         StaticMethod<&PosixQueue::RemoveDead>("removeDead"),
                     });
}

Napi::Value PosixQueue::RemoveDead(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    if (!info[0].IsString()) throw os::ArgumentError("the name must be a string");
    return ToArray(info.Env(), os::PosixQueue::RemoveDead(info[0].As<Napi::String>()));
  });
}

PosixQueue::PosixQueue(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<PosixQueue>(info),
      LoopObject(info.This().As<Napi::Object>(),
                 FromJavaScript(info.Env(), [&] { return ToHandler(info[1], {"onMessages", "onRoom", "onError"}); }),
                 "SluicePosixQueue") {
  FromJavaScript(info.Env(), [&] {
    if (!info[0].IsString()) throw os::ArgumentError("the name must be a string");
    name_ = info[0].As<Napi::String>();
    if (info[2].IsObject()) {
      const Napi::Object size = info[2].As<Napi::Object>();
      const int messages = ToInteger(size.Get("messages"), "messages", 1, 65536);
      const int message_bytes = ToInteger(size.Get("messageBytes"), "messageBytes", 1, kMaxQueueMessageBytes);
      queue_ = os::PosixQueue::Make(name_, messages, message_bytes);
      if (!queue_) throw os::SystemError(EADDRINUSE, "mq_open", name_);
      named_ = true;
    } else {
      queue_ = os::PosixQueue::Open(name_);
    }

    try {
      Napi::Object self = info.This().As<Napi::Object>();
      self.Set("uid", queue_->uid());
      self.Set("mode", queue_->mode());
      self.Set("messages", static_cast<double>(queue_->messages()));
      self.Set("messageBytes", static_cast<double>(queue_->message_bytes()));

      on_messages_ = Napi::Persistent(info[1].As<Napi::Object>().Get("onMessages").As<Napi::Function>());
      poll_.emplace(loop(), self, queue_->fd(), this, [](void* target, int, int events) {
        auto* queue = static_cast<PosixQueue*>(target);
        queue->environment().FromLoop([&] { queue->Ready(events); });
      });
    } catch (...) {
      // Nobody is told its name, who could remove it later.
      if (named_) mq_unlink(name_.c_str());
      throw;
    }
  });
}

void PosixQueue::Start(const Napi::CallbackInfo&) {
  receiving_ = true;
  Arm();
}

void PosixQueue::Ready(int events) {
  if (awaits_room_ && (events & UV_WRITABLE) != 0) {
    awaits_room_ = false;
    Arm();
    Tell("onRoom", {});
  }
  if (!closed() && receiving_) Receive();
}

// What is there, as far as it fits into the slab. The rest waits for the loop's next turn.
void PosixQueue::Receive() {
  QueueBatch batch({environment().read_slab(), kSlabBytes});
  try {
    while (batch.HasRoomFor(queue_->message_bytes())) {
      const std::optional<size_t> count = queue_->Receive(batch.Room());
      if (!count) break;
      batch.Add(*count);
    }
  } catch (const os::SystemError& error) {
    return CloseAndTell("onError", ToError(environment().env(), error).Value());
  }
  if (batch.end() == 0) return;
  environment().poller().NoteRead(max_window_ns_);
  Tell(on_messages_.Value(), {Napi::Number::New(environment().env(), static_cast<double>(batch.end()))}, nullptr);
}

Napi::Value PosixQueue::Send(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    if (closed()) throw os::ArgumentError("the queue is closed");
    AssembleMessage(info, outgoing_);
    const bool sent = queue_->Send(outgoing_);
    if (sent) environment().poller().NoteWritten(max_window_ns_);
    return Napi::Boolean::New(info.Env(), sent);
  });
}

void PosixQueue::AwaitRoom(const Napi::CallbackInfo&) {
  awaits_room_ = true;
  Arm();
}

void PosixQueue::Poll(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] { max_window_ns_ = ToPollNs(info[0]); });
}

Napi::Value PosixQueue::Held(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    if (closed()) throw os::ArgumentError("the queue is closed");
    return Napi::Boolean::New(info.Env(), queue_->held());
  });
}

void PosixQueue::Remove(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    named_ = false;
    os::PosixQueue::Unlink(name_);
  });
}

void PosixQueue::SetLastWords(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] { AssembleMessage(info, last_words_); });
}

void PosixQueue::Arm() {
  if (!closed()) poll_->Arm((receiving_ ? UV_READABLE : 0) | (awaits_room_ ? UV_WRITABLE : 0));
}

void PosixQueue::Exiting() {
  if (!last_words_.empty()) {
    try {
      queue_->Send(last_words_);
    } catch (const os::SystemError&) {
      // Nobody is left to be told, and a peer that cannot be reached has other ways to notice.
    }
  }
  Close();
}

void PosixQueue::Close() {
  if (!BeginClosing()) return;
  on_messages_.Reset();
  poll_.reset();
  // Before the queue is closed: as long as it is held, the name cannot be another's.
  if (named_) mq_unlink(name_.c_str());
  queue_.reset();
  environment().DescriptorClosed();
}

void PosixQueue::Ref(const Napi::CallbackInfo&) {
  if (!closed()) poll_->SetRef(true);
}

void PosixQueue::Unref(const Napi::CallbackInfo&) {
  if (!closed()) poll_->SetRef(false);
}

}  // namespace sluice
