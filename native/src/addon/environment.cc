#include "environment.h"

#include <utility>

#include "byte_channel.h"
#include "loop_object.h"
#include "poller.h"
#include "socket_listener.h"

namespace sluice {

namespace {

// How many slabs are kept when nobody needs them, and how many channels may be dirty at once: with more, `acquire`
// flushes, so that a process that writes to 10,000 channels in one turn does not need 10,000 slabs.
constexpr size_t kSpareSlabs = 8;

}  // namespace

Slab::Slab(Napi::Env env) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, kSlabBytes);
  memory_ = static_cast<uint8_t*>(buffer.Data());
  words_ = static_cast<int32_t*>(buffer.Data());
  Napi::Object object = Napi::Object::New(env);
  object.Set("memory", Napi::Uint8Array::New(env, kSlabBytes, buffer, 0));
  object.Set("words", Napi::Int32Array::New(env, kDataStart / sizeof(int32_t), buffer, 0));
  object_ = Napi::Persistent(object);
}

Environment::Environment(Napi::Env env, Napi::Object exports) : loop_(env) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, kSlabBytes);
  read_memory_ = static_cast<uint8_t*>(buffer.Data());
  const Napi::Uint8Array slab = Napi::Uint8Array::New(env, kSlabBytes, buffer, 0);
  read_slab_ = Napi::Persistent(slab);
  exports.Set("readSlab", slab);

  // The last thing before the loop waits, in this order: what is flushed may be polled for. One handle for all, since those that
  // are started last are called first. Without a reference, except while there is something to flush.
  prepare_.emplace(loop_, Napi::Object(), this, [](uv_loop_t* uv, uv_prepare_t* handle) {
    uv_prepare_init(uv, handle);
    uv_prepare_start(handle, [](uv_prepare_t* handle) {
      auto* environment = static_cast<Environment*>(handle->data);
      environment->FlushDirty(Held::kFlush);
      environment->poller_->Run();
      environment->DestroyRetired();
    });
  });
  prepare_->SetRef(false);
  // Active while something is to be told; then the loop does not wait.
  idle_.emplace(loop_, Napi::Object(), this, [](uv_loop_t* uv, uv_idle_t* handle) { uv_idle_init(uv, handle); });
  poller_ = std::make_unique<Poller>(*this);

  turn_object_ = Napi::Persistent(Napi::Object::New(env));
  if (napi_async_init(env, turn_object_.Value(), Napi::String::New(env, "SluiceTurn"), &turn_context_) != napi_ok) {
    throw Napi::Error::New(env);
  }

  // Everything is closed, and libuv's close callbacks have run, before Node destroys the environment.
  napi_async_cleanup_hook_handle hook;
  const napi_status status = napi_add_async_cleanup_hook(
      env,
      [](napi_async_cleanup_hook_handle hook, void* data) {
        auto* environment = static_cast<Environment*>(data);
        const Napi::HandleScope scope(environment->env());
        environment->CloseAll();
        environment->loop_.End(hook);
      },
      this, &hook);
  if (status != napi_ok) throw Napi::Error::New(env);
}

Environment::~Environment() = default;

bool Environment::Call(napi_async_context context, napi_value receiver, napi_value function,
                       std::initializer_list<napi_value> arguments, napi_value* result) {
  const napi_status status =
      napi_make_callback(env(), context, receiver, function, arguments.size(), arguments.begin(), result);
  if (status == napi_pending_exception) {
    bool thrown = false;
    napi_value error;
    // Nothing was thrown if JavaScript may not run any more.
    if (napi_is_exception_pending(env(), &thrown) == napi_ok && thrown &&
        napi_get_and_clear_last_exception(env(), &error) == napi_ok) {
      Uncaught(error);
    }
  }
  FlushDirty(Held::kFlush);
  return status == napi_ok;
}

// Fails only when JavaScript may not run any more, and then there is nobody to tell.
void Environment::Uncaught(napi_value error) {
  if (error != nullptr) napi_fatal_exception(env(), error);
}

std::unique_ptr<Slab> Environment::TakeSlab(int32_t owner) {
  if (dirty_count_ >= kSpareSlabs) FlushDirty(Held::kPassOver);
  std::unique_ptr<Slab> slab;
  if (spare_slabs_.empty()) {
    slab = std::make_unique<Slab>(env());
  } else {
    slab = std::move(spare_slabs_.back());
    spare_slabs_.pop_back();
  }
  slab->start() = slab->end() = Slab::kDataStart;
  slab->owner() = owner;
  slab->held() = 0;
  return slab;
}

void Environment::GiveBack(std::unique_ptr<Slab> slab) {
  slab->owner() = 0;
  if (spare_slabs_.size() < kSpareSlabs) spare_slabs_.push_back(std::move(slab));
}

void Environment::MarkDirty(ByteChannel& channel) {
  if (channel.dirty_.linked()) return;
  dirty_.PushBack(channel.dirty_);
  if (dirty_count_++ == 0) prepare_->SetRef(true);
}

void Environment::MarkClean(ByteChannel& channel) {
  if (!channel.dirty_.linked()) return;
  channel.dirty_.Unlink();
  if (--dirty_count_ == 0) prepare_->SetRef(false);
}

void Environment::FlushDirty(Held held) {
  for (size_t left = dirty_count_; left > 0; --left) {
    ByteChannel& channel = *dirty_.front();
    if (held == Held::kPassOver && channel.held()) {
      dirty_.PushBack(channel.dirty_);
    } else {
      channel.Flush();
    }
  }
}

void Environment::Notify(ByteChannel& channel) {
  pending_.PushBack(channel.pending_);
  uv_idle_start(idle_->get(),
                [](uv_idle_t* handle) { static_cast<Environment*>(handle->data)->DeliverPending(); });
}

void Environment::DeliverPending() {
  // What is added meanwhile waits for the next turn, so that a channel whose peer reads as fast as it writes does not
  // keep the loop from everything else.
  os::IntrusiveList<ByteChannel> turn(std::move(pending_));
  while (!turn.empty()) {
    ByteChannel& channel = *turn.PopFront();
    FromLoop([&] { channel.Deliver(); });
  }
  if (pending_.empty()) uv_idle_stop(idle_->get());
}

int Environment::Lend(os::UniqueFd fd) {
  lent_.insert(fd.get());
  return fd.Release();
}

os::UniqueFd Environment::TakeBack(int fd) {
  lent_.erase(fd);
  return os::UniqueFd(fd);
}

void Environment::AwaitDescriptor(SocketListener& listener) { awaiting_descriptor_.PushBack(listener.awaiting_); }

void Environment::DescriptorClosed() {
  while (!awaiting_descriptor_.empty()) awaiting_descriptor_.PopFront()->Resume();
}

void Environment::DestroyRetired() {
  for (napi_async_context context : retired_) napi_async_destroy(env(), context);
  retired_.clear();
}

void Environment::Exiting() {
  os::IntrusiveList<LoopObject> all(std::move(open_));
  while (!all.empty()) {
    LoopObject& object = *all.PopFront();
    open_.PushBack(object.open_);
    object.Exiting();
  }
}

void Environment::CloseAll() {
  Exiting();
  while (!open_.empty()) open_.front()->Close();
  Retire(std::exchange(turn_context_, nullptr));
  DestroyRetired();
  prepare_.reset();
  idle_.reset();
  poller_.reset();
  for (const int fd : lent_) close(fd);
  lent_.clear();
}

}  // namespace sluice
