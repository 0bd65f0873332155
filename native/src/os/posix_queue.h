// POSIX message queues (mq_overview(7)). Linux gives each an inode: its descriptor can be polled, asked for its owner and
// locked like a file's, whether or not the file system of the queues is mounted.
#pragma once

#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "unique_fd.h"

namespace sluice::os {

// One open queue, whose descriptor does not block.
class PosixQueue {
 public:
  // Makes the queue `name`, with mode 0600, and holds it until this object goes, however the process ends. Empty when
  // there is one.
  static std::optional<PosixQueue> Make(const std::string& name, long messages, long message_bytes) {
    for (;;) {
      mq_attr attributes{};
      attributes.mq_maxmsg = messages;
      attributes.mq_msgsize = message_bytes;
      const int fd = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
      if (fd == -1) {
        if (errno == EEXIST) return {};
        throw SystemError(errno, "mq_open", name);
      }
      PosixQueue queue(fd);
      // Before that, RemoveDead may have taken it for one that was left behind.
      if (queue.Hold() && queue.IsNamed()) return queue;
    }
  }

  // Removes the queue `name` if there is one that nobody holds, and returns the messages in it. Throws EPERM when it belongs
  // to another user.
  static std::vector<std::vector<uint8_t>> RemoveDead(const std::string& name) {
    std::vector<std::vector<uint8_t>> left;
    std::optional<PosixQueue> queue = TryOpen(name, O_RDWR);
    if (!queue) return left;
    if (queue->uid() != geteuid()) {
      throw SystemError(EPERM, "mq_open", name + " belongs to user " + std::to_string(queue->uid()));
    }
    // Only who holds it may remove it; and another may have held and removed it before, and made a new one.
    if (!queue->Hold() || !queue->IsNamed()) return left;
    std::vector<uint8_t> memory(queue->message_bytes());
    while (const std::optional<size_t> count = queue->Receive(memory)) {
      left.emplace_back(memory.begin(), memory.begin() + static_cast<ptrdiff_t>(*count));
    }
    Unlink(name);
    return left;
  }

  // Opens a queue to send to it. Throws ENOENT if there is none.
  static PosixQueue Open(const std::string& name) {
    std::optional<PosixQueue> queue = TryOpen(name, O_WRONLY);
    if (!queue) throw SystemError(ENOENT, "mq_open", name);
    return std::move(*queue);
  }

  static void Unlink(const std::string& name) {
    if (mq_unlink(name.c_str()) == -1 && errno != ENOENT) throw SystemError(errno, "mq_unlink", name);
  }

  int fd() const { return fd_.get(); }
  uid_t uid() const { return status_.st_uid; }
  mode_t mode() const { return status_.st_mode & 07777; }
  // How many messages it holds, and how many bytes each may have.
  long messages() const { return attributes_.mq_maxmsg; }
  size_t message_bytes() const { return static_cast<size_t>(attributes_.mq_msgsize); }

  // Whether some process holds it, by Make.
  bool held() const {
    struct flock lock = WholeFile();
    Check(fcntl(fd_.get(), F_OFD_GETLK, &lock), "fcntl");
    return lock.l_type != F_UNLCK;
  }

  // False when it is full. All messages have one priority, so they keep their order.
  bool Send(std::span<const uint8_t> message) {
    const auto* const bytes = message.empty() ? "" : reinterpret_cast<const char*>(message.data());
    if (Uninterrupted([&] { return mq_send(fd_.get(), bytes, message.size(), 0); }) == 0) return true;
    if (errno == EAGAIN) return false;
    throw SystemError(errno, "mq_send");
  }

  // Receives into `memory`, which has room for message_bytes(). Nothing when it is empty.
  std::optional<size_t> Receive(std::span<uint8_t> memory) {
    auto* const bytes = reinterpret_cast<char*>(memory.data());
    const ssize_t count = Uninterrupted([&] { return mq_receive(fd_.get(), bytes, memory.size(), nullptr); });
    if (count >= 0) return static_cast<size_t>(count);
    if (errno == EAGAIN) return {};
    throw SystemError(errno, "mq_receive");
  }

 private:
  explicit PosixQueue(int fd) : fd_(fd) {
    Check(fstat(fd, &status_), "fstat");
    Check(mq_getattr(fd, &attributes_), "mq_getattr");
  }

  static std::optional<PosixQueue> TryOpen(const std::string& name, int access) {
    const int fd = mq_open(name.c_str(), access | O_NONBLOCK);
    if (fd != -1) return PosixQueue(fd);
    if (errno == ENOENT) return {};
    throw SystemError(errno, "mq_open", name);
  }

  // A lock of the open file description (fcntl_locking(2)): unlike one of flock(2) it can be asked for without being
  // taken, and unlike one of the process it does not end when another descriptor of the queue is closed.
  static struct flock WholeFile() {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
  }

  bool Hold() {
    struct flock lock = WholeFile();
    if (fcntl(fd_.get(), F_OFD_SETLK, &lock) == 0) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    throw SystemError(errno, "fcntl");
  }

  // Whether it still has the name that it was opened by: mq_unlink(3) takes its only link away, and there is no way to give it
  // another. To open the name again and compare would take a descriptor, of which there may be none.
  bool IsNamed() const {
    struct stat status {};
    Check(fstat(fd_.get(), &status), "fstat");
    return status.st_nlink > 0;
  }

  UniqueFd fd_;
  struct stat status_ {};
  mq_attr attributes_{};
};

}  // namespace sluice::os
