#include <cstdio>

#include "check.h"

int main() {
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
