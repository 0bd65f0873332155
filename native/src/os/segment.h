// Memory shared by the two ends of one connection: a header, two rings, each mapped twice in a row, so that no record in it
// ever wraps, and blocks for large frames. docs/shared-memory.md has the layout and the protocol.
#pragma once

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "error.h"
#include "semaphore.h"
#include "unique_fd.h"

namespace sluice::os {

// Each word is alone on two cache lines, since processors prefetch lines in pairs.
inline constexpr size_t kSharedWordSpacing = 128;

// The values of SegmentHeader::Endpoint::sleeping.
enum Sleeping : uint32_t { kAwake = 0, kAsleepOnSocket = 1, kAsleepOnSemaphore = 2 };

// The start of every segment. All of it can be written by the peer at any time.
struct SegmentHeader {
  static constexpr uint32_t kMagic = 0x52474c53;  // "SLGR" in memory
  static constexpr uint32_t kVersion = 3;
  static constexpr int kBlocks = 16;

  // Ring 0 carries from the server to the client, ring 1 the other way.
  struct alignas(512) Ring {
    alignas(kSharedWordSpacing) SharedWord head;  // bytes ever published, mod 2^32
    alignas(kSharedWordSpacing) SharedWord tail;  // bytes ever taken, mod 2^32
    std::byte reserved[640];
  };

  // Endpoint 0 is the server (the listening side), endpoint 1 the client.
  struct alignas(512) Endpoint {
    alignas(kSharedWordSpacing) SharedWord sleeping;   // a Sleeping
    alignas(kSharedWordSpacing) SharedWord waiting;    // 0, or how many free bytes of its outbound ring it waits for
    alignas(kSharedWordSpacing) SharedWord semaphore;  // see semaphore.h
  };

  // Of each endpoint's outbound blocks: 1 while one holds a frame. Set by its writer, and taken down by its reader.
  struct alignas(256) Blocks {
    struct alignas(16) State {
      SharedWord used;
    } states[kBlocks];
  };

  uint32_t magic;
  uint32_t version;
  uint32_t capacity;     // bytes of one ring
  uint32_t block_bytes;  // bytes of one block; 0 without blocks
  Ring rings[2];
  Endpoint endpoints[2];
  Blocks blocks[2];
};
static_assert(offsetof(SegmentHeader, rings) == 512 && sizeof(SegmentHeader::Ring) == 1024);
static_assert(offsetof(SegmentHeader::Ring, head) == 0 && offsetof(SegmentHeader::Ring, tail) == 128);
static_assert(offsetof(SegmentHeader, endpoints) == 2560 && sizeof(SegmentHeader::Endpoint) == 512);
static_assert(offsetof(SegmentHeader::Endpoint, sleeping) == 0 && offsetof(SegmentHeader::Endpoint, waiting) == 128);
static_assert(offsetof(SegmentHeader::Endpoint, semaphore) == 256);
static_assert(offsetof(SegmentHeader, blocks) == 3584 && sizeof(SegmentHeader::Blocks) == 256);
static_assert(sizeof(SegmentHeader) == 4096);

inline constexpr size_t kSegmentHeaderBytes = 4096;
inline constexpr uint32_t kMinRingCapacity = 4096;
inline constexpr uint32_t kMaxRingCapacity = 1u << 30;
inline constexpr uint32_t kMaxBlockBytes = 1u << 26;

enum class SegmentKind : uint32_t {
  kMemfd = 1,  // memfd_create(2), sealed so that it cannot shrink under its mapping; pages are taken when first touched
  kPosix = 2,  // shm_open(3), preallocated
  kSysV = 3,   // shmget(2)
  kFile = 4,   // an ordinary file, preallocated
};

// One mapping of a segment. No kind leaves a name behind: memfds have none, files are unlinked before Create returns,
// and System V segments are marked for removal, so that the last process to go, however it ends, takes the memory away.
//
// A file (kPosix, kFile) can be truncated by whoever has a descriptor for it, after which touching data() raises
// SIGBUS: see fault_guard.h.
class Segment {
 public:
  // `capacity`, of each ring, is a power of two in 4 KiB..1 GiB. `block_bytes`, of each of the 16 blocks that each end
  // writes, is a multiple of the page size up to 64 MiB, 0 for no blocks. Only a memfd can have any: its pages cost nothing
  // until they are touched, and cannot be taken away. `directory`, of kFile alone, is where its file is made.
  static Segment Create(SegmentKind kind, uint32_t capacity, uint32_t block_bytes = 0, const char* directory = nullptr) {
    CheckSizes(kind, capacity, block_bytes);
    Segment segment(capacity, block_bytes);
    switch (kind) {
      case SegmentKind::kMemfd: segment.CreateMemfd(); break;
      case SegmentKind::kPosix: segment.CreatePosix(); break;
      case SegmentKind::kSysV: segment.CreateSysV(); break;
      case SegmentKind::kFile: segment.CreateFile(directory); break;
      default: throw UnknownKind(kind);
    }
    // New memory of every kind is zero, as all other words begin.
    SegmentHeader& header = segment.header();
    header.magic = SegmentHeader::kMagic;
    header.version = SegmentHeader::kVersion;
    header.capacity = capacity;
    header.block_bytes = block_bytes;
    return segment;
  }

