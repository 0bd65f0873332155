// Files by their names in an open directory, so that what is made, opened and removed is in that directory and no other,
// whatever happens to the path that led there. Names have no slash: none leads out of it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

// Good for its fstat(2) and for the functions below.
inline UniqueFd OpenDirectory(const std::string& path) {
  return UniqueFd(Check(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), "open", path));
}

inline const char* CheckName(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string("/\0", 2)) != std::string::npos) {
    throw ArgumentError("the name of a file in a directory must not be empty, . or .., nor have a slash or NUL in it");
  }
  return name.c_str();
}

// Never waits, as opening a FIFO otherwise does for its other end (fifo(7)), and follows no link. `access` is O_RDONLY,
// O_WRONLY or O_RDWR, or O_PATH to look at what is there, a link itself too, without opening it.
inline UniqueFd OpenAt(int directory, const std::string& name, int access) {
  const int flags = access | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC;
  return UniqueFd(Check(openat(directory, CheckName(name), flags), "openat", name));
}

// A new FIFO, with `mode` less the umask.
inline void MakeFifoAt(int directory, const std::string& name, mode_t mode) {
  Check(mkfifoat(directory, CheckName(name), mode), "mkfifoat", name);
}

inline void UnlinkAt(int directory, const std::string& name) {
  Check(unlinkat(directory, CheckName(name), 0), "unlinkat", name);
}

}  // namespace sluice::os
