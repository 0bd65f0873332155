#include "../../src/os/segment.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "../../src/os/socket.h"
#include "check.h"
#include "temporary.h"

using namespace sluice::os;

static constexpr SegmentKind kKinds[] = {SegmentKind::kMemfd, SegmentKind::kPosix, SegmentKind::kSysV,
                                         SegmentKind::kFile};

// System V segments that this process has made: the fifth column is the creator.
static size_t SystemVSegments() {
  std::ifstream table("/proc/sysvipc/shm");
  size_t count = 0;
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string key, id, mode, size, creator;
    fields >> key >> id >> mode >> size >> creator;
    if (creator == std::to_string(getpid())) ++count;
  }
  return count;
}

// A file that is like a segment, but for what a test changes about it.
static UniqueFd Lookalike(uint32_t capacity, int seals, bool sealable = true) {
  UniqueFd fd(Check(memfd_create("test", MFD_CLOEXEC | (sealable ? MFD_ALLOW_SEALING : 0)), "memfd_create"));
  Check(ftruncate(fd.get(), 4096 + 2 * capacity), "ftruncate");
  const uint32_t identity[] = {SegmentHeader::kMagic, SegmentHeader::kVersion, capacity, 0};
  CHECK_EQUAL(pwrite(fd.get(), identity, sizeof identity, 0), 16);
  if (seals != 0) Check(fcntl(fd.get(), F_ADD_SEALS, seals), "fcntl");
  return fd;
}

static constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

static std::string Refusal(SegmentKind kind, uint32_t capacity, int handle) {
  return THROWN(ArgumentError, Segment::Open(kind, capacity, 0, handle)).what();
}

#define CHECK_CONTAINS(text, part) CHECK(std::string(text).find(part) != std::string::npos)

TEST("A segment of each kind: both ends see the same bytes, and each ring twice") {
  const TemporaryDirectory directory;
  for (const SegmentKind kind : kKinds) {
    for (const uint32_t capacity : {4096u, 65536u, 1u << 20}) {
      const Segment made = Segment::Create(kind, capacity, 0, (directory / "").c_str());
      const Segment opened = Segment::Open(kind, capacity, 0, made.handle());
      CHECK_EQUAL(made.size(), 4096 + 4 * size_t{capacity});
      CHECK_EQUAL(opened.size(), made.size());
      CHECK_EQUAL(opened.capacity(), capacity);
      uint8_t* const left = made.data() + 4096;
      uint8_t* const right = opened.data() + 4096;
      // Every page of both rings, written by the one end through the first copy or the second.
      for (const size_t ring : {size_t{0}, 2 * size_t{capacity}}) {
        for (size_t at = 0; at < capacity; at += 4096) {
          left[ring + at] = static_cast<uint8_t>(1 + at / 4096 + ring);
          left[ring + capacity + at + 4095] = static_cast<uint8_t>(7 + at / 4096 + ring);
        }
        for (size_t at = 0; at < capacity; at += 4096) {
          for (const size_t copy : {size_t{0}, size_t{capacity}}) {
            for (uint8_t* const end : {left, right}) {
              CHECK_EQUAL(end[ring + copy + at], static_cast<uint8_t>(1 + at / 4096 + ring));
              CHECK_EQUAL(end[ring + copy + at + 4095], static_cast<uint8_t>(7 + at / 4096 + ring));
            }
          }
        }
      }
      left[0] = 55;
      CHECK(left[2 * size_t{capacity}] != 55);  // the rings are two
      opened.header().rings[1].tail = 123;
      CHECK_EQUAL(made.header().rings[1].tail, 123u);
    }
  }
}