  // Maps what the peer has created. `handle` is a descriptor received from it, which stays the caller's, or the id of
  // its System V segment. Nothing that the peer says is believed: what it has sent is checked before it is mapped or,
  // for System V, before it is written to. Throws ArgumentError when it is not such a segment.
  static Segment Open(SegmentKind kind, uint32_t capacity, uint32_t block_bytes, int handle) {
    CheckSizes(kind, capacity, block_bytes);
    Segment segment(capacity, block_bytes);
    switch (kind) {
      case SegmentKind::kMemfd:
        CheckSeals(handle);
        segment.MapReceived(handle);
        break;
      case SegmentKind::kPosix:
      case SegmentKind::kFile: segment.MapReceived(handle); break;
      case SegmentKind::kSysV: segment.AttachReceived(handle); break;
      default: throw UnknownKind(kind);
    }
    return segment;
  }

  Segment(Segment&& other) noexcept
      : capacity_(other.capacity_),
        block_bytes_(other.block_bytes_),
        data_(std::exchange(other.data_, nullptr)),
        fd_(std::move(other.fd_)),
        id_(std::exchange(other.id_, -1)) {}
  Segment& operator=(Segment&& other) noexcept {
    Segment old(std::move(*this));
    capacity_ = other.capacity_;
    block_bytes_ = other.block_bytes_;
    data_ = std::exchange(other.data_, nullptr);
    fd_ = std::move(other.fd_);
    id_ = std::exchange(other.id_, -1);
    return *this;
  }
  ~Segment() {
    if (data_ != nullptr) munmap(data_, size());
  }

  // The header, ring 0, ring 0 again, ring 1, ring 1 again, the blocks that endpoint 0 writes, those that endpoint 1 does.
  // Valid as long as the Segment.
  uint8_t* data() const { return data_; }
  // Bytes mapped at data().
  size_t size() const { return rings_size() + blocks_bytes(); }
  // What precedes the blocks.
  size_t rings_size() const { return kSegmentHeaderBytes + 4 * size_t{capacity_}; }
  uint32_t capacity() const { return capacity_; }
  SegmentHeader& header() const { return *reinterpret_cast<SegmentHeader*>(data_); }

