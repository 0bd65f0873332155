#include "../../src/os/posix_queue.h"

#include <sys/resource.h>

#include <array>
#include <atomic>
#include <thread>

#include "check.h"
#include "program.h"
#include "temporary.h"

using namespace sluice::os;

static std::string FreshName(const char* suffix) {
  return "/sluice-cpp-" + std::to_string(getpid()) + "-" + suffix;
}

// A queue that is removed at the end, whatever the test did with it.
struct Named {
  explicit Named(const char* suffix) : name(FreshName(suffix)) {}
  ~Named() { PosixQueue::Unlink(name); }
  const std::string name;
};

static std::vector<uint8_t> Bytes(const std::string& text) { return {text.begin(), text.end()}; }

TEST("PosixQueue keeps messages apart and in order, says when it is full and when it is empty") {
  const Named queue("order");
  std::optional<PosixQueue> made = PosixQueue::Make(queue.name, 3, 64);
  CHECK(made);
  CHECK_EQUAL(made->messages(), 3);
  CHECK_EQUAL(made->message_bytes(), 64u);
  PosixQueue other = PosixQueue::Open(queue.name);
  CHECK_EQUAL(other.uid(), geteuid());
  CHECK_EQUAL(other.mode(), 0600u);
  for (const char* text : {"one", "", "three"}) CHECK(other.Send(Bytes(text)));
  CHECK(!other.Send(Bytes("four")));
  std::array<uint8_t, 64> memory;
  for (const std::string text : {"one", "", "three"}) {
    const std::optional<size_t> count = made->Receive(memory);
    CHECK(count);
    CHECK_EQUAL(std::string(memory.begin(), memory.begin() + *count), text);
  }
  CHECK(!made->Receive(memory));
  CHECK_EQUAL(THROWN(SystemError, other.Send(std::vector<uint8_t>(65))).number(), EMSGSIZE);
}

TEST("PosixQueue is held as long as its maker has it open, and only then may it not be removed") {
  const Named queue("held");
  std::optional<PosixQueue> made = PosixQueue::Make(queue.name, 2, 64);
  PosixQueue other = PosixQueue::Open(queue.name);
  CHECK(other.held());
  CHECK(!PosixQueue::Make(queue.name, 2, 64));
  CHECK(other.Send(Bytes("unread")));
  CHECK(PosixQueue::RemoveDead(queue.name).empty());
  CHECK(PosixQueue::Open(queue.name).held());
  made.reset();
  CHECK(!other.held());
  CHECK(!PosixQueue::Make(queue.name, 2, 64));
  const std::vector<std::vector<uint8_t>> left = PosixQueue::RemoveDead(queue.name);
  CHECK_EQUAL(left.size(), 1u);
  CHECK(left[0] == Bytes("unread"));
  CHECK_EQUAL(THROWN(SystemError, PosixQueue::Open(queue.name)).number(), ENOENT);
  CHECK(PosixQueue::RemoveDead(queue.name).empty());
  CHECK(PosixQueue::Make(queue.name, 2, 64));
}

TEST("PosixQueue needs no descriptor but its own to be made, or to be removed when it is dead") {
  const Named queue("descriptors");
  rlimit before;
  Check(getrlimit(RLIMIT_NOFILE, &before), "getrlimit");
  UniqueFd lowest(Check(open("/dev/null", O_RDONLY | O_CLOEXEC), "open"));
  rlimit one_more = before;
  one_more.rlim_cur = static_cast<rlim_t>(lowest.get()) + 1;
  lowest.Reset();
  Check(setrlimit(RLIMIT_NOFILE, &one_more), "setrlimit");
  std::optional<PosixQueue> made;
  bool removed = false;
  int without = 0;
  try {
    made = PosixQueue::Make(queue.name, 2, 64);
    without = THROWN(SystemError, PosixQueue::Make(queue.name + "-another", 2, 64)).number();
    made.reset();
    PosixQueue::RemoveDead(queue.name);
    removed = true;
    made = PosixQueue::Make(queue.name, 2, 64);
  } catch (const SystemError& error) {
    Check(setrlimit(RLIMIT_NOFILE, &before), "setrlimit");
    throw;
  }
  Check(setrlimit(RLIMIT_NOFILE, &before), "setrlimit");
  CHECK(removed && made);
  CHECK_EQUAL(without, EMFILE);
  CHECK_EQUAL(THROWN(SystemError, PosixQueue::Open(queue.name + "-another")).number(), ENOENT);
}

PROGRAM("posix-queue-holder") {
  const std::optional<PosixQueue> queue = PosixQueue::Make(arguments[0], 2, 64);
  if (!queue || !PosixQueue::Open(arguments[0]).Send(Bytes("ready"))) return 1;
  pause();
  return 0;
}

TEST("PosixQueue is not held any more when its maker was killed") {
  const Named queue("killed");
  Process holder("posix-queue-holder", queue.name);
  for (;;) {
    try {
      if (PosixQueue::Open(queue.name).held()) break;
    } catch (const SystemError& error) {
      CHECK_EQUAL(error.number(), ENOENT);
    }
    std::this_thread::yield();
  }
  holder.Kill();
  holder.Await();
  CHECK(!PosixQueue::Open(queue.name).held());
}

TEST("PosixQueue is made by one at a time, also while others remove those that were left") {
  const Named queue("race");
  std::atomic<int> holders = 0;
  std::atomic<int> most = 0;
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&] {
      for (int round = 0; round < 100;) {
        PosixQueue::RemoveDead(queue.name);
        const std::optional<PosixQueue> made = PosixQueue::Make(queue.name, 1, 16);
        if (!made) {
          std::this_thread::yield();
          continue;
        }
        ++round;
        const int now = ++holders;
        if (now > most) most = now;
        --holders;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(most, 1);
}