TEST("Blocks: both ends see the same bytes, apart from the rings, and pages not touched are not there") {
  Segment made = Segment::Create(SegmentKind::kMemfd, 4096, 8192);
  const Segment opened = Segment::Open(SegmentKind::kMemfd, 4096, 8192, made.handle());
  const size_t blocks = 4096 + 4 * 4096;
  CHECK_EQUAL(made.size(), blocks + 32 * 8192);
  CHECK_EQUAL(opened.size(), made.size());
  struct stat status;
  Check(fstat(made.handle(), &status), "fstat");
  CHECK_EQUAL(status.st_size, 4096 + 2 * 4096 + 32 * 8192);
  CHECK(status.st_blocks <= 4096 / 512);
  for (size_t at = 0; at < 32 * 8192; at += 4096) made.data()[blocks + at] = static_cast<uint8_t>(1 + at / 4096);
  for (size_t at = 0; at < 32 * 8192; at += 4096) CHECK_EQUAL(opened.data()[blocks + at], 1 + at / 4096);
  for (size_t at = 4096; at < blocks; at += 4096) CHECK_EQUAL(opened.data()[at], 0);
  CHECK_EQUAL(opened.header().block_bytes, 8192u);

  CHECK(fstat(made.handle(), &status) == 0);
  const auto taken = status.st_blocks;
  made.Discard(blocks + 8192, 2 * 8192);
  CHECK(fstat(made.handle(), &status) == 0);
  CHECK_EQUAL(status.st_blocks, taken - 2 * 8192 / 512);
  CHECK_EQUAL(opened.data()[blocks + 8192], 0);
  CHECK_EQUAL(opened.data()[blocks + 3 * 8192], 7);
  // Not mlock(), which does nothing under a sanitizer.
  Check(static_cast<int>(syscall(SYS_mlock, made.data() + blocks + 3 * 8192, size_t{4096})), "mlock");
  made.Discard(blocks + 3 * 8192, 8192);
  CHECK_EQUAL(opened.data()[blocks + 3 * 8192], 7);
  for (const auto& [start, length] : {std::pair{blocks - 4096, size_t{4096}}, {blocks + 1, 4096}, {blocks, 4095}, {made.size(), 4096}}) {
    CHECK_CONTAINS(THROWN(ArgumentError, made.Discard(start, length)).what(), "whole pages of the blocks");
  }
}

TEST("Only a memfd has blocks, of whole pages, and of the size that was agreed") {
  for (const SegmentKind kind : {SegmentKind::kPosix, SegmentKind::kSysV, SegmentKind::kFile}) {
    CHECK_CONTAINS(THROWN(ArgumentError, Segment::Create(kind, 4096, 4096)).what(), "only a memfd");
    CHECK_CONTAINS(THROWN(ArgumentError, Segment::Open(kind, 4096, 4096, 0)).what(), "only a memfd");
  }
  for (const uint32_t block : {1u, 4095u, (1u << 26) + 4096}) {
    CHECK_CONTAINS(THROWN(ArgumentError, Segment::Create(SegmentKind::kMemfd, 4096, block)).what(), "a block has");
  }
  const Segment made = Segment::Create(SegmentKind::kMemfd, 4096, 8192);
  CHECK_CONTAINS(THROWN(ArgumentError, Segment::Open(SegmentKind::kMemfd, 4096, 4096, made.handle())).what(),
                 "bytes instead of");
  made.header().block_bytes = 4096;
  CHECK_CONTAINS(THROWN(ArgumentError, Segment::Open(SegmentKind::kMemfd, 4096, 8192, made.handle())).what(),
                 "blocks of 4096 bytes instead of 8192");
}

TEST("A new segment's header: identity, and zero words") {
  const TemporaryDirectory directory;
  for (const SegmentKind kind : kKinds) {
    const Segment made = Segment::Create(kind, 8192, 0, (directory / "").c_str());
    const Segment opened = Segment::Open(kind, 8192, 0, made.handle());
    uint32_t words[4];
    memcpy(words, opened.data(), sizeof words);
    CHECK_EQUAL(words[0], 0x52474c53u);
    CHECK_EQUAL(words[1], 3u);
    CHECK_EQUAL(words[2], 8192u);
    CHECK_EQUAL(words[3], 0u);
    for (const SegmentHeader::Ring& ring : opened.header().rings) CHECK(ring.head == 0 && ring.tail == 0);
    for (const SegmentHeader::Endpoint& endpoint : opened.header().endpoints) {
      CHECK(endpoint.sleeping == 0 && endpoint.waiting == 0 && endpoint.semaphore == 0);
    }
  }
}