  // Lets the system have the memory of a part of the blocks, whole pages, which are zero from then on. It is advice: where the
  // system cannot take them (pages locked by mlockall(2), a kernel without MADV_REMOVE), they stay as they are.
  void Discard(size_t start, size_t length) {
    if (start < rings_size() || start % kSegmentHeaderBytes != 0 || length % kSegmentHeaderBytes != 0 ||
        length > size() || start > size() - length) {
      throw ArgumentError("what is discarded must be whole pages of the blocks");
    }
    madvise(data_ + start, length, MADV_REMOVE);
  }

  // What the peer's Open needs: a descriptor to pass to it, or the System V id to tell it. Valid until CloseHandle() or
  // the Segment goes; -1 after CloseHandle(), and on a segment that was opened.
  int handle() const { return fd_ ? fd_.get() : id_; }
  // To be called once the peer has it: the mapping needs no descriptor.
  void CloseHandle() {
    fd_.Reset();
    id_ = -1;
  }

 private:
  // Reserves the addresses, so that the parts can be mapped side by side.
  Segment(uint32_t capacity, uint32_t block_bytes) : capacity_(capacity), block_bytes_(block_bytes) {
    void* reserved = mmap(nullptr, size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) throw MappingFailed();
    data_ = static_cast<uint8_t*>(reserved);
  }

  static void CheckSizes(SegmentKind kind, uint32_t capacity, uint32_t block_bytes) {
    if (sysconf(_SC_PAGESIZE) != long{kSegmentHeaderBytes}) {
      throw ArgumentError("shared memory needs memory pages of 4096 bytes, this system's have " +
                          std::to_string(sysconf(_SC_PAGESIZE)) + ": use a socket");
    }
    if (capacity < kMinRingCapacity || capacity > kMaxRingCapacity || (capacity & (capacity - 1)) != 0) {
      throw ArgumentError("a ring's capacity is a power of two from 4096 to 1073741824 bytes, not " +
                          std::to_string(capacity));
    }
    if (block_bytes == 0) return;
    if (kind != SegmentKind::kMemfd) throw ArgumentError("only a memfd has blocks");
    if (block_bytes > kMaxBlockBytes || block_bytes % kSegmentHeaderBytes != 0) {
      throw ArgumentError("a block has a multiple of 4096 bytes up to 67108864, not " + std::to_string(block_bytes));
    }
  }

  static ArgumentError UnknownKind(SegmentKind kind) {
    return ArgumentError("there is no segment kind " + std::to_string(static_cast<uint32_t>(kind)));
  }

  static ArgumentError NotASegment(const std::string& why) {
    return ArgumentError("the peer has sent something that is not a segment of this connection: " + why);
  }

  // 128 random bits: nobody can have made a file of that name before.
  static std::string RandomName() {
    std::array<uint8_t, 16> bytes;
    // Up to 256 bytes come whole, never interrupted (getrandom(2)).
    if (getrandom(bytes.data(), bytes.size(), 0) == -1) throw SystemError(errno, "getrandom");
    std::string name = "sluice-";
    for (const uint8_t byte : bytes) {
      name += "0123456789abcdef"[byte >> 4];
      name += "0123456789abcdef"[byte & 15];
    }
    return name;
  }

  size_t file_bytes() const { return kSegmentHeaderBytes + 2 * size_t{capacity_} + blocks_bytes(); }
  size_t blocks_bytes() const { return 2 * SegmentHeader::kBlocks * size_t{block_bytes_}; }

  SystemError MappingFailed() const {
    return SystemError(errno, "mmap", std::to_string(size()) + " bytes of addresses: choose a smaller ring capacity, or " +
                                          "raise the limits (ulimit -v, sysctl vm.max_map_count)");
  }

