#include "../../src/os/file_lock.h"

#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"
#include "temporary.h"

using namespace sluice::os;

TEST("LockFile excludes others until it is closed, and makes a private file") {
  const TemporaryDirectory directory;
  const std::string path = directory / "lock";
  UniqueFd held = LockFile(path);
  CHECK(held);
  struct stat status;
  CHECK_EQUAL(stat(path.c_str(), &status), 0);
  CHECK_EQUAL(status.st_mode & 07777, 0600u);
  CHECK(!LockFile(path));
  held.Reset();
  CHECK(LockFile(path));
}

TEST("LockFile does not follow a symbolic link, and says what failed") {
  const TemporaryDirectory directory;
  const std::string path = directory / "link";
  CHECK_EQUAL(symlink("elsewhere", path.c_str()), 0);
  const SystemError error = THROWN(SystemError, LockFile(path));
  CHECK_EQUAL(error.number(), ELOOP);
  CHECK_EQUAL(error.subject(), path);
  CHECK_EQUAL(THROWN(SystemError, LockFile(directory / "none/lock")).number(), ENOENT);
}

TEST("LockFile has one holder at a time, also when holders unlink the file") {
  const TemporaryDirectory directory;
  const std::string path = directory / "lock";
  constexpr int kThreads = 4;
  constexpr int kRounds = 300;
  std::atomic<int> holders = 0;
  std::atomic<int> most = 0;
  std::vector<std::thread> threads;
  for (int index = 0; index < kThreads; ++index) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds;) {
        UniqueFd lock = LockFile(path);
        if (!lock) {
          std::this_thread::yield();
          continue;
        }
        ++round;
        const int now = ++holders;
        if (now > most) most = now;
        --holders;
        unlink(path.c_str());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(most, 1);
}