TEST("No kind leaves a name, a System V segment or a descriptor behind") {
  const TemporaryDirectory directory;
  const std::filesystem::path path(directory / "");
  const size_t segments = SystemVSegments();
  const long descriptors = OpenDescriptors();
  for (const SegmentKind kind : kKinds) {
    Segment made = Segment::Create(kind, 4096, 0, path.c_str());
    CHECK(std::filesystem::is_empty(path));
    if (kind == SegmentKind::kSysV) {
      CHECK_EQUAL(SystemVSegments(), segments + 1);
    } else {
      struct stat status;
      CHECK_EQUAL(fstat(made.handle(), &status), 0);
      CHECK_EQUAL(status.st_nlink, 0u);
    }
    Segment opened = Segment::Open(kind, 4096, 0, made.handle());
    CHECK_EQUAL(opened.handle(), -1);
    made.CloseHandle();
    CHECK_EQUAL(made.handle(), -1);
    CHECK_EQUAL(OpenDescriptors(), descriptors);
    // The mapping outlives the handle, and the other end's mapping.
    made.data()[4096] = 42;
    made = std::move(opened);
    CHECK_EQUAL(made.data()[4096], 42);
  }
  CHECK_EQUAL(SystemVSegments(), segments);
}

TEST("A descriptor that a segment passes on is closed on exec, and private") {
  const TemporaryDirectory directory;
  for (const SegmentKind kind : {SegmentKind::kMemfd, SegmentKind::kPosix, SegmentKind::kFile}) {
    const Segment made = Segment::Create(kind, 4096, 0, (directory / "").c_str());
    CHECK(fcntl(made.handle(), F_GETFD) & FD_CLOEXEC);
    struct stat status;
    CHECK_EQUAL(fstat(made.handle(), &status), 0);
    CHECK_EQUAL(status.st_size, 4096 + 2 * 4096);
    if (kind == SegmentKind::kMemfd) {
      CHECK(status.st_blocks < 4096 * 3 / 512);  // pages not touched are not there
    } else {
      CHECK_EQUAL(status.st_mode & 07777, 0600u);
      CHECK(status.st_blocks >= 4096 * 3 / 512);
    }
  }
}

TEST("A memfd's size cannot be changed, nor its seals") {
  const Segment made = Segment::Create(SegmentKind::kMemfd, 4096);
  CHECK_EQUAL(ftruncate(made.handle(), 4096), -1);
  CHECK_EQUAL(errno, EPERM);
  CHECK_EQUAL(ftruncate(made.handle(), 1 << 20), -1);
  CHECK_EQUAL(fcntl(made.handle(), F_ADD_SEALS, F_SEAL_WRITE), -1);
}

TEST("Open refuses a memfd without all its seals") {
  CHECK(Segment::Open(SegmentKind::kMemfd, 4096, 0, Lookalike(4096, kSeals).get()).data() != nullptr);
  for (const int missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL}) {
    const UniqueFd fd = Lookalike(4096, kSeals & ~missing);
    CHECK_CONTAINS(Refusal(SegmentKind::kMemfd, 4096, fd.get()), "seals");
  }
  CHECK_CONTAINS(Refusal(SegmentKind::kMemfd, 4096, Lookalike(4096, 0, false).get()), "seals");
  const UniqueFd unwritable = Lookalike(4096, kSeals | F_SEAL_WRITE);
  CHECK_EQUAL(THROWN(SystemError, Segment::Open(SegmentKind::kMemfd, 4096, 0, unwritable.get())).number(), EPERM);
}

TEST("Open refuses what is not a file") {
  const auto [left, right] = SocketPair();
  CHECK_CONTAINS(Refusal(SegmentKind::kMemfd, 4096, left.get()), "not a memfd");
  CHECK_CONTAINS(Refusal(SegmentKind::kPosix, 4096, left.get()), "not a regular file");
  CHECK_CONTAINS(Refusal(SegmentKind::kFile, 4096, left.get()), "not a regular file");
  for (const SegmentKind kind : kKinds) CHECK(THROWN(SystemError, Segment::Open(kind, 4096, 0, -1)).number() != 0);
}