  void CreateMemfd() {
    fd_ = UniqueFd(Check(memfd_create("sluice", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create"));
    Check(ftruncate(fd_.get(), static_cast<off_t>(file_bytes())), "ftruncate", "a memfd");
    Check(fcntl(fd_.get(), F_ADD_SEALS, kSeals), "fcntl", "F_ADD_SEALS");
    Map(fd_.get());
  }

  void CreatePosix() {
    std::string name = "/";
    name += RandomName();
    // shm_open(3) sets FD_CLOEXEC and does not follow symbolic links.
    fd_ = UniqueFd(Check(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600), "shm_open", name));
    Check(shm_unlink(name.c_str()), "shm_unlink", name);
    Allocate("/dev/shm");
    Map(fd_.get());
  }

  void CreateFile(const char* directory) {
    if (directory == nullptr || *directory == '\0') throw ArgumentError("a file segment needs a directory");
    const std::string path = std::string(directory) + "/" + RandomName();
    fd_ = UniqueFd(
        Check(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), "open", path));
    Check(unlink(path.c_str()), "unlink", path);
    Allocate(directory);
    Map(fd_.get());
  }

  // Takes all of the file's blocks now: a file system that filled up later would answer a store with SIGBUS.
  void Allocate(const std::string& where) {
    const auto end = static_cast<off_t>(file_bytes());
    int error = 0;
    // In pieces: a signal has the kernel undo the one at which it is, and a profiler's come every millisecond.
    for (off_t at = 0; at < end && (error == 0 || error == EINTR);) {
      const off_t piece = std::min<off_t>(end - at, 1 << 20);
      error = posix_fallocate(fd_.get(), at, piece);
      if (error == 0) at += piece;
    }
    if (error == 0) return;
    std::string subject = std::to_string(file_bytes()) + " bytes in " + where;
    if (error == ENOSPC || error == EDQUOT) subject += ": free some space there, or choose a smaller ring capacity";
    throw SystemError(error, "posix_fallocate", subject);
  }

  void CreateSysV() {
    const int id = shmget(IPC_PRIVATE, file_bytes(), 0600 | IPC_CREAT | IPC_EXCL);
    if (id == -1) {
      std::string subject = std::to_string(file_bytes()) + " bytes";
      // shmget(2), "Errors"
      if (errno == EINVAL) subject += " are more than the limit: raise sysctl kernel.shmmax";
      if (errno == ENOSPC) subject += ": remove unused segments (ipcs -m), or raise sysctl kernel.shmmni and shmall";
      throw SystemError(errno, "shmget", subject);
    }
    // Marked for removal at once: other processes can still attach by the id as long as this one is attached, which is
    // peculiar to Linux (shmctl(2), IPC_RMID). Failing to attach removes it, too.
    const int attached = Attach(id);
    Check(shmctl(id, IPC_RMID, nullptr), "shmctl", "IPC_RMID");
    if (attached != 0) throw SystemError(attached, "shmat");
    id_ = id;
    MirrorAttached();
  }

  static void CheckSeals(int fd) {
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals == -1 && errno == EINVAL) throw NotASegment("not a memfd");
    Check(seals, "fcntl", "F_GET_SEALS");
    if ((seals & kSeals) != kSeals) throw NotASegment("a memfd without the seals against a change of its size");
  }

  void MapReceived(int fd) {
    struct stat status;
    Check(fstat(fd, &status), "fstat", "the peer's segment");
    if (!S_ISREG(status.st_mode)) throw NotASegment("not a regular file");
    if (status.st_uid != geteuid()) throw NotASegment("owned by user " + std::to_string(status.st_uid));
    CheckSize(static_cast<size_t>(status.st_size));
    // Read from the file, since touching the mapping of one that is truncated meanwhile would raise SIGBUS.
    Identity identity{};
    if (Uninterrupted([&] { return pread(fd, &identity, sizeof identity, 0); }) == -1) {
      throw SystemError(errno, "pread", "the peer's segment");
    }
    CheckIdentity(identity);
    Map(fd);
  }

