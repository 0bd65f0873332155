// A PROGRAM of these tests in a process of its own.
#pragma once

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "../../src/os/error.h"

class Process {
 public:
  // Inherits every descriptor that is not closed on exec.
  explicit Process(std::string program, std::string argument = {}) {
    std::string self = "/proc/self/exe";
    char* arguments[] = {self.data(), program.data(), argument.empty() ? nullptr : argument.data(), nullptr};
    const int error = posix_spawn(&pid_, self.c_str(), nullptr, nullptr, arguments, environ);
    if (error != 0) throw sluice::os::SystemError(error, "posix_spawn", program);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ == 0) return;
    Kill();
    Await();
  }

  void Kill() { kill(pid_, SIGKILL); }

  // The status of wait(2).
  int Await() {
    int status;
    sluice::os::Check(sluice::os::Uninterrupted([&] { return waitpid(pid_, &status, 0); }), "waitpid");
    pid_ = 0;
    return status;
  }

 private:
  pid_t pid_ = 0;
};
