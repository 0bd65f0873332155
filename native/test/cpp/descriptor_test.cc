#include "../../src/os/descriptor.h"

#include "../../src/os/socket.h"
#include "check.h"
#include "temporary.h"

using namespace sluice::os;

TEST("KindOf tells descriptors apart") {
  const auto [reading, writing] = Pipe();
  const auto [left, right] = SocketPair();
  const TemporaryDirectory directory;
  const UniqueFd file(open((directory / "file").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  const UniqueFd folder(open("/", O_RDONLY | O_CLOEXEC));
  const UniqueFd device(open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK_EQUAL(std::string(KindOf(reading.get())), "pipe");
  CHECK_EQUAL(std::string(KindOf(left.get())), "socket");
  CHECK_EQUAL(std::string(KindOf(file.get())), "file");
  CHECK_EQUAL(std::string(KindOf(folder.get())), "directory");
  CHECK_EQUAL(std::string(KindOf(device.get())), "device");
  CHECK_EQUAL(THROWN(SystemError, KindOf(-1)).number(), EBADF);
}

TEST("A pipe carries bytes one way and is not inherited") {
  const auto [reading, writing] = Pipe();
  CHECK_EQUAL(write(writing.get(), "abc", 3), 3);
  char bytes[4];
  CHECK_EQUAL(read(reading.get(), bytes, 4), 3);
  CHECK_EQUAL(write(reading.get(), "x", 1), -1);
  for (const UniqueFd* fd : {&reading, &writing}) CHECK(fcntl(fd->get(), F_GETFD) & FD_CLOEXEC);
}

TEST("A pipe is made larger, and never smaller") {
  const auto [reading, writing] = Pipe();
  const int held = fcntl(writing.get(), F_GETPIPE_SZ);
  CHECK(!EnlargePipe(writing.get(), held));
  CHECK(EnlargePipe(writing.get(), 2 * held));
  CHECK_EQUAL(fcntl(writing.get(), F_GETPIPE_SZ), 2 * held);
  CHECK(!EnlargePipe(writing.get(), held));
  CHECK_EQUAL(fcntl(reading.get(), F_GETPIPE_SZ), 2 * held);
  const UniqueFd device(open("/dev/null", O_WRONLY | O_CLOEXEC));
  CHECK(!EnlargePipe(device.get(), 2 * held));
}

TEST("Flags of a descriptor can be set and cleared") {
  const auto [reading, writing] = Pipe();
  SetCloseOnExec(reading.get(), false);
  CHECK(!(fcntl(reading.get(), F_GETFD) & FD_CLOEXEC));
  SetCloseOnExec(reading.get(), true);
  CHECK(fcntl(reading.get(), F_GETFD) & FD_CLOEXEC);
  SetNonBlocking(reading.get(), true);
  char byte;
  CHECK_EQUAL(read(reading.get(), &byte, 1), -1);
  CHECK_EQUAL(errno, EAGAIN);
  SetNonBlocking(reading.get(), false);
  CHECK(!(fcntl(reading.get(), F_GETFL) & O_NONBLOCK));
}

TEST("Duplicate and DuplicateOnto") {
  auto [reading, writing] = Pipe();
  const UniqueFd copy = Duplicate(writing.get());
  CHECK(copy.get() >= 3);
  CHECK(fcntl(copy.get(), F_GETFD) & FD_CLOEXEC);
  DuplicateOnto(copy.get(), writing.get());
  CHECK(fcntl(writing.get(), F_GETFD) & FD_CLOEXEC);
  CHECK_EQUAL(write(writing.get(), "x", 1), 1);
  THROWN(ArgumentError, DuplicateOnto(copy.get(), copy.get()));
  CHECK_EQUAL(THROWN(SystemError, DuplicateOnto(-1, writing.get())).number(), EBADF);
}
