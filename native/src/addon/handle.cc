#include "handle.h"

#include <string>

#include "../os/descriptor.h"

namespace sluice {

Loop::Loop(Napi::Env env) : env_(env) {
  if (napi_get_uv_event_loop(env, &loop_) != napi_ok) throw Napi::Error::New(env, "there is no libuv event loop here");
}

void Loop::End(napi_async_cleanup_hook_handle hook) {
  hook_ = hook;
  if (open_ == 0) napi_remove_async_cleanup_hook(hook_);
}

void Loop::Closed() {
  --open_;
  if (open_ == 0 && hook_ != nullptr) napi_remove_async_cleanup_hook(hook_);
}

Poll::Poll(Loop& loop, Napi::Object keep, int fd, void* target, Callback callback)
    : loop_(loop),
      fd_(fd),
      handle_(loop, keep, this,
              [&loop, fd](uv_loop_t* uv, uv_poll_t* handle) {
                const int status = loop.polled().contains(fd) ? UV_EEXIST : uv_poll_init(uv, handle, fd);
                if (status == 0) return;
                std::string subject = "descriptor " + std::to_string(fd);
                if (status == UV_EEXIST) subject += " is polled in this event loop already";
                if (status == UV_EPERM) subject += std::string(" cannot be polled: it is a ") + os::KindOf(fd);
                throw os::SystemError(-status, "epoll_ctl", subject);
              }),
      target_(target),
      callback_(callback) {
  loop.polled().insert(fd);
}

void Poll::Arm(int events) {
  if (events == armed_) return;
  armed_ = events;
  if (events == 0) {
    uv_poll_stop(handle_.get());
  } else {
    uv_poll_start(handle_.get(), events, OnEvents);
  }
}

void Poll::OnEvents(uv_poll_t* handle, int status, int events) {
  auto* poll = static_cast<Poll*>(handle->data);
  // libuv stops a handle before it reports an error.
  if (status != 0) poll->armed_ = 0;
  poll->callback_(poll->target_, status, events);
}

Timer::Timer(Loop& loop, Napi::Object keep, void* target, Callback callback)
    : handle_(loop, keep, this, [](uv_loop_t* uv, uv_timer_t* handle) { uv_timer_init(uv, handle); }),
      target_(target),
      callback_(callback) {}

void Timer::Start(uint64_t milliseconds) {
  const auto fire = [](uv_timer_t* handle) {
    auto* timer = static_cast<Timer*>(handle->data);
    timer->callback_(timer->target_);
  };
  uv_timer_start(handle_.get(), fire, milliseconds, 0);
}

}  // namespace sluice
