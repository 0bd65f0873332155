// Blocking with a deadline.
#pragma once

#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "error.h"

namespace sluice::os {

using Clock = std::chrono::steady_clock;
// None: for ever.
using Deadline = std::optional<Clock::time_point>;

// Milliseconds with fractions from now; none for infinity.
inline Deadline DeadlineIn(double milliseconds) {
  constexpr double kLongest = 1e12;  // decades
  if (!(milliseconds < kLongest)) return {};
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double, std::milli>(std::max(milliseconds, 0.0)));
}

// poll(2) until one of `items` is ready (true) or the deadline has passed. Signals do not end it.
inline bool PollUntil(std::span<pollfd> items, const Deadline& deadline) {
  for (;;) {
    timespec timeout{};
    if (deadline) {
      const auto left = std::max(*deadline - Clock::now(), Clock::duration::zero());
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
      timeout = {seconds.count(), std::chrono::duration_cast<std::chrono::nanoseconds>(left - seconds).count()};
    }
    const int count = ppoll(items.data(), items.size(), deadline ? &timeout : nullptr, nullptr);
    if (count >= 0) return count > 0;
    if (errno != EINTR) throw SystemError(errno, "ppoll");
  }
}

// Tells the processor that this is a waiting loop.
inline void Relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

// Whether `ready` becomes true within `at_most`. It is asked again and again, with the processor offered to others every
// few times: a peer that is to do something may be waiting for this very one. sched_yield(2) takes half a microsecond in
// which nothing is seen, hence not every time.
template <class Ready>
bool PollBriefly(std::chrono::nanoseconds at_most, Ready ready) {
  constexpr int kLooksPerYield = 20;
  if (at_most <= at_most.zero()) return false;
  const Clock::time_point end = Clock::now() + at_most;
  do {
    for (int look = 0; look < kLooksPerYield; ++look) {
      if (ready()) return true;
      Relax();
    }
    sched_yield();
  } while (Clock::now() < end);
  return false;
}

// The numeric addresses of a host name, in the order of getaddrinfo(3). Blocks for as long as the resolver takes.
inline std::vector<std::string> Resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (failed == EAI_SYSTEM) throw SystemError(errno, "getaddrinfo", host);
  if (failed != 0) throw ArgumentError("the name " + host + " cannot be resolved: " + gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  std::vector<std::string> addresses;
  for (const addrinfo* item = found; item != nullptr; item = item->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(item->ai_addr, item->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0) {
      addresses.emplace_back(text);
    }
  }
  return addresses;
}

}  // namespace sluice::os
