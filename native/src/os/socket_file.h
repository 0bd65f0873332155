#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "error.h"

namespace sluice::os {

// The file of a listening Unix socket, which the kernel leaves behind: removed at the end, unless another file has
// taken its place. To be destroyed before the socket is closed: until then no other file can have its inode number.
class SocketFile {
 public:
  SocketFile() = default;
  explicit SocketFile(std::string path) : path_(std::move(path)) {
    Check(lstat(path_.c_str(), &made_), "lstat", path_);
    // The process may change its working directory; but not every one can be reached by its whole path.
    std::error_code unknown;
    const std::string absolute = std::filesystem::absolute(path_, unknown).string();
    if (!unknown && IsAt(absolute)) path_ = absolute;
  }
  SocketFile(SocketFile&& other) noexcept : path_(std::exchange(other.path_, {})), made_(other.made_) {}
  SocketFile& operator=(SocketFile&& other) noexcept {
    Remove();
    path_ = std::exchange(other.path_, {});
    made_ = other.made_;
    return *this;
  }
  ~SocketFile() { Remove(); }

  void Remove() {
    if (!path_.empty() && IsAt(path_)) unlink(path_.c_str());
    path_.clear();
  }

 private:
  bool IsAt(const std::string& path) const {
    struct stat found;
    return lstat(path.c_str(), &found) == 0 && found.st_dev == made_.st_dev && found.st_ino == made_.st_ino;
  }

  std::string path_;
  struct stat made_ {};
};

}  // namespace sluice::os
