#include "sysv_queue.h"

#include <algorithm>
#include <cstring>

#include "poller.h"
#include "queue_messages.h"
#include "values.h"

namespace sluice {

namespace {

// No event tells that a queue has room again (msgop(2)), so whoever found it full looks again: soon at first, later no
// more often than costs next to nothing.
constexpr uint64_t kMinWaitMs = 1;
constexpr uint64_t kMaxWaitMs = 64;

}  // namespace

Napi::Function SysvQueue::Define(Napi::Env env) {
  return DefineClass(env, "SysvQueue",
                     {
                         InstanceMethod<&SysvQueue::Start>("start"),
                         InstanceMethod<&SysvQueue::Send>("send"),
                         InstanceMethod<&SysvQueue::AwaitRoom>("awaitRoom"),
                         InstanceMethod<&SysvQueue::Poll>("poll"),
                         InstanceMethod<&SysvQueue::Held>("held"),
                         InstanceMethod<&SysvQueue::Remove>("remove"),
                         InstanceMethod<&SysvQueue::Note>("note"),
                         InstanceMethod<&SysvQueue::Forget>("forget"),
                         InstanceMethod<&SysvQueue::SetLastWords>("setLastWords"),
                         InstanceMethod<&SysvQueue::Close>("close"),
                         InstanceMethod<&SysvQueue::Ref>("ref"),
                         InstanceMethod<&SysvQueue::Unref>("unref"),
                         StaticMethod<&SysvQueue::RemoveDead>("removeDead"),
                     });
}

Napi::Value SysvQueue::RemoveDead(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    if (!info[0].IsObject()) throw os::ArgumentError("which queue must be { key } or { id }");
    const Napi::Object which = info[0].As<Napi::Object>();
    const Napi::Value key = which.Get("key");
    std::vector<std::vector<uint8_t>> left;
    if (key.IsUndefined()) {
      os::SysvQueue(ToInteger(which.Get("id"), "id", 0, INT32_MAX)).RemoveIfDead();
    } else {
      left = os::SysvQueue::RemoveDead(ToInteger(key, "key", INT32_MIN, INT32_MAX));
    }
    return ToArray(info.Env(), left);
  });
}

