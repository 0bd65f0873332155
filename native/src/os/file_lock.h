#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <string>

#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

// Locks the file at `path`, creating it if need be, until the descriptor is closed. Empty when another holds the lock.
inline UniqueFd LockFile(const std::string& path) {
  for (;;) {
    UniqueFd file(Check(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), "open", path));
    if (Uninterrupted([&] { return flock(file.get(), LOCK_EX | LOCK_NB); }) == -1) {
      if (errno == EWOULDBLOCK) return {};
      throw SystemError(errno, "flock", path);
    }
    // Its last holder may have unlinked the file between our open and our flock. Then this lock excludes nobody who
    // opens the path from now on: begin again, with the new file. Each round means that somebody else got further.
    struct stat locked, named;
    Check(fstat(file.get(), &locked), "fstat", path);
    if (lstat(path.c_str(), &named) == 0) {
      if (locked.st_dev == named.st_dev && locked.st_ino == named.st_ino) return file;
    } else if (errno != ENOENT) {
      throw SystemError(errno, "lstat", path);
    }
  }
}

}  // namespace sluice::os
