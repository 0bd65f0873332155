#include "../../src/os/socket.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "check.h"
#include "temporary.h"

using namespace sluice::os;

static void AwaitEvents(int fd, short events) {
  pollfd item{fd, events, 0};
  CHECK_EQUAL(Uninterrupted([&] { return poll(&item, 1, 10'000); }), 1);
}

static UniqueFd AwaitAccept(int listener, Address& peer) {
  AwaitEvents(listener, POLLIN);
  return Accept(listener, peer);
}

TEST("A Unix listener's file is private from the first moment") {
  const TemporaryDirectory directory;
  const std::string path = directory / "socket";
  const UniqueFd listener = Listen(Address::Unix(path));
  struct stat status;
  CHECK_EQUAL(lstat(path.c_str(), &status), 0);
  CHECK(S_ISSOCK(status.st_mode));
  CHECK_EQUAL(status.st_mode & 07777, 0600u);
  CHECK_EQUAL(THROWN(SystemError, Listen(Address::Unix(path))).number(), EADDRINUSE);
}

TEST("Unix: connect, accept, credentials of both ends") {
  const TemporaryDirectory directory;
  for (const std::string& name : {directory / "socket", "@sluice-test-" + std::to_string(getpid())}) {
    const Address address = Address::Unix(name);
    const UniqueFd listener = Listen(address);
    Address peer;
    CHECK(!Accept(listener.get(), peer));
    const UniqueFd client = StreamSocket(AF_UNIX);
    CHECK(Connect(client.get(), address) == Progress::kConnected);
    const UniqueFd server = AwaitAccept(listener.get(), peer);
    CHECK(server);
    CHECK_EQUAL(peer.family(), AF_UNIX);
    for (const UniqueFd* fd : {&client, &server}) {
      const ucred credentials = PeerCredentials(fd->get());
      CHECK_EQUAL(credentials.pid, getpid());
      CHECK_EQUAL(credentials.uid, geteuid());
      CHECK_EQUAL(credentials.gid, getegid());
      CHECK(fcntl(fd->get(), F_GETFL) & O_NONBLOCK);
      CHECK(fcntl(fd->get(), F_GETFD) & FD_CLOEXEC);
    }
    CHECK_EQUAL(Address::Remote(client.get()).unix_name(), name);
  }
}

TEST("Unix: nobody listens, or nobody accepts") {
  const TemporaryDirectory directory;
  const Address address = Address::Unix(directory / "socket");
  const UniqueFd client = StreamSocket(AF_UNIX);
  const SystemError missing = THROWN(SystemError, Connect(client.get(), address));
  CHECK_EQUAL(missing.number(), ENOENT);
  CHECK_EQUAL(missing.subject(), address.unix_name());
  {
    const UniqueFd listener = Listen(address, {.backlog = 1});
    std::vector<UniqueFd> waiting;
    Progress progress = Progress::kConnected;
    while (progress == Progress::kConnected && waiting.size() < 10) {
      waiting.push_back(StreamSocket(AF_UNIX));
      progress = Connect(waiting.back().get(), address);
    }
    CHECK(progress == Progress::kBacklogFull);
    Address peer;
    CHECK(Accept(listener.get(), peer));
    CHECK(Connect(waiting.back().get(), address) == Progress::kConnected);
  }
  CHECK_EQUAL(THROWN(SystemError, Connect(client.get(), address)).number(), ECONNREFUSED);
}

TEST("TCP: connect, accept, addresses and no delay") {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const UniqueFd listener = Listen(Address::Ip(host, 0));
    const Address address = Address::Local(listener.get());
    CHECK(address.ip_port() != 0);
    CHECK_EQUAL(THROWN(SystemError, Listen(address)).number(), EADDRINUSE);
    const UniqueFd client = StreamSocket(address.family());
    if (Connect(client.get(), address) == Progress::kPending) AwaitEvents(client.get(), POLLOUT);
    FinishConnecting(client.get(), address);
    Address peer;
    const UniqueFd server = AwaitAccept(listener.get(), peer);
    CHECK(server);
    CHECK(peer == Address::Local(client.get()));
    CHECK(GetOption(server.get(), IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(GetOption(server.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT) == kTcpUnsentBytes);
  }
}

TEST("TCP: nobody listens") {
  const UniqueFd holder = StreamSocket(AF_INET);  // has the port, so that nobody else listens there meanwhile
  const Address any = Address::Ip("127.0.0.1", 0);
  Check(bind(holder.get(), any.data(), any.length()), "bind");
  const Address address = Address::Local(holder.get());
  const UniqueFd client = StreamSocket(AF_INET);
  const auto attempt = [&] {
    if (Connect(client.get(), address) == Progress::kPending) AwaitEvents(client.get(), POLLOUT);
    FinishConnecting(client.get(), address);
  };
  CHECK_EQUAL(THROWN(SystemError, attempt()).number(), ECONNREFUSED);
}

TEST("TCP: a socket that is connected with itself is not connected") {
  const UniqueFd socket = StreamSocket(AF_INET);
  const Address any = Address::Ip("127.0.0.1", 0);
  Check(bind(socket.get(), any.data(), any.length()), "bind");
  const Address self = Address::Local(socket.get());
  if (Connect(socket.get(), self) == Progress::kPending) AwaitEvents(socket.get(), POLLOUT);
  CHECK_EQUAL(THROWN(SystemError, FinishConnecting(socket.get(), self)).number(), ECONNREFUSED);
}

TEST("Listening on :: takes IPv4 too only when asked") {
  for (const bool ipv6_only : {true, false}) {
    const UniqueFd listener = Listen(Address::Ip("::", 0), {.ipv6_only = ipv6_only});
    CHECK_EQUAL(GetOption(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY), ipv6_only ? 1 : 0);
  }
}

TEST("Socket buffers are set, and errors are asked for") {
  const auto [left, right] = SocketPair();
  CHECK(SetBuffer(left.get(), SO_SNDBUF, 50'000) >= 50'000);
  CHECK(SetBuffer(left.get(), SO_RCVBUF, 50'000) >= 50'000);
  CHECK_EQUAL(PendingError(left.get()), 0);
  CHECK_EQUAL(THROWN(SystemError, PendingError(-1)).number(), EBADF);
}
