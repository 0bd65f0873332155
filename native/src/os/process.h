#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

// A descriptor that becomes readable when the process ends (pidfd_open(2)), close-on-exec. Throws ESRCH if there is none.
inline UniqueFd OpenProcess(pid_t pid) {
  const long fd = syscall(SYS_pidfd_open, pid, 0);
  return UniqueFd(Check(static_cast<int>(fd), "pidfd_open", "process " + std::to_string(pid)));
}

// The process that the thread `tid` belongs to; 0 if there is no such thread.
inline pid_t ProcessOf(pid_t tid) {
  std::ifstream status("/proc/" + std::to_string(tid) + "/status");
  pid_t pid = 0;
  for (std::string line; pid == 0 && std::getline(status, line);) sscanf(line.c_str(), "Tgid: %d", &pid);
  return pid;
}

}  // namespace sluice::os
