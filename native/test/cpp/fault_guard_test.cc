#include "../../src/os/fault_guard.h"

#include <sys/resource.h>

#include <string>
#include <thread>
#include <vector>

#include "../../src/os/segment.h"
#include "check.h"
#include "program.h"
#include "temporary.h"

using namespace sluice::os;

// One page of a file that has none: touching it raises SIGBUS.
class MissingPage {
 public:
  MissingPage() : fd_(Check(memfd_create("test", MFD_CLOEXEC), "memfd_create")) {
    void* const mapped = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (mapped == MAP_FAILED) throw SystemError(errno, "mmap");
    data_ = static_cast<volatile uint8_t*>(mapped);
  }
  MissingPage(const MissingPage&) = delete;
  ~MissingPage() { munmap(address(), 4096); }

  void* address() const { return const_cast<uint8_t*>(data_); }
  uint8_t Touch() const { return data_[100]; }

 private:
  UniqueFd fd_;
  volatile uint8_t* data_;
};

TEST("A truncated segment is marked, and the process goes on") {
  const TemporaryDirectory directory;
  for (const SegmentKind kind : {SegmentKind::kPosix, SegmentKind::kFile}) {
    const Segment made = Segment::Create(kind, 8192, 0, (directory / "").c_str());
    const Segment opened = Segment::Open(kind, 8192, 0, made.handle());
    std::atomic<uint32_t> hit = 0;
    std::atomic<uint32_t> other_hit = 0;
    const FaultGuard guard(opened.data(), opened.size(), hit);
    const FaultGuard other(made.data(), made.size(), other_hit);
    volatile uint8_t* const data = opened.data();
    data[opened.size() - 1] = 1;
    CHECK_EQUAL(hit, 0u);
    CHECK_EQUAL(ftruncate(made.handle(), 4096), 0);
    data[4096 + 8192] = 7;  // another copy of the same page has been touched before
    CHECK_EQUAL(hit, 1u);
    CHECK_EQUAL(data[4096 + 8192], 7);
    for (size_t at = 0; at < opened.size(); at += 512) CHECK(data[at] == (at == 4096 + 8192 ? 7 : 0));
    CHECK_EQUAL(other_hit, 0u);
    CHECK_EQUAL(made.header().capacity, 8192u);
    made.data()[made.size() - 1] = 1;
    CHECK_EQUAL(other_hit, 1u);
  }
}

TEST("A system call on a truncated page fails, and raises no signal") {
  const MissingPage page;
  std::atomic<uint32_t> hit = 0;
  const FaultGuard guard(page.address(), 4096, hit);
  const auto [reading, writing] = [] {
    int fds[2];
    Check(pipe2(fds, O_CLOEXEC), "pipe2");
    return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
  }();
  CHECK_EQUAL(write(writing.get(), page.address(), 1), -1);
  CHECK_EQUAL(errno, EFAULT);
  CHECK_EQUAL(hit, 0u);
}

TEST("Many guards: each fault is that of its own, in any thread, while others come and go") {
  std::atomic<bool> done = false;
  std::atomic<uint32_t> never = 0;
  std::thread churn([&] {
    std::vector<uint8_t> memory(4096 * 300);
    while (!done) {
      std::vector<FaultGuard> guards;
      for (size_t index = 0; index < 300; ++index) guards.emplace_back(memory.data() + 4096 * index, 4096, never);
    }
  });
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        const MissingPage page;
        std::atomic<uint32_t> hit = 0;
        const FaultGuard guard(page.address(), 4096, hit);
        if (page.Touch() != 0 || hit != 1) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  done = true;
  churn.join();
  CHECK_EQUAL(never, 0u);
  CHECK_EQUAL(wrong, 0);
}

TEST("A guard can be moved, and its place is used again") {
  std::atomic<uint32_t> hit = 0;
  const MissingPage first, second;
  FaultGuard guard(first.address(), 4096, hit);
  FaultGuard moved = std::move(guard);
  moved = FaultGuard(second.address(), 4096, hit);
  CHECK_EQUAL(second.Touch(), 0);
  CHECK_EQUAL(hit, 1u);
}

// What happens to faults that are not ours, by the handler that was there before.
static void NoCores() {
  const rlimit none{};
  Check(setrlimit(RLIMIT_CORE, &none), "setrlimit");
}

// Touches a page that nobody guards, or sends the signal.
static int Fault(const std::vector<std::string>& arguments) {
  const MissingPage page, guarded;
  std::atomic<uint32_t> hit = 0;
  const FaultGuard guard(guarded.address(), 4096, hit);
  if (arguments.at(0) == "touch") {
    page.Touch();
  } else {
    raise(SIGBUS);
  }
  return guarded.Touch() == 0 && hit == 1 ? 0 : 1;
}

PROGRAM("fault, default action") {
  NoCores();
  signal(SIGBUS, SIG_DFL);
  return Fault(arguments);
}

PROGRAM("fault, ignored") {
  NoCores();
  signal(SIGBUS, SIG_IGN);
  return Fault(arguments);
}

PROGRAM("fault, handler") {
  signal(SIGBUS, [](int number) { _exit(number == SIGBUS ? 42 : 1); });
  return Fault(arguments);
}

PROGRAM("fault, handler with information") {
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void* context) {
    const bool touched = info->si_code == BUS_ADRERR && info->si_addr != nullptr;
    _exit(context == nullptr ? 1 : touched ? 43 : info->si_pid == getpid() ? 44 : 1);
  };
  sigaction(SIGBUS, &action, nullptr);
  return Fault(arguments);
}

TEST("Faults elsewhere go to the handler that was there before") {
  const auto status = [](const char* program, const char* argument) { return Process(program, argument).Await(); };
  for (const char* how : {"touch", "send"}) {
    CHECK(WIFSIGNALED(status("fault, default action", how)));
    CHECK_EQUAL(WTERMSIG(status("fault, default action", how)), SIGBUS);
    CHECK_EQUAL(WEXITSTATUS(status("fault, handler", how)), 42);
  }
  CHECK_EQUAL(WTERMSIG(status("fault, ignored", "touch")), SIGBUS);
  CHECK_EQUAL(status("fault, ignored", "send"), 0);
  CHECK_EQUAL(WEXITSTATUS(status("fault, handler with information", "touch")), 43);
  CHECK_EQUAL(WEXITSTATUS(status("fault, handler with information", "send")), 44);
}
