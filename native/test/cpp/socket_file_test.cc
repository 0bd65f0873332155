#include "../../src/os/socket_file.h"

#include <fcntl.h>

#include "../../src/os/socket.h"
#include "check.h"
#include "temporary.h"

using namespace sluice::os;

static bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

TEST("SocketFile removes the socket's file at its end") {
  const TemporaryDirectory directory;
  const std::string path = directory / "socket";
  const UniqueFd listener = Listen(Address::Unix(path));
  {
    SocketFile file;
    file = SocketFile(path);
    CHECK(Exists(path));
    const SocketFile moved(std::move(file));
    file.Remove();
    CHECK(Exists(path));
  }
  CHECK(!Exists(path));
}

TEST("SocketFile leaves a file alone that took the socket's place") {
  const TemporaryDirectory directory;
  const std::string path = directory / "socket";
  const UniqueFd listener = Listen(Address::Unix(path));
  {
    const SocketFile file(path);
    unlink(path.c_str());
    const UniqueFd other(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    CHECK(other);
  }
  CHECK(Exists(path));
  CHECK_EQUAL(THROWN(SystemError, SocketFile(directory / "none")).number(), ENOENT);
}
