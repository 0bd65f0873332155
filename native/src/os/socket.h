// Stream sockets: making, listening, accepting, connecting, asking who is at the other end.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <utility>

#include "address.h"
#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

inline void SetOption(int fd, int level, int option, int value) {
  Check(setsockopt(fd, level, option, &value, sizeof value), "setsockopt");
}

inline int GetOption(int fd, int level, int option) {
  int value;
  socklen_t length = sizeof value;
  Check(getsockopt(fd, level, option, &value, &length), "getsockopt");
  return value;
}

// How much TCP takes that it cannot send yet. Without a limit a small message waits behind megabytes where the network is
// the slowest part: 40 ms instead of 25 ms behind large calls at 800 Mbit/s, which are no slower for it. On loopback there
// is no difference. (TCP_NOTSENT_LOWAT: Documentation/networking/ip-sysctl.rst, tcp_notsent_lowat.)
inline constexpr int kTcpUnsentBytes = 128 * 1024;

// What every TCP connection is set to.
inline void SetTcpOptions(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kTcpUnsentBytes);
}

// The error that the socket has met since it was last asked, 0 for none. Asking clears it.
inline int PendingError(int fd) { return GetOption(fd, SOL_SOCKET, SO_ERROR); }

// Asks for a buffer of `bytes`. Returns what the kernel gives: twice that (socket(7)), within its limits.
inline int SetBuffer(int fd, int option, int bytes) {
  SetOption(fd, SOL_SOCKET, option, bytes);
  return GetOption(fd, SOL_SOCKET, option);
}

inline ucred PeerCredentials(int fd) {
  ucred credentials;
  socklen_t length = sizeof credentials;
  Check(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length), "getsockopt");
  return credentials;
}

inline std::pair<UniqueFd, UniqueFd> SocketPair() {
  int fds[2];
  Check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "socketpair");
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

inline UniqueFd StreamSocket(int family) {
  return UniqueFd(Check(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
}

struct ListenOptions {
  int backlog = 511;
  mode_t mode = 0600;
  bool ipv6_only = true;
};

inline UniqueFd Listen(const Address& address, const ListenOptions& options = {}) {
  UniqueFd listener = StreamSocket(address.family());
  if (address.family() == AF_UNIX) {
    // Linux gives the socket file the mode of the socket, less the umask: no moment with wider permissions, as there
    // would be with chmod(2) after bind(2).
    Check(fchmod(listener.get(), options.mode), "fchmod");
  } else {
    // Connections of an earlier listener that linger in TIME_WAIT must not keep the port (socket(7)).
    SetOption(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.family() == AF_INET6) SetOption(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6_only);
  }
  Check(bind(listener.get(), address.data(), address.length()), "bind", address.Describe());
  Check(listen(listener.get(), options.backlog), "listen", address.Describe());
  return listener;
}

// The next connection, not blocking, and its peer's address. Empty when none waits. Throws when no descriptor or
// memory is left, or the listener is broken.
inline UniqueFd Accept(int listener, Address& peer) {
  for (;;) {
    UniqueFd fd(accept4(listener, peer.buffer(), peer.buffer_length(), SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      if (peer.family() != AF_UNIX) SetTcpOptions(fd.get());
      return fd;
    }
    switch (errno) {
      case EAGAIN: return {};
      // One connection failed before it was accepted; the next may be well (accept(2), "Error handling").
      case EINTR: case ECONNABORTED: case EPROTO: case ENETDOWN: case ENOPROTOOPT: case EHOSTDOWN: case ENONET:
      case EHOSTUNREACH: case ENETUNREACH: case EPERM: break;
      default: throw SystemError(errno, "accept4");
    }
  }
}

enum class Progress { kConnected, kPending, kBacklogFull };

// Begins to connect. Pending: writable when done, see FinishConnecting. Backlog full (Unix only, connect(2)): nothing
// has begun, and no event will tell when there is room.
inline Progress Connect(int fd, const Address& address) {
  if (connect(fd, address.data(), address.length()) == 0) return Progress::kConnected;
  // An interrupted connect goes on by itself, like one that would have blocked.
  if (errno == EINPROGRESS || errno == EINTR) return Progress::kPending;
  if (errno == EAGAIN && address.family() == AF_UNIX) return Progress::kBacklogFull;
  throw SystemError(errno, "connect", address.Describe());
}

// The outcome of a pending Connect, once the socket is writable.
inline void FinishConnecting(int fd, const Address& address) {
  int error = PendingError(fd);
  // Connecting to a port of this host on which nobody listens can succeed: if the kernel picks that very port for this
  // end, TCP's simultaneous open connects the socket with itself.
  if (error == 0 && address.family() != AF_UNIX && Address::Local(fd) == Address::Remote(fd)) error = ECONNREFUSED;
  if (error != 0) throw SystemError(error, "connect", address.Describe());
}

}  // namespace sluice::os