SysvQueue::SysvQueue(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SysvQueue>(info),
      LoopObject(info.This().As<Napi::Object>(),
                 FromJavaScript(info.Env(), [&] { return ToHandler(info[1], {"onMessages", "onRoom", "onError"}); }),
                 "SluiceSysvQueue"),
      next_wait_ms_(kMinWaitMs) {
  FromJavaScript(info.Env(), [&] {
    if (!info[0].IsObject()) throw os::ArgumentError("which queue must be { key }, { id } or {}");
    const Napi::Object which = info[0].As<Napi::Object>();
    const Napi::Value key = which.Get("key");
    const Napi::Value id = which.Get("id");
    made_ = info[2].ToBoolean() || (key.IsUndefined() && id.IsUndefined());
    Napi::Object self = info.This().As<Napi::Object>();
    arrived_.emplace(loop(), self, this, [](uv_loop_t* uv, uv_async_t* handle) {
      uv_async_init(uv, handle, [](uv_async_t* handle) {
        auto* queue = static_cast<SysvQueue*>(handle->data);
        queue->environment().FromLoop([&] { queue->Receive(); });
      });
    });
    arrived_->SetRef(false);
    room_.emplace(loop(), self, this, [](void* target) {
      auto* queue = static_cast<SysvQueue*>(target);
      queue->environment().FromLoop([&] { queue->Tell("onRoom", {}); });
    });
    on_messages_ = Napi::Persistent(info[1].As<Napi::Object>().Get("onMessages").As<Napi::Function>());

    if (!key.IsUndefined()) {
      const key_t number = ToInteger(key, "key", INT32_MIN, INT32_MAX);
      if (number == IPC_PRIVATE) throw os::ArgumentError("0 is no key");
      queue_ = made_ ? os::SysvQueue::Make(number) : os::SysvQueue::Find(number);
      if (!queue_) throw os::SystemError(EADDRINUSE, "msgget", std::to_string(number));
    } else {
      queue_ = made_ ? os::SysvQueue::Make() : os::SysvQueue(ToInteger(id, "id", 0, INT32_MAX));
    }
    const msqid_ds status = queue_->Status();
    message_bytes_ = std::min<size_t>(status.msg_qbytes, kMaxQueueMessageBytes);
    self.Set("id", queue_->id());
    self.Set("key", static_cast<double>(status.msg_perm.__key));
    self.Set("uid", status.msg_perm.uid);
    self.Set("mode", status.msg_perm.mode & 0777);
    self.Set("bytes", static_cast<double>(status.msg_qbytes));
    self.Set("senderPid", status.msg_lspid);
    self.Set("receiverPid", queue_->Receiver());
  });
}

void SysvQueue::Start(const Napi::CallbackInfo& info) {
  WhileOpen(info, [&] {
    uv_async_t* const arrived = arrived_->get();
    receiver_.emplace(*queue_, message_bytes_, [arrived] { uv_async_send(arrived); });
    arrived_->SetRef(true);
  });
}

void SysvQueue::Receive() {
  if (closed()) return;
  const Napi::Env env = environment().env();
  try {
    receiver_->Take(batch_);
  } catch (const os::SystemError& error) {
    return CloseAndTell("onError", ToError(env, error).Value());
  }
  if (batch_.empty()) return;
  environment().poller().NoteRead(max_window_ns_);
  memcpy(environment().read_slab(), batch_.data(), batch_.size());
  Tell(on_messages_.Value(), {Napi::Number::New(env, static_cast<double>(batch_.size()))}, nullptr);
}

Napi::Value SysvQueue::Send(const Napi::CallbackInfo& info) {
  bool sent = false;
  WhileOpen(info, [&] {
    AssembleMessage(info, outgoing_);
    sent = queue_->Send(outgoing_);
  });
  if (sent) {
    next_wait_ms_ = kMinWaitMs;
    environment().poller().NoteWritten(max_window_ns_);
  }
  return Napi::Boolean::New(info.Env(), sent);
}

void SysvQueue::AwaitRoom(const Napi::CallbackInfo&) {
  if (closed()) return;
  room_->Start(next_wait_ms_);
  next_wait_ms_ = std::min(2 * next_wait_ms_, kMaxWaitMs);
}

void SysvQueue::Poll(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] { max_window_ns_ = ToPollNs(info[0]); });
}

Napi::Value SysvQueue::Held(const Napi::CallbackInfo& info) {
  bool held = false;
  WhileOpen(info, [&] { held = queue_->held(); });
  return Napi::Boolean::New(info.Env(), held);
}

void SysvQueue::Remove(const Napi::CallbackInfo& info) {
  WhileOpen(info, [&] { queue_->Remove(); });
}

void SysvQueue::Note(const Napi::CallbackInfo& info) {
  WhileOpen(info, [&] { queue_->Note(ToInteger(info[0], "id", 0, INT32_MAX)); });
}

void SysvQueue::Forget(const Napi::CallbackInfo& info) {
  if (!closed()) queue_->Forget(ToInteger(info[0], "id", 0, INT32_MAX));
}

void SysvQueue::SetLastWords(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] { AssembleMessage(info, last_words_); });
}

template <class Body>
void SysvQueue::WhileOpen(const Napi::CallbackInfo& info, Body body) {
  FromJavaScript(info.Env(), [&] {
    if (closed()) throw os::ArgumentError("the queue is closed");
    body();
  });
}

void SysvQueue::Exiting() {
  if (!last_words_.empty()) {
    try {
      queue_->Send(last_words_);
    } catch (const os::SystemError&) {
      // Nobody is left to be told, and a peer that cannot be reached has other ways to notice.
    }
  }
  Close();
}

void SysvQueue::Close() {
  if (!BeginClosing()) return;
  on_messages_.Reset();
  receiver_.reset();
  room_.reset();
  arrived_.reset();
  // Which its receiver, if it was started, has removed already.
  if (!made_) return;
  try {
    queue_->Remove();
  } catch (const os::SystemError&) {
    // This process runs as another user than it did; whoever comes next removes what is left.
  }
}

void SysvQueue::Ref(const Napi::CallbackInfo&) {
  if (!closed()) arrived_->SetRef(true);
}

void SysvQueue::Unref(const Napi::CallbackInfo&) {
  if (!closed()) arrived_->SetRef(false);
}

}  // namespace sluice
