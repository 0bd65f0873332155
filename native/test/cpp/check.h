// The little that these tests need of a framework.
#pragma once

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

struct Registration {
  Registration(const char* name, void (*body)()) { Tests().push_back({name, body}); }
};

#define TEST_AT_LINE(name, line)                                       \
  static void test_##line();                                           \
  static const Registration registration_##line(name, test_##line); \
  static void test_##line()
#define TEST_AT(name, line) TEST_AT_LINE(name, line)
#define TEST(name) TEST_AT(name, __LINE__)

// What a test runs in a process of its own, see program.h. Returns the exit status.
struct Program {
  const char* name;
  int (*body)(const std::vector<std::string>& arguments);
};

inline std::vector<Program>& Programs() {
  static std::vector<Program> programs;
  return programs;
}

struct ProgramRegistration {
  ProgramRegistration(const char* name, int (*body)(const std::vector<std::string>&)) {
    Programs().push_back({name, body});
  }
};

#define PROGRAM_AT_LINE(name, line)                                                        \
  static int program_##line([[maybe_unused]] const std::vector<std::string>& arguments);   \
  static const ProgramRegistration program_registration_##line(name, program_##line); \
  static int program_##line([[maybe_unused]] const std::vector<std::string>& arguments)
#define PROGRAM_AT(name, line) PROGRAM_AT_LINE(name, line)
#define PROGRAM(name) PROGRAM_AT(name, __LINE__)

[[noreturn]] inline void FailAt(const char* file, int line, const std::string& what) {
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) FailAt(__FILE__, __LINE__, "not " #condition); \
  } while (false)

template <class A, class B>
void CheckEqual(const A& actual, const B& expected, const char* file, int line) {
  if (actual == expected) return;
  std::ostringstream text;
  text << "expected " << expected << ", got " << actual;
  FailAt(file, line, text.str());
}
#define CHECK_EQUAL(actual, expected) CheckEqual((actual), (expected), __FILE__, __LINE__)

// The `Error` that `body` throws.
template <class Error, class Body>
Error Thrown(Body body, const char* file, int line) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  FailAt(file, line, "nothing was thrown");
}
#define THROWN(Error, expression) Thrown<Error>([&] { (void)(expression); }, __FILE__, __LINE__)
