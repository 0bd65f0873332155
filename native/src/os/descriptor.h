// What can be asked of and done to any descriptor.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

inline const char* KindOf(int fd) {
  struct stat status;
  Check(fstat(fd, &status), "fstat");
  switch (status.st_mode & S_IFMT) {
    case S_IFSOCK: return "socket";
    case S_IFIFO: return "pipe";
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFCHR: return isatty(fd) ? "terminal" : "device";
    case S_IFBLK: return "device";
    default: return "other";
  }
}

inline bool IsSocket(int fd) {
  struct stat status;
  Check(fstat(fd, &status), "fstat");
  return S_ISSOCK(status.st_mode);
}

inline void SetCloseOnExec(int fd, bool on) {
  const int flags = Check(fcntl(fd, F_GETFD), "fcntl");
  Check(fcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC), "fcntl");
}

inline void SetNonBlocking(int fd, bool on) {
  const int flags = Check(fcntl(fd, F_GETFL), "fcntl");
  Check(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK), "fcntl");
}

// For reading, for writing.
inline std::pair<UniqueFd, UniqueFd> Pipe() {
  int fds[2];
  Check(pipe2(fds, O_CLOEXEC), "pipe2");
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Makes a pipe hold `bytes`, if it holds less and the kernel permits more: an unprivileged user's pipes have a limit
// each and one together (pipe(7)). Returns whether it holds more now.
inline bool EnlargePipe(int fd, int bytes) {
  const int held = fcntl(fd, F_GETPIPE_SZ);
  return held != -1 && held < bytes && fcntl(fd, F_SETPIPE_SZ, bytes) != -1;
}

// Never one of the standard descriptors, so that nothing printed can end up in the copy.
inline UniqueFd Duplicate(int fd) { return UniqueFd(Check(fcntl(fd, F_DUPFD_CLOEXEC, 3), "fcntl")); }

inline void DuplicateOnto(int from, int to) {
  if (from == to) throw ArgumentError("dup2: both are descriptor " + std::to_string(from));
  Check(Uninterrupted([=] { return dup3(from, to, to <= STDERR_FILENO ? 0 : O_CLOEXEC); }), "dup3");
}

}  // namespace sluice::os
