// How the code in this folder fails: an exception that knows the system call, its errno and what it was about.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace sluice::os {

class SystemError : public std::runtime_error {
 public:
  // `call` has static storage duration. `subject`, such as a path, may be empty.
  SystemError(int number, const char* call, std::string_view subject = {})
      : std::runtime_error(Describe(number, call, subject)), number_(number), call_(call), subject_(subject) {}

  int number() const { return number_; }
  const char* call() const { return call_; }
  const std::string& subject() const { return subject_; }

 private:
  static std::string Describe(int number, const char* call, std::string_view subject) {
    std::string text = std::string(call) + ": " + std::generic_category().message(number);
    if (!subject.empty()) text.append(", ").append(subject);
    return text;
  }

  int number_;
  const char* call_;
  std::string subject_;
};

// The caller's own mistake: an argument that no system call needs to see.
class ArgumentError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// `result`, unless it is the -1 by which system calls fail.
inline int Check(int result, const char* call, std::string_view subject = {}) {
  if (result == -1) throw SystemError(errno, call, subject);
  return result;
}

// Calls `call` again as long as a signal interrupts it.
template <class Call>
auto Uninterrupted(Call call) {
  decltype(call()) result;
  do result = call();
  while (result == -1 && errno == EINTR);
  return result;
}

}  // namespace sluice::os
