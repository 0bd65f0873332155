// Receiving from a System V queue without blocking the event loop. The kernel tells nobody but a thread that waits for a
// message, so there is one.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "error.h"
#include "sysv_queue.h"

namespace sluice::os {

// Receives all messages of a queue that this process has made, and removes the queue in the end.
class SysvReceiver {
 public:
  // Takes messages of up to `message_bytes`. Calls `notify` on another thread when there is something to Take.
  SysvReceiver(const SysvQueue& queue, size_t message_bytes, std::function<void()> notify)
      : state_(std::make_shared<State>(queue, message_bytes, std::move(notify))) {
    auto own = std::make_unique<std::shared_ptr<State>>(state_);
    // Signals are for the threads that were there before.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&thread_, nullptr, &SysvReceiver::Main, own.get());
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) throw SystemError(error, "pthread_create", "a thread to receive messages");
    own.release();
  }
  SysvReceiver(const SysvReceiver&) = delete;
  SysvReceiver& operator=(const SysvReceiver&) = delete;

  // Afterwards `notify` is not called any more. The wait for a message ends when the queue is removed, and nothing else
  // ends it for certain: a message to oneself may find the queue full, or be taken by another.
  ~SysvReceiver() {
    {
      const std::lock_guard lock(state_->mutex);
      state_->stopping = true;
    }
    state_->room.notify_one();
    try {
      state_->queue.Remove();
      pthread_join(thread_, nullptr);
    } catch (const SystemError&) {
      // This process has become another user's since, to whom the queue is not: the thread waits until somebody removes it.
      pthread_detach(thread_);
    }
  }

  // What has been received, one message behind the other, each as its length (u32) and its bytes; in place of what is in
  // `batch`. Throws what receiving failed with, when there is nothing more.
  void Take(std::vector<uint8_t>& batch) {
    batch.clear();
    {
      const std::lock_guard lock(state_->mutex);
      batch.swap(state_->batch);
      if (batch.empty() && state_->error != 0) throw SystemError(state_->error, "msgrcv");
    }
    state_->room.notify_one();
  }

  // No batch is longer than this and the largest message.
  static constexpr size_t kMaxBatchBytes = 64 * 1024;

 private:
  // What the thread has, too.
  struct State {
    State(const SysvQueue& queue, size_t message_bytes, std::function<void()> notify)
        : queue(queue), memory(SysvQueue::kTypeBytes + message_bytes), notify(std::move(notify)) {}

    const SysvQueue queue;
    std::vector<uint8_t> memory;
    const std::function<void()> notify;

    std::mutex mutex;
    std::condition_variable room;
    std::vector<uint8_t> batch;
    int error = 0;
    bool stopping = false;

    void Run() {
      // Whoever takes them is told of all messages at once that are there already.
      bool untold = false;
      for (;;) {
        const ssize_t count = msgrcv(queue.id(), memory.data(), memory.size() - SysvQueue::kTypeBytes,
                                     -SysvQueue::kMessage, MSG_NOERROR | (untold ? IPC_NOWAIT : 0));
        const int failure = count == -1 ? errno : 0;
        if (failure == EINTR) continue;

        std::unique_lock lock(mutex);
        if (stopping) return;
        if (count >= 0) {
          Append(static_cast<uint32_t>(count));
          untold = true;
          if (batch.size() < kMaxBatchBytes) continue;
        }
        const bool failed = count == -1 && failure != ENOMSG;
        if (untold) notify();
        untold = false;
        // With as many bytes waiting to be taken, further messages wait in the queue; and a failure until they are taken.
        room.wait(lock, [&] { return stopping || (failed ? batch.empty() : batch.size() < kMaxBatchBytes); });
        if (stopping) return;
        if (!failed) continue;
        error = failure;
        return notify();
      }
    }

    void Append(uint32_t length) {
      const size_t end = batch.size();
      batch.resize(end + sizeof length + length);
      memcpy(&batch[end], &length, sizeof length);
      memcpy(&batch[end] + sizeof length, memory.data() + SysvQueue::kTypeBytes, length);
    }
  };

  static void* Main(void* own) {
    const std::unique_ptr<std::shared_ptr<State>> state(static_cast<std::shared_ptr<State>*>(own));
    (*state)->Run();
    return nullptr;
  }

  const std::shared_ptr<State> state_;
  pthread_t thread_;
};

}  // namespace sluice::os
