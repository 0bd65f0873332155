#include "../../src/os/directory.h"

#include <filesystem>

#include "check.h"
#include "temporary.h"

using namespace sluice::os;

TEST("FIFOs are made, opened without waiting, and removed by their names in a directory") {
  const TemporaryDirectory temporary;
  const UniqueFd directory = OpenDirectory(temporary / "");
  MakeFifoAt(directory.get(), "fifo", 0600);
  CHECK_EQUAL(THROWN(SystemError, MakeFifoAt(directory.get(), "fifo", 0600)).number(), EEXIST);
  CHECK_EQUAL(THROWN(SystemError, OpenAt(directory.get(), "fifo", O_WRONLY)).number(), ENXIO);
  {
    const UniqueFd reader = OpenAt(directory.get(), "fifo", O_RDONLY);
    const UniqueFd writer = OpenAt(directory.get(), "fifo", O_WRONLY);
    CHECK_EQUAL(write(writer.get(), "x", 1), 1);
    char byte = 0;
    CHECK_EQUAL(read(reader.get(), &byte, 1), 1);
    CHECK_EQUAL(read(reader.get(), &byte, 1), -1);
    CHECK_EQUAL(errno, EAGAIN);
    CHECK(fcntl(reader.get(), F_GETFD) & FD_CLOEXEC);
  }
  UnlinkAt(directory.get(), "fifo");
  CHECK_EQUAL(THROWN(SystemError, OpenAt(directory.get(), "fifo", O_RDONLY)).number(), ENOENT);
}

TEST("what is found by name is in the directory that was opened, whatever took its path") {
  const TemporaryDirectory temporary;
  const std::string path = temporary / "here";
  std::filesystem::create_directory(path);
  const UniqueFd directory = OpenDirectory(path);
  MakeFifoAt(directory.get(), "fifo", 0600);
  std::filesystem::rename(path, temporary / "there");
  std::filesystem::create_directory(path);
  CHECK(OpenAt(directory.get(), "fifo", O_RDWR));
  UnlinkAt(directory.get(), "fifo");
  CHECK(std::filesystem::is_empty(temporary / "there"));
}

TEST("links are not followed, but can be looked at") {
  const TemporaryDirectory temporary;
  const UniqueFd directory = OpenDirectory(temporary / "");
  MakeFifoAt(directory.get(), "fifo", 0600);
  std::filesystem::create_symlink("fifo", temporary / "link");
  CHECK_EQUAL(THROWN(SystemError, OpenAt(directory.get(), "link", O_RDWR)).number(), ELOOP);
  const UniqueFd link = OpenAt(directory.get(), "link", O_PATH);
  struct stat status;
  CHECK_EQUAL(fstat(link.get(), &status), 0);
  CHECK(S_ISLNK(status.st_mode));
}

TEST("names that lead elsewhere are refused") {
  const TemporaryDirectory temporary;
  const UniqueFd directory = OpenDirectory(temporary / "");
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                  std::string("/a"), std::string("a\0b", 3)}) {
    THROWN(ArgumentError, OpenAt(directory.get(), name, O_RDONLY));
    THROWN(ArgumentError, MakeFifoAt(directory.get(), name, 0600));
    THROWN(ArgumentError, UnlinkAt(directory.get(), name));
  }
}
