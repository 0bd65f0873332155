#include <cstdio>

#include "check.h"

static int RunProgram(const std::string& name, const std::vector<std::string>& arguments) {
  for (const Program& program : Programs()) {
    if (name == program.name) return program.body(arguments);
  }
  fprintf(stderr, "there is no program %s\n", name.c_str());
  return 1;
}

// Without arguments: all tests. Otherwise the program of that name, with the arguments after it.
int main(int argc, char** argv) {
  if (argc > 1) return RunProgram(argv[1], {argv + 2, argv + argc});
  int failed = 0;
  for (const Test& test : Tests()) {
    try {
      test.body();
      printf("ok      %s\n", test.name);
    } catch (const std::exception& error) {
      ++failed;
      printf("FAILED  %s\n        %s\n", test.name, error.what());
    }
  }
  printf("%zu passed, %d failed\n", Tests().size() - static_cast<size_t>(failed), failed);
  return failed == 0 ? 0 : 1;
}
