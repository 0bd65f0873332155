// Survival of a mapped file that is truncated: touching a page beyond its end raises SIGBUS (mmap(2), "Signals"), by
// default the end of the process.
#pragma once

#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

#include "error.h"

namespace sluice::os {

namespace fault_guard {

// A guarded range. Read by the signal handler at any moment, hence without a lock: `version` is odd while the others
// change, and whoever sees it odd or changed has read nothing (a sequence lock; Boehm, "Can seqlocks get along with
// programming language memory models?", 2012).
struct Slot {
  std::atomic<uint32_t> version{0};
  std::atomic<uintptr_t> start{0};  // 0: free
  std::atomic<size_t> bytes{0};
  std::atomic<std::atomic<uint32_t>*> hit{nullptr};

  void Write(uintptr_t new_start, size_t new_bytes, std::atomic<uint32_t>* new_hit) {
    const uint32_t before = version.load(std::memory_order_relaxed);
    version.store(before + 1, std::memory_order_relaxed);
    start.store(new_start, std::memory_order_release);
    bytes.store(new_bytes, std::memory_order_release);
    hit.store(new_hit, std::memory_order_release);
    version.store(before + 2, std::memory_order_release);
  }
};

// Slots are never freed, as the handler may be among them at any time.
struct Slots {
  std::array<Slot, 64> slots;
  std::atomic<Slots*> next{nullptr};
};

inline constinit Slots first_slots;
inline constinit std::mutex mutex;  // held by whoever changes slots; never by the handler
inline constinit struct sigaction previous{};

// SYNC POINT 7: a guard that is being made or unmade by another thread is passed over. It cannot be that of the page
// which this thread has just touched.
inline bool Absorb(uintptr_t address) {
  for (Slots* slots = &first_slots; slots != nullptr; slots = slots->next.load(std::memory_order_acquire)) {
    for (Slot& slot : slots->slots) {
      const uint32_t version = slot.version.load(std::memory_order_acquire);
      const uintptr_t start = slot.start.load(std::memory_order_acquire);
      const size_t bytes = slot.bytes.load(std::memory_order_acquire);
      std::atomic<uint32_t>* const hit = slot.hit.load(std::memory_order_acquire);
      if (version % 2 != 0 || slot.version.load(std::memory_order_relaxed) != version) continue;
      if (start == 0 || address < start || address - start >= bytes) continue;
      // All of it, not that page alone: the connection is at its end, and many small mappings would use up what the
      // kernel allows (vm.max_map_count).
      if (mmap(reinterpret_cast<void*>(start), bytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
        return false;
      }
      hit->store(1, std::memory_order_release);
      return true;
    }
  }
  return false;
}

// Makes nothing but system calls, and lock-free loads and stores: async-signal-safe (signal-safety(7); mmap is not in
// its list, but is a bare system call on Linux).
inline void Handle(int number, siginfo_t* info, void* context) {
  const int saved = errno;
  // BUS_ADRERR: a page that is not there, as opposed to misalignment or broken memory (sigaction(2)).
  const bool absorbed = info->si_code == BUS_ADRERR && Absorb(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (absorbed) return;
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(number, info, context);
  const bool sent = info->si_code <= 0;  // by kill(2) and the like; otherwise the instruction is tried again
  if (previous.sa_handler == SIG_IGN && sent) return;
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(number);
  // The default action, once the handler has returned: an ignored fault is one too.
  signal(number, SIG_DFL);
  if (sent) raise(number);
}

// Once in a process, for good: whoever has installed a handler since may pass on what it does not know to ours. For the
// same reason code with this header must never be unloaded: a library is linked with -z nodelete.
inline void Install() {
  static const int failed = [] {
    struct sigaction action {};
    action.sa_sigaction = Handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    // Asked for first, so that it is known before a signal can arrive.
    return sigaction(SIGBUS, nullptr, &previous) == 0 && sigaction(SIGBUS, &action, nullptr) == 0 ? 0 : errno;
  }();
  if (failed != 0) throw SystemError(failed, "sigaction");
}

}  // namespace fault_guard

// Guards one mapping. When a page of it turns out not to be there, all of it is replaced by private zero pages, `hit`
// becomes 1 and the program goes on. Any other fault goes to the handler that was there before. A system call given
// such a page raises no signal: it fails with EFAULT.
//
// `hit` must outlive the guard, and the guard every access to the mapping; the mapping is unmapped afterwards.
class FaultGuard {
 public:
  FaultGuard(void* start, size_t bytes, std::atomic<uint32_t>& hit) {
    fault_guard::Install();
    const std::lock_guard lock(fault_guard::mutex);
    slot_ = &FreeSlot();
    slot_->Write(reinterpret_cast<uintptr_t>(start), bytes, &hit);
  }
  FaultGuard(FaultGuard&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  FaultGuard& operator=(FaultGuard&& other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~FaultGuard() {
    if (slot_ == nullptr) return;
    const std::lock_guard lock(fault_guard::mutex);
    slot_->Write(0, 0, nullptr);
  }

 private:
  static fault_guard::Slot& FreeSlot() {
    for (fault_guard::Slots* slots = &fault_guard::first_slots;;) {
      for (fault_guard::Slot& slot : slots->slots) {
        if (slot.start.load(std::memory_order_relaxed) == 0) return slot;
      }
      fault_guard::Slots* next = slots->next.load(std::memory_order_relaxed);
      if (next == nullptr) {
        next = new fault_guard::Slots;
        slots->next.store(next, std::memory_order_release);
      }
      slots = next;
    }
  }

  fault_guard::Slot* slot_;
};

}  // namespace sluice::os
