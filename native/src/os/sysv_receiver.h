// Receiving from a System V queue without blocking the event loop. The kernel tells nobody but a thread that waits for a
// message, so there is one.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "error.h"
#include "sysv_queue.h"

namespace sluice::os {

class SysvReceiver {
 public:
  // Receives messages of up to `message_bytes`. Calls `notify` on its thread when there is something to Take.
  SysvReceiver(const SysvQueue& queue, size_t message_bytes, std::function<void()> notify)
      : queue_(queue), memory_(SysvQueue::kTypeBytes + message_bytes), notify_(std::move(notify)) {
    // Signals are for the threads that were there before.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&thread_, nullptr, &SysvReceiver::Main, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) throw SystemError(error, "pthread_create", "a thread to receive messages");
  }
  SysvReceiver(const SysvReceiver&) = delete;
  SysvReceiver& operator=(const SysvReceiver&) = delete;

  // Stops at once, whatever is or is not in the queue. msgrcv(2) is a point where a thread can be cancelled (pthreads(7)),
  // the only one where this thread can be; unlike a signal or a message to oneself, that can neither come too early nor be
  // taken by another.
  ~SysvReceiver() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_one();
    pthread_cancel(thread_);
    pthread_join(thread_, nullptr);
  }

  // What has been received, one message behind the other, each as its length (u32) and its bytes; in place of what is in
  // `batch`. Throws what receiving failed with, when there is nothing more.
  void Take(std::vector<uint8_t>& batch) {
    batch.clear();
    {
      const std::lock_guard lock(mutex_);
      batch.swap(batch_);
      if (batch.empty() && error_ != 0) throw SystemError(error_, "msgrcv");
    }
    room_.notify_one();
  }

  // How long what Take gives can be.
  size_t max_batch_bytes() const { return kMaxBytes + sizeof(uint32_t) + memory_.size(); }

 private:
  // With as many bytes waiting to be taken, further messages wait in the queue.
  static constexpr size_t kMaxBytes = 64 * 1024;

  static void* Main(void* self) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    static_cast<SysvReceiver*>(self)->Run();
    return nullptr;
  }

  void Run() {
    // Whoever takes them is told of all messages at once that are there already.
    bool untold = false;
    for (;;) {
      const ssize_t count = Receive(!untold);
      const int error = count == -1 ? errno : 0;
      if (error == EINTR) continue;
      if (error == ENOMSG) {
        untold = false;
        notify_();
        continue;
      }
      std::unique_lock lock(mutex_);
      if (error != 0) {
        error_ = error;
        lock.unlock();
        return notify_();
      }
      Append(static_cast<uint32_t>(count));
      untold = true;
      if (batch_.size() < kMaxBytes) continue;
      lock.unlock();
      untold = false;
      notify_();
      lock.lock();
      room_.wait(lock, [this] { return stopping_ || batch_.size() < kMaxBytes; });
      if (stopping_) return;
    }
  }

  // Nothing is alive in here that would be left behind when the thread is cancelled.
  ssize_t Receive(bool wait) {
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    const ssize_t count = msgrcv(queue_.id(), memory_.data(), memory_.size() - SysvQueue::kTypeBytes,
                                 -SysvQueue::kMessage, MSG_NOERROR | (wait ? 0 : IPC_NOWAIT));
    const int error = errno;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    errno = error;
    return count;
  }

  void Append(uint32_t length) {
    const size_t end = batch_.size();
    batch_.resize(end + sizeof length + length);
    memcpy(&batch_[end], &length, sizeof length);
    memcpy(&batch_[end] + sizeof length, memory_.data() + SysvQueue::kTypeBytes, length);
  }

  const SysvQueue queue_;
  std::vector<uint8_t> memory_;
  const std::function<void()> notify_;
  pthread_t thread_;

  std::mutex mutex_;
  std::condition_variable room_;
  std::vector<uint8_t> batch_;
  int error_ = 0;
  bool stopping_ = false;
};

}  // namespace sluice::os