TEST("Open refuses another size, and another identity") {
  const TemporaryDirectory directory;
  for (const SegmentKind kind : kKinds) {
    const Segment made = Segment::Create(kind, 8192, 0, (directory / "").c_str());
    CHECK_CONTAINS(Refusal(kind, 4096, made.handle()), "20480 bytes instead of 12288");
    CHECK_CONTAINS(Refusal(kind, 16384, made.handle()), "20480 bytes instead of 36864");
    SegmentHeader& header = made.header();
    header.capacity = 4096;
    CHECK_CONTAINS(Refusal(kind, 8192, made.handle()), "capacity 4096 instead of 8192");
    header.version = 1;
    CHECK_CONTAINS(Refusal(kind, 8192, made.handle()), "layout version 1 instead of 3");
    header.magic = 0;
    CHECK_CONTAINS(Refusal(kind, 8192, made.handle()), "SLGR");
  }
}

TEST("Open refuses what belongs to another user") {
  if (geteuid() != 0) return;  // only root can give a file away
  const UniqueFd fd = Lookalike(4096, kSeals);
  Check(fchown(fd.get(), 12345, 12345), "fchown");
  for (const SegmentKind kind : {SegmentKind::kMemfd, SegmentKind::kPosix, SegmentKind::kFile}) {
    CHECK_CONTAINS(Refusal(kind, 4096, fd.get()), "owned by user 12345");
  }
}

TEST("Open refuses a System V segment that has not been marked for removal") {
  const int id = Check(shmget(IPC_PRIVATE, 4096 + 2 * 4096, 0600 | IPC_CREAT), "shmget");
  const std::string refusal = [&]() -> std::string {
    try {
      Segment::Open(SegmentKind::kSysV, 4096, 0, id);
    } catch (const std::exception& error) {
      return error.what();
    }
    return {};
  }();
  Check(shmctl(id, IPC_RMID, nullptr), "shmctl");
  CHECK_CONTAINS(refusal, "not marked for removal");
}

TEST("A System V segment ends with the last mapping, and its id with it") {
  int id;
  {
    Segment made = Segment::Create(SegmentKind::kSysV, 4096);
    id = made.handle();
    const Segment opened = Segment::Open(SegmentKind::kSysV, 4096, 0, id);
    made = Segment::Create(SegmentKind::kSysV, 4096);
    CHECK(Segment::Open(SegmentKind::kSysV, 4096, 0, id).data() != nullptr);
  }
  const int error = THROWN(SystemError, Segment::Open(SegmentKind::kSysV, 4096, 0, id)).number();
  CHECK(error == EINVAL || error == EIDRM);
}

TEST("Create and Open refuse impossible capacities, kinds and directories") {
  for (const uint32_t capacity : {0u, 8u, 4095u, 4097u, 12288u, 1u << 31, 0xffffffffu}) {
    CHECK_CONTAINS(THROWN(ArgumentError, Segment::Create(SegmentKind::kMemfd, capacity)).what(),
                   "power of two from 4096 to 1073741824 bytes, not " + std::to_string(capacity));
    CHECK_CONTAINS(Refusal(SegmentKind::kMemfd, capacity, 0), "power of two");
  }
  for (const uint32_t kind : {0u, 5u}) {
    CHECK_CONTAINS(THROWN(ArgumentError, Segment::Create(SegmentKind{kind}, 4096)).what(), "no segment kind");
    CHECK_CONTAINS(Refusal(SegmentKind{kind}, 4096, 0), "no segment kind");
  }
  CHECK_CONTAINS(THROWN(ArgumentError, Segment::Create(SegmentKind::kFile, 4096)).what(), "needs a directory");
  const TemporaryDirectory directory;
  const std::string missing = directory / "none";
  const SystemError error = THROWN(SystemError, Segment::Create(SegmentKind::kFile, 4096, 0, missing.c_str()));
  CHECK_EQUAL(error.number(), ENOENT);
  CHECK_CONTAINS(error.subject(), missing);
}

TEST("The largest capacity is mapped, whether or not anything could fill it") {
  const Segment made = Segment::Create(SegmentKind::kMemfd, 1u << 30);
  uint8_t* const ring1 = made.data() + 4096 + 2 * (size_t{1} << 30);
  ring1[(size_t{1} << 30) - 1] = 9;
  CHECK_EQUAL(ring1[(size_t{2} << 30) - 1], 9);
}
