#include "../../src/os/rights.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <array>

#include "../../src/os/descriptor.h"
#include "../../src/os/socket.h"
#include "check.h"
#include "temporary.h"

using namespace sluice::os;

static std::span<const std::byte> Bytes(const char* text) { return std::as_bytes(std::span(text, strlen(text))); }

struct Received {
  ssize_t count;
  std::vector<UniqueFd> fds;
  bool truncated = false;
};

static Received Receive(int socket, size_t limit) {
  Received received{};
  std::array<std::byte, 100> bytes;
  received.count = ReceiveWithDescriptors(socket, bytes, limit, received.fds, received.truncated);
  return received;
}

TEST("Descriptors travel with the bytes, close on exec") {
  const auto [left, right] = SocketPair();
  const auto [reading, writing] = Pipe();
  const std::array fds{reading.get(), writing.get()};
  CHECK_EQUAL(SendWithDescriptors(left.get(), Bytes("xyz"), fds), 3u);
  const Received received = Receive(right.get(), 10);
  CHECK_EQUAL(received.count, 3);
  CHECK_EQUAL(received.fds.size(), 2u);
  CHECK(!received.truncated);
  for (const UniqueFd& fd : received.fds) CHECK(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  CHECK_EQUAL(write(received.fds[1].get(), "x", 1), 1);
  char byte;
  CHECK_EQUAL(read(reading.get(), &byte, 1), 1);
}

TEST("No more descriptors are taken than allowed, and none are left open") {
  const auto [left, right] = SocketPair();
  const std::array fds{left.get(), left.get(), left.get()};
  const long before = OpenDescriptors();
  for (const size_t limit : {size_t{1}, size_t{2}}) {
    SendWithDescriptors(left.get(), Bytes("x"), fds);
    const Received received = Receive(right.get(), limit);
    CHECK_EQUAL(received.count, 1);
    CHECK_EQUAL(received.fds.size(), limit);
    CHECK(received.truncated);
  }
  SendWithDescriptors(left.get(), Bytes("x"), fds);
  char byte;
  CHECK_EQUAL(recv(right.get(), &byte, 1, 0), 1);
  CHECK_EQUAL(OpenDescriptors(), before);
}

TEST("As many descriptors as the kernel allows") {
  const auto [left, right] = SocketPair();
  const std::vector<int> fds(kMaxDescriptors, left.get());
  SendWithDescriptors(left.get(), Bytes("x"), fds);
  const Received received = Receive(right.get(), kMaxDescriptors);
  CHECK_EQUAL(received.fds.size(), kMaxDescriptors);
  CHECK(!received.truncated);
}

TEST("End of file, nothing to read, and no room are told apart") {
  auto [left, right] = SocketPair();
  CHECK_EQUAL(Receive(right.get(), 1).count, -1);
  CHECK_EQUAL(errno, EAGAIN);
  const std::array fds{left.get()};
  const std::vector<char> block(4096, 'x');
  const auto fill = [&] {
    for (;;) SendWithDescriptors(left.get(), std::as_bytes(std::span(block)), fds);
  };
  CHECK_EQUAL(THROWN(SystemError, fill()).number(), EAGAIN);
  left.Reset();
  Received received;
  while ((received = Receive(right.get(), 10)).count > 0) continue;
  CHECK_EQUAL(received.count, 0);
}

TEST("Sending descriptors to a peer that is gone fails without a signal") {
  auto [left, right] = SocketPair();
  right.Reset();
  const std::array fds{left.get()};
  CHECK_EQUAL(THROWN(SystemError, SendWithDescriptors(left.get(), Bytes("x"), fds)).number(), EPIPE);
}

TEST("A process with no room for descriptors is told so by truncation") {
  const auto [left, right] = SocketPair();
  const std::array fds{left.get(), left.get()};
  SendWithDescriptors(left.get(), Bytes("x"), fds);
  rlimit limit;
  Check(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  const UniqueFd next = Duplicate(left.get());  // the lowest free number, but for those below 3
  const rlimit full{static_cast<rlim_t>(next.get()) + 1, limit.rlim_max};
  Check(setrlimit(RLIMIT_NOFILE, &full), "setrlimit");
  const Received received = Receive(right.get(), 2);
  Check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  CHECK_EQUAL(received.count, 1);
  CHECK(received.truncated);
  CHECK(received.fds.size() < 2);
}
