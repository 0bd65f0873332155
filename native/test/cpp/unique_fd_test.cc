#include "../../src/os/unique_fd.h"

#include <fcntl.h>

#include "check.h"
#include "temporary.h"

using sluice::os::UniqueFd;

static UniqueFd Open() { return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

TEST("UniqueFd closes what it owns, once") {
  const long before = OpenDescriptors();
  {
    UniqueFd first = Open();
    CHECK(first);
    UniqueFd second(std::move(first));
    CHECK(!first);
    first = Open();
    CHECK_EQUAL(OpenDescriptors(), before + 2);
    first = std::move(second);
    CHECK_EQUAL(OpenDescriptors(), before + 1);
    first.Reset();
    CHECK_EQUAL(OpenDescriptors(), before);
    first.Reset();
  }
  CHECK_EQUAL(OpenDescriptors(), before);
}

TEST("UniqueFd gives up what is released") {
  UniqueFd owner = Open();
  const int fd = owner.Release();
  CHECK(!owner);
  owner.Reset();
  CHECK(fcntl(fd, F_GETFD) != -1);
  close(fd);
}
