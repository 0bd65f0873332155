#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <string>

#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

// A descriptor that becomes readable when the process ends (pidfd_open(2)), close-on-exec. Throws ESRCH if there is none.
inline UniqueFd OpenProcess(pid_t pid) {
  const long fd = syscall(SYS_pidfd_open, pid, 0);
  return UniqueFd(Check(static_cast<int>(fd), "pidfd_open", "process " + std::to_string(pid)));
}

}  // namespace sluice::os
