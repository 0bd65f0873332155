// System V message queues (sysvipc(7), msgop(2)).
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "error.h"
#include "process.h"

namespace sluice::os {

// A queue by its number, which no other queue will have for a long time after it was removed. It stays when the processes
// that use it are gone.
class SysvQueue {
 public:
  // The type of every message that is to be received. Higher types are notes: see Note.
  static constexpr long kMessage = 1;

  // Makes the queue of `key` with mode 0600, for this process to receive from. Empty when there is one.
  static std::optional<SysvQueue> Make(key_t key) {
    const int id = msgget(key, IPC_CREAT | IPC_EXCL | 0600);
    if (id != -1) return Stamped(id);
    if (errno == EEXIST) return {};
    throw SystemError(errno, "msgget", Name(key));
  }

  // Makes a queue without a key, for this process to receive from.
  static SysvQueue Make() { return Stamped(Check(msgget(IPC_PRIVATE, IPC_CREAT | 0600), "msgget")); }

  // Throws ENOENT if there is none.
  static SysvQueue Find(key_t key) {
    const std::optional<SysvQueue> queue = TryFind(key);
    if (!queue) throw SystemError(ENOENT, "msgget", Name(key));
    return *queue;
  }

  explicit SysvQueue(int id) : id_(id) {}

  int id() const { return id_; }

  // Throws EINVAL or EIDRM when it has been removed.
  msqid_ds Status() const {
    msqid_ds status;
    Check(msgctl(id_, IPC_STAT, &status), "msgctl", "message queue " + std::to_string(id_));
    return status;
  }

  // Whether the process lives that received from it last, as far as can be seen from here.
  bool held() const {
    const msqid_ds status = Status();
    // The maker is about to receive its own first message, or was killed before.
    if (status.msg_rtime == 0) return time(nullptr) - status.msg_ctime < kMakingSeconds;
    // 0 for a process in a pid namespace that cannot be seen from this one.
    return status.msg_lrpid == 0 || Lives(status.msg_lrpid);
  }

  // The process that received from it last; 0 for one that cannot be seen from here. The kernel says which thread it was, if
  // it was waiting for the message (pipelined_send in ipc/msg.c).
  pid_t Receiver() const { return ProcessOf(Status().msg_lrpid); }

  // False when it is full.
  bool Send(std::span<const uint8_t> message) const { return Send(kMessage, message); }

  // How many bytes the type takes, which comes before a message in memory (msgop(2)).
  static constexpr size_t kTypeBytes = sizeof(long);

  // Leaves word that the queue `id` belongs to this one, for whoever removes this queue after a crash: an empty message,
  // whose type is the id. Nothing is lost without it but that tidiness, so a full queue is no error.
  void Note(int id) const { Send(NoteType(id), {}); }
  void Forget(int id) const {
    long type;
    msgrcv(id_, &type, 0, NoteType(id), MSG_NOERROR | IPC_NOWAIT);
  }

  // Whoever waits at it is woken, with EIDRM. It may be gone already.
  void Remove() const {
    if (msgctl(id_, IPC_RMID, nullptr) == -1 && errno != EINVAL && errno != EIDRM) {
      throw SystemError(errno, "msgctl", "IPC_RMID");
    }
  }

  // Removes the queue of `key` if there is one from which no living process receives, with what it has noted. Returns the
  // messages in it. Throws EPERM when it belongs to another user.
  static std::vector<std::vector<uint8_t>> RemoveDead(key_t key) {
    std::vector<std::vector<uint8_t>> left;
    const std::optional<SysvQueue> queue = TryFind(key);
    if (!queue) return left;
    try {
      const uid_t owner = queue->Status().msg_perm.uid;
      if (owner != geteuid()) {
        throw SystemError(EPERM, "msgget", Name(key) + " belongs to user " + std::to_string(owner));
      }
      if (queue->held()) return left;
      queue->Clear(left);
      queue->Remove();
    } catch (const SystemError& error) {
      // Another has removed it meanwhile.
      if (error.number() != EINVAL && error.number() != EIDRM) throw;
    }
    return left;
  }

  // Removes the queue if it is one without a key, of this user, from which no living process receives.
  void RemoveIfDead() const {
    try {
      const msqid_ds status = Status();
      if (status.msg_perm.__key == IPC_PRIVATE && status.msg_perm.uid == geteuid() && !held()) Remove();
    } catch (const SystemError&) {
      // It has been removed meanwhile, or is not ours to touch.
    }
  }

 private:
  static constexpr time_t kMakingSeconds = 10;

  static std::string Name(key_t key) { return "the message queue of key " + std::to_string(key); }
  static long NoteType(int id) { return kMessage + 1 + id; }

  static std::optional<SysvQueue> TryFind(key_t key) {
    const int id = msgget(key, 0);
    if (id != -1) return SysvQueue(id);
    if (errno == ENOENT) return {};
    throw SystemError(errno, "msgget", Name(key));
  }

  // The kernel says which process was the last to send and to receive: makes that this one. By a note, since there may be messages already
  // from those who have found the queue by its key.
  static SysvQueue Stamped(int id) {
    const SysvQueue queue(id);
    long type;
    queue.Send(NoteType(id), {});
    if (msgrcv(id, &type, 0, NoteType(id), IPC_NOWAIT) == -1) throw SystemError(errno, "msgrcv");
    return queue;
  }

  static bool Lives(pid_t tid) {
    if (kill(tid, 0) == -1 && errno == ESRCH) return false;
    const pid_t pid = ProcessOf(tid);
    if (pid == 0) return true;
    try {
      const UniqueFd process = OpenProcess(pid);
      // Readable when it has ended, though its parent may not know yet.
      pollfd item{process.get(), POLLIN, 0};
      return poll(&item, 1, 0) == 0;
    } catch (const SystemError& error) {
      return error.number() != ESRCH;
    }
  }

  bool Send(long type, std::span<const uint8_t> message) const {
    std::vector<uint8_t> memory(kTypeBytes + message.size());
    memcpy(memory.data(), &type, kTypeBytes);
    if (!message.empty()) memcpy(memory.data() + kTypeBytes, message.data(), message.size());
    if (Uninterrupted([&] { return msgsnd(id_, memory.data(), message.size(), IPC_NOWAIT); }) == 0) return true;
    if (errno == EAGAIN) return false;
    throw SystemError(errno, "msgsnd");
  }

  // Takes what a dead process has left in its queue: messages, and notes of other queues.
  void Clear(std::vector<std::vector<uint8_t>>& left) const {
    std::vector<uint8_t> memory(kTypeBytes + Status().msg_qbytes);
    for (;;) {
      const ssize_t count = msgrcv(id_, memory.data(), memory.size() - kTypeBytes, 0, MSG_NOERROR | IPC_NOWAIT);
      if (count == -1) return;
      long type;
      memcpy(&type, memory.data(), kTypeBytes);
      if (type == kMessage) {
        left.emplace_back(memory.begin() + kTypeBytes, memory.begin() + static_cast<ptrdiff_t>(kTypeBytes) + count);
      } else {
        SysvQueue(static_cast<int>(type - kMessage - 1)).RemoveIfDead();
      }
    }
  }

  int id_;
};

}  // namespace sluice::os
