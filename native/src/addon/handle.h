// libuv handles with an owner.
#pragma once

#include <napi.h>
#include <uv.h>

#include <memory>
#include <unordered_set>
#include <utility>

#include "../os/error.h"

namespace sluice {

// An environment's event loop, and how many handles are open in it.
class Loop {
 public:
  explicit Loop(Napi::Env env);
  Loop(const Loop&) = delete;

  Napi::Env env() const { return env_; }
  uv_loop_t* get() const { return loop_; }

  // Lets the environment end, by removing `hook`, as soon as no handle is open. A loop that ends with open handles
  // aborts the whole process.
  void End(napi_async_cleanup_hook_handle hook);

  // Which descriptors have a Poll. libuv finds a second one only while the first is armed, and arming both is fatal.
  std::unordered_set<int>& polled() { return polled_; }

 private:
  template <class>
  friend class Handle;

  void Opened() { ++open_; }
  void Closed();

  Napi::Env env_;
  uv_loop_t* loop_;
  size_t open_ = 0;
  std::unordered_set<int> polled_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

// Owns a libuv handle. libuv uses its memory until the close callback has run, so that memory is on the heap and
// outlives this object; and until then it keeps the owner's JavaScript object, and with it the owner itself, from being
// collected: an object with an open handle lives, and one that closes its handles in their own callback lives on until
// that callback has returned.
template <class T>
class Handle {
 public:
  // `initialise` calls T's uv_*_init. `keep` may be empty. Callbacks find `target` in the handle's data.
  template <class Initialise>
  Handle(Loop& loop, Napi::Object keep, void* target, Initialise initialise);
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { Close(); }

  T* get() { return body_; }

  void SetRef(bool on) {
    if (on) {
      uv_ref(base());
    } else {
      uv_unref(base());
    }
  }

  // The descriptor of a uv_poll_t may be closed as soon as this returns.
  void Close();

 private:
  struct Body : T {
    explicit Body(Loop& loop) : T(), loop(loop) {}
    Loop& loop;
    Napi::ObjectReference keep;
  };

  uv_handle_t* base() { return reinterpret_cast<uv_handle_t*>(static_cast<T*>(body_)); }

  Body* body_;
};

// Tells when a descriptor is ready. Arming it again as it is armed already costs no system call.
class Poll {
 public:
  // `status` is negative when poll(2) tells of an error; it says no more than that, and the poll is then disarmed.
  using Callback = void (*)(void* target, int status, int events);

  // Makes `fd` non-blocking, and does not own it.
  Poll(Loop& loop, Napi::Object keep, int fd, void* target, Callback callback);
  ~Poll() { loop_.polled().erase(fd_); }

  // `events` of uv_poll_event; 0 for none.
  void Arm(int events);
  void SetRef(bool on) { handle_.SetRef(on); }

 private:
  static void OnEvents(uv_poll_t* handle, int status, int events);

  Loop& loop_;
  const int fd_;
  Handle<uv_poll_t> handle_;
  void* target_;
  Callback callback_;
  int armed_ = 0;
};

// Fires once each time it is started.
class Timer {
 public:
  using Callback = void (*)(void* target);

  Timer(Loop& loop, Napi::Object keep, void* target, Callback callback);

  void Start(uint64_t milliseconds);
  void Stop() { uv_timer_stop(handle_.get()); }
  void SetRef(bool on) { handle_.SetRef(on); }

 private:
  Handle<uv_timer_t> handle_;
  void* target_;
  Callback callback_;
};

template <class T>
template <class Initialise>
Handle<T>::Handle(Loop& loop, Napi::Object keep, void* target, Initialise initialise) {
  auto body = std::make_unique<Body>(loop);
  initialise(loop.get(), static_cast<T*>(body.get()));
  body->data = target;
  if (!keep.IsEmpty()) body->keep = Napi::Persistent(keep);
  loop.Opened();
  body_ = body.release();
}

template <class T>
void Handle<T>::Close() {
  if (body_ == nullptr) return;
  uv_close(base(), [](uv_handle_t* handle) {
    const std::unique_ptr<Body> body(static_cast<Body*>(reinterpret_cast<T*>(handle)));
    Loop& loop = body->loop;
    const Napi::HandleScope scope(loop.env());
    body->keep.Reset();
    loop.Closed();
  });
  body_ = nullptr;
}

}  // namespace sluice
