// What all objects of one environment (the main thread, or one worker) share: the event loop, the slabs, the turn's
// unsent bytes, and the order in which everything is closed when the environment ends.
#pragma once

#include <napi.h>
#include <uv.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "../os/intrusive_list.h"
#include "../os/unique_fd.h"
#include "handle.h"
#include "values.h"

namespace sluice {

class ByteChannel;
class LoopObject;
class Poller;
class SocketListener;

// 256 KiB, the most that a session leaves unsent, and room for a frame on top.
inline constexpr size_t kSlabBytes = 320 * 1024;

// Memory from which a channel writes, shared with JavaScript (WriteSlab in index.ts says who may write what). Allocated
// by V8, not here: Electron refuses buffers whose memory is foreign.
class Slab {
 public:
  static constexpr int32_t kDataStart = 16;

  explicit Slab(Napi::Env env);

  Napi::Object object() const { return object_.Value(); }
  uint8_t* memory() { return memory_; }
  int32_t& start() { return words_[0]; }
  int32_t& end() { return words_[1]; }
  int32_t& owner() { return words_[2]; }
  int32_t& held() { return words_[3]; }

 private:
  Napi::ObjectReference object_;
  uint8_t* memory_;
  int32_t* words_;
};

class Environment {
 public:
  Environment(Napi::Env env, Napi::Object exports);
  Environment(const Environment&) = delete;
  ~Environment();

  static Environment& Of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  Napi::Env env() const { return loop_.env(); }
  Loop& loop() { return loop_; }
  Poller& poller() { return *poller_; }

  // Calls JavaScript from the event loop (never from inside a method that JavaScript called), runs its microtasks and
  // nextTicks, and writes what it left unsent. What it throws becomes an uncaught exception. False if it threw, or if
  // JavaScript can no longer run since the environment is ending.
  bool Call(napi_async_context context, napi_value receiver, napi_value function,
            std::initializer_list<napi_value> arguments, napi_value* result = nullptr);

  // Runs `body`, which may use Call many times, each with an async context of its own. Microtasks and nextTicks run once, at the
  // end, and then what was left unsent is written.
  template <class Body>
  void InOneTurn(Body body) {
    {
      const TurnScope scope(*this);
      body();
    }
    FlushDirty(Held::kFlush);
  }

  // Runs the body of a callback from libuv. Whatever it throws becomes an uncaught exception.
  template <class Body>
  void FromLoop(Body body) {
    const Napi::HandleScope scope(env());
    try {
      body();
    } catch (const Napi::Error& error) {
      Uncaught(error.Value());
    } catch (const std::exception& error) {
      Uncaught(ToError(env(), error).Value());
    }
  }

  // An uncaught exception in the usual way.
  void Uncaught(napi_value error);

  // Where all channels read to.
  uint8_t* read_slab() const { return read_memory_; }

  std::unique_ptr<Slab> TakeSlab(int32_t owner);
  void GiveBack(std::unique_ptr<Slab> slab);

  // A dirty channel is flushed at the end of this turn at the latest: after the callback from which it was made dirty,
  // or before the loop waits. Until then it keeps the loop alive.
  void MarkDirty(ByteChannel& channel);
  void MarkClean(ByteChannel& channel);
  // While JavaScript is on the stack, channels whose slab it holds are passed over.
  enum class Held { kPassOver, kFlush };
  void FlushDirty(Held held);

  // Has `channel.Deliver()` called from the event loop, before it waits.
  void Notify(ByteChannel& channel);

  // Destroys `context` once no callback can be running in it. It keeps its object and the values of AsyncLocalStorage
  // alive, so this must not wait until the object is collected.
  void Retire(napi_async_context context) { retired_.push_back(context); }

  // Descriptors that JavaScript has, but no object here: closed when the environment ends.
  int Lend(os::UniqueFd fd);
  os::UniqueFd TakeBack(int fd);

  // Called when `listener` found no descriptor left. DescriptorClosed resumes it.
  void AwaitDescriptor(SocketListener& listener);
  void DescriptorClosed();

  int32_t NextChannelId() { return next_channel_id_ = next_channel_id_ == INT32_MAX ? 1 : next_channel_id_ + 1; }

  // The process or the worker is about to end, and no callback will run any more.
  void Exiting();

 private:
  friend class LoopObject;

  class TurnScope {
   public:
    explicit TurnScope(Environment& environment) : env_(environment.env()) {
      const napi_status status = napi_open_callback_scope(env_, environment.turn_object_.Value(),
                                                          environment.turn_context_, &scope_);
      if (status != napi_ok) throw Napi::Error::New(env_);
    }
    TurnScope(const TurnScope&) = delete;
    ~TurnScope() { napi_close_callback_scope(env_, scope_); }

   private:
    napi_env env_;
    napi_callback_scope scope_;
  };

  void DeliverPending();
  void DestroyRetired();
  void CloseAll();

  Loop loop_;
  Napi::Reference<Napi::Uint8Array> read_slab_;
  uint8_t* read_memory_;
  std::vector<std::unique_ptr<Slab>> spare_slabs_;
  int32_t next_channel_id_ = 0;
  std::unordered_set<int> lent_;
  std::vector<napi_async_context> retired_;
  // That of InOneTurn itself, in which nothing runs but what ends a turn.
  Napi::ObjectReference turn_object_;
  napi_async_context turn_context_ = nullptr;

  os::IntrusiveList<LoopObject> open_;
  os::IntrusiveList<ByteChannel> dirty_;
  size_t dirty_count_ = 0;
  os::IntrusiveList<ByteChannel> pending_;
  os::IntrusiveList<SocketListener> awaiting_descriptor_;

  std::optional<Handle<uv_prepare_t>> prepare_;
  std::optional<Handle<uv_idle_t>> idle_;
  std::unique_ptr<Poller> poller_;
};

}  // namespace sluice
