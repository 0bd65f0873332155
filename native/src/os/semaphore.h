// Waiting for the peer in memory that the peer can write.
//
// A binary semaphore made of one word and futex(2), instead of the sem_t of sem_overview(7): glibc keeps in the sem_t
// itself which kind of futex operation to make. A peer that overwrites that field makes sem_post(3) and
// sem_clockwait(3) block for ever, or end the process ("The futex facility returned an unexpected error code"). Here
// the peer can write nothing but the count.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include "error.h"

namespace sluice::os {

// A word in memory that two processes, or threads, write.
using SharedWord = std::atomic<uint32_t>;
static_assert(SharedWord::is_always_lock_free && sizeof(SharedWord) == 4);

// Wakes who waits, or the next to wait: posts are not counted. Never blocks.
inline void Post(SharedWord& semaphore) {
  // SYNC POINT 6: what was done before the post is seen after the wait that it ends.
  semaphore.store(1, std::memory_order_release);
  if (syscall(SYS_futex, &semaphore, FUTEX_WAKE, 1, nullptr, nullptr, 0) == -1) throw SystemError(errno, "futex");
}

// Waits for a post and takes it. False when `at_most` has passed, or a signal has interrupted the wait. One waiter only.
inline bool AwaitPost(SharedWord& semaphore, std::chrono::nanoseconds at_most) {
  // SYNC POINT 6
  if (semaphore.exchange(0, std::memory_order_acquire) != 0) return true;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at_most);
  const timespec timeout{seconds.count(), (at_most - seconds).count()};
  // Returns at once when the word is no longer 0.
  if (syscall(SYS_futex, &semaphore, FUTEX_WAIT, 0, &timeout, nullptr, 0) == -1 && errno != EAGAIN &&
      errno != EINTR && errno != ETIMEDOUT) {
    throw SystemError(errno, "futex");
  }
  return semaphore.exchange(0, std::memory_order_acquire) != 0;
}

}  // namespace sluice::os
