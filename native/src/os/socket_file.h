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
  explicit SocketFile(const std::string& path) : path_(Absolute(path)) {
    Check(lstat(path_.c_str(), &made_), "lstat", path_);
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
    struct stat found;
    if (!path_.empty() && lstat(path_.c_str(), &found) == 0 && found.st_dev == made_.st_dev &&
        found.st_ino == made_.st_ino) {
      unlink(path_.c_str());
    }
    path_.clear();
  }

 private:
  // The process may change its working directory.
  static std::string Absolute(const std::string& path) {
    std::error_code unknown;
    const std::filesystem::path absolute = std::filesystem::absolute(path, unknown);
    return unknown ? path : absolute.string();
  }

  std::string path_;
  struct stat made_ {};
};

}  // namespace sluice::os
