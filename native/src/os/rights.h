// Descriptors passed over a Unix socket (SCM_RIGHTS, unix(7)).
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

// The kernel's SCM_MAX_FD: one message carries no more.
inline constexpr size_t kMaxDescriptors = 253;

// Sends `bytes`, and copies of `fds` with the first of them. Returns how many bytes the kernel took: not 0, but perhaps
// not all. Throws EAGAIN when it took nothing.
inline size_t SendWithDescriptors(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))] = {};
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(fds.size_bytes());
  memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  const ssize_t sent = Uninterrupted([&] { return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
  if (sent == -1) throw SystemError(errno, "sendmsg");
  return static_cast<size_t>(sent);
}

// The error for descriptors that were `truncated`: the kernel stops short of the limit only when this process has no room for more.
inline int TruncationError(size_t received, size_t limit) { return received < limit ? EMFILE : EPROTO; }

// Like recv(2): reads into `bytes`, returns how many, 0 at end of file, or -1 with errno. Descriptors that come with
// them are appended to `fds`, at most `limit` (not above kMaxDescriptors); sets `truncated` if there were others, which
// the kernel has closed.
inline ssize_t ReceiveWithDescriptors(int socket, std::span<std::byte> bytes, size_t limit, std::vector<UniqueFd>& fds,
                                      bool& truncated) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  // Without the padding of CMSG_SPACE, in which the kernel would put one more descriptor.
  message.msg_controllen = CMSG_LEN(limit * sizeof(int));
  fds.reserve(fds.size() + limit);  // before the kernel makes any: a failing allocation must not lose them
  const ssize_t received =
      Uninterrupted([&] { return recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); });
  if (received == -1) return -1;
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < count; ++index) {
      int fd;
      memcpy(&fd, CMSG_DATA(item) + index * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  return received;
}

}  // namespace sluice::os
