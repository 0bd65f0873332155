#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "../../src/os/error.h"

// A directory of its own, removed with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_((std::filesystem::temp_directory_path() / "sluice-XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) throw sluice::os::SystemError(errno, "mkdtemp", path_);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }

  std::string operator/(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// How many descriptors this process has open.
inline long OpenDescriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return std::distance(begin(entries), end(entries));
}