  void AttachReceived(int id) {
    shmid_ds status;
    Check(shmctl(id, IPC_STAT, &status), "shmctl", "IPC_STAT of the peer's segment " + std::to_string(id));
    if (status.shm_perm.uid != geteuid()) throw NotASegment("owned by user " + std::to_string(status.shm_perm.uid));
    // Every segment made by CreateSysV is so marked, and hardly any other.
    if ((status.shm_perm.mode & SHM_DEST) == 0) throw NotASegment("not marked for removal");
    CheckSize(status.shm_segsz);
    if (const int error = Attach(id); error != 0) throw SystemError(error, "shmat", "the peer's segment");
    Identity identity;
    memcpy(&identity, data_, sizeof identity);
    CheckIdentity(identity);
    MirrorAttached();
  }

  struct Identity {
    uint32_t magic, version, capacity, block_bytes;
  };

  void CheckSize(size_t bytes) const {
    if (bytes == file_bytes()) return;
    throw NotASegment(std::to_string(bytes) + " bytes instead of " + std::to_string(file_bytes()));
  }

  void CheckIdentity(const Identity& identity) const {
    if (identity.magic != SegmentHeader::kMagic) throw NotASegment("it does not begin with SLGR");
    if (identity.version != SegmentHeader::kVersion) {
      throw NotASegment("layout version " + std::to_string(identity.version) + " instead of " +
                        std::to_string(SegmentHeader::kVersion) + "; use the same version of Sluice on both sides");
    }
    if (identity.capacity != capacity_) {
      throw NotASegment("capacity " + std::to_string(identity.capacity) + " instead of " + std::to_string(capacity_));
    }
    if (identity.block_bytes != block_bytes_) {
      throw NotASegment("blocks of " + std::to_string(identity.block_bytes) + " bytes instead of " +
                        std::to_string(block_bytes_));
    }
  }

  void Map(int fd) {
    const size_t capacity = capacity_;
    const size_t ring1 = kSegmentHeaderBytes + capacity;  // where its bytes are in the file
    MapPart(fd, 0, 0, kSegmentHeaderBytes + capacity);
    MapPart(fd, kSegmentHeaderBytes + capacity, kSegmentHeaderBytes, capacity);
    MapPart(fd, kSegmentHeaderBytes + 2 * capacity, ring1, capacity);
    MapPart(fd, kSegmentHeaderBytes + 3 * capacity, ring1, capacity);
    if (block_bytes_ > 0) MapPart(fd, kSegmentHeaderBytes + 4 * capacity, ring1 + capacity, blocks_bytes());
  }

  void MapPart(int fd, size_t at, size_t offset, size_t bytes) {
    if (mmap(data_ + at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(offset)) ==
        MAP_FAILED) {
      throw MappingFailed();
    }
  }

  // Maps the whole System V segment, which is all that shmat(2) can do, at the beginning. Returns 0 or an errno.
  int Attach(int id) { return shmat(id, data_, SHM_REMAP) == reinterpret_cast<void*>(-1) ? errno : 0; }

  // Makes [header][ring 0][ring 1] what it has to be, from the end, since the second copy of ring 0 comes to where ring
  // 1 was attached.
  void MirrorAttached() {
    const size_t capacity = capacity_;
    uint8_t* const ring0 = data_ + kSegmentHeaderBytes;
    uint8_t* const attached_ring1 = ring0 + capacity;
    Mirror(attached_ring1, ring0 + 3 * capacity);
    Mirror(attached_ring1, ring0 + 2 * capacity);
    Mirror(ring0, ring0 + capacity);
  }

  // mremap(2): with an old size of 0, the pages of a shared mapping are mapped once more.
  void Mirror(uint8_t* from, uint8_t* to) {
    if (mremap(from, 0, capacity_, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
      throw SystemError(errno, "mremap", "a System V segment");
    }
  }

  // Against a size that changes under the mapping, and against other seals.
  static constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

  uint32_t capacity_;
  uint32_t block_bytes_;
  uint8_t* data_ = nullptr;
  UniqueFd fd_;
  int id_ = -1;
};

}  // namespace sluice::os
