#include "../../src/os/sysv_queue.h"

#include <sys/random.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "../../src/os/sysv_receiver.h"
#include "check.h"
#include "program.h"

using namespace sluice::os;

// A key that nobody uses, and whose queue is removed at the end.
struct Key {
  Key() {
    CHECK_EQUAL(getrandom(&key, sizeof key, 0), static_cast<ssize_t>(sizeof key));
    key = (key & 0x7fffffff) | 1;
  }
  ~Key() {
    const int id = msgget(key, 0);
    if (id != -1) SysvQueue(id).Remove();
  }
  key_t key;
};

// A queue without a key, removed at the end.
struct Unnamed {
  ~Unnamed() { queue.Remove(); }
  const SysvQueue queue = SysvQueue::Make();
};

static std::vector<uint8_t> Bytes(const std::string& text) { return {text.begin(), text.end()}; }

static bool Exists(const SysvQueue& queue) {
  msqid_ds status;
  return msgctl(queue.id(), IPC_STAT, &status) == 0;
}

TEST("SysvQueue is its maker's, and says when it is full") {
  const Key key;
  const std::optional<SysvQueue> made = SysvQueue::Make(key.key);
  CHECK(made);
  CHECK(!SysvQueue::Make(key.key));
  CHECK_EQUAL(SysvQueue::Find(key.key).id(), made->id());
  const msqid_ds status = made->Status();
  CHECK_EQUAL(status.msg_perm.mode & 0777, 0600u);
  CHECK_EQUAL(status.msg_lspid, getpid());
  CHECK_EQUAL(made->Receiver(), getpid());
  CHECK(made->held());
  while (made->Send(std::vector<uint8_t>(1024))) continue;
  made->Remove();
  made->Remove();
  CHECK_EQUAL(THROWN(SystemError, SysvQueue::Find(key.key)).number(), ENOENT);
  CHECK_EQUAL(THROWN(SystemError, made->Send({})).number(), EINVAL);
}

TEST("SysvQueue can be found, and sent to, while it is being made") {
  for (int round = 0; round < 1000; ++round) {
    const Key key;
    std::atomic<bool> looking = false;
    std::thread early([&] {
      looking = true;
      int id;
      while ((id = msgget(key.key, 0)) == -1) continue;
      CHECK(SysvQueue(id).Send(Bytes("early")));
    });
    while (!looking) continue;
    std::optional<SysvQueue> made;
    std::string error;
    try {
      made = SysvQueue::Make(key.key);
    } catch (const SystemError& failure) {
      error = failure.what();
    }
    early.join();
    CHECK_EQUAL(error, "");
    CHECK_EQUAL(made->Receiver(), getpid());
    CHECK_EQUAL(made->Status().msg_qnum, 1u);
  }
}

TEST("SysvQueue of a living process is not removed") {
  const Key key;
  const std::optional<SysvQueue> made = SysvQueue::Make(key.key);
  CHECK(made->Send(Bytes("unread")));
  CHECK(SysvQueue::RemoveDead(key.key).empty());
  CHECK(Exists(*made));
  const Unnamed other;
  other.queue.RemoveIfDead();
  CHECK(Exists(other.queue));
}

// Makes the queue of a key with a message in it, and one without a key that it notes; then is killed.
PROGRAM("sysv-queue-holder") {
  const std::optional<SysvQueue> queue = SysvQueue::Make(std::stoi(arguments[0]));
  if (!queue) return 1;
  queue->Note(SysvQueue::Make().id());
  queue->Note(SysvQueue::Make().id());
  queue->Send(Bytes("unread"));
  raise(SIGKILL);
  return 0;
}

// The queues without a key to which the process was the last to send (MSG_STAT, msgctl(2)).
static std::vector<int> UnnamedOf(pid_t pid) {
  std::vector<int> found;
  msqid_ds status;
  const int last = Check(msgctl(0, MSG_INFO, &status), "msgctl");
  for (int index = 0; index <= last; ++index) {
    const int id = msgctl(index, MSG_STAT, &status);
    if (id != -1 && status.msg_perm.__key == IPC_PRIVATE && status.msg_lspid == pid) found.push_back(id);
  }
  return found;
}

TEST("SysvQueue of a killed process is removed with those that it had noted") {
  const Key key;
  {
    Process holder("sysv-queue-holder", std::to_string(key.key));
    holder.Await();
  }
  const SysvQueue queue = SysvQueue::Find(key.key);
  CHECK(!queue.held());
  CHECK_EQUAL(queue.Status().msg_qnum, 3u);
  const std::vector<int> noted = UnnamedOf(queue.Status().msg_lspid);
  CHECK_EQUAL(noted.size(), 2u);
  const std::vector<std::vector<uint8_t>> left = SysvQueue::RemoveDead(key.key);
  CHECK_EQUAL(left.size(), 1u);
  CHECK(left[0] == Bytes("unread"));
  CHECK_EQUAL(THROWN(SystemError, SysvQueue::Find(key.key)).number(), ENOENT);
  for (const int id : noted) CHECK(!Exists(SysvQueue(id)));
}

TEST("SysvQueue forgets what it had noted, and leaves what others need") {
  const Key key;
  const std::optional<SysvQueue> made = SysvQueue::Make(key.key);
  const Unnamed other;
  made->Note(other.queue.id());
  made->Note(other.queue.id());
  CHECK_EQUAL(made->Status().msg_qnum, 2u);
  made->Forget(other.queue.id());
  CHECK_EQUAL(made->Status().msg_qnum, 1u);
}

// What a receiver has told of.
struct Arrived {
  std::mutex mutex;
  std::condition_variable changed;
  int count = 0;

  void Notify() {
    const std::lock_guard lock(mutex);
    ++count;
    changed.notify_one();
  }
  void Await(int wanted) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return count >= wanted; });
  }
};

static std::vector<std::string> Messages(const std::vector<uint8_t>& batch) {
  std::vector<std::string> messages;
  for (size_t at = 0; at < batch.size();) {
    uint32_t length;
    memcpy(&length, &batch[at], sizeof length);
    at += sizeof length;
    messages.emplace_back(batch.begin() + static_cast<ptrdiff_t>(at), batch.begin() + static_cast<ptrdiff_t>(at + length));
    at += length;
  }
  return messages;
}

TEST("SysvReceiver hands over messages in order, and leaves notes alone") {
  const Unnamed own;
  own.queue.Note(7);
  Arrived arrived;
  SysvReceiver receiver(own.queue, 1024, [&] { arrived.Notify(); });
  std::vector<uint8_t> batch;
  std::vector<std::string> received;
  constexpr size_t kCount = 1000;
  for (size_t sent = 0; received.size() < kCount;) {
    while (sent < kCount && own.queue.Send(Bytes(std::to_string(sent)))) ++sent;
    receiver.Take(batch);
    for (std::string& text : Messages(batch)) received.push_back(std::move(text));
  }
  for (size_t index = 0; index < kCount; ++index) CHECK_EQUAL(received[index], std::to_string(index));
  CHECK_EQUAL(own.queue.Status().msg_qnum, 1u);
}

TEST("SysvReceiver stops while it waits for a message, and while nobody takes those that it has") {
  for (int round = 0; round < 200; ++round) {
    const SysvQueue queue = SysvQueue::Make();
    {
      const SysvReceiver receiver(queue, 1024, [] {});
      if (round % 2 == 0) queue.Send(Bytes("one"));
    }
    CHECK(!Exists(queue));
  }
  const Unnamed own;
  Arrived arrived;
  const SysvReceiver receiver(own.queue, 4096, [&] { arrived.Notify(); });
  // More than it keeps, and then as much as the queue holds.
  for (size_t sent = 0; sent < 80 * 1024;) {
    if (own.queue.Send(std::vector<uint8_t>(4096))) {
      sent += 4096;
    } else {
      std::this_thread::yield();
      if (sent >= 64 * 1024) break;
    }
  }
  arrived.Await(1);
}

TEST("SysvReceiver tells when the queue has been removed, once what was received has been taken") {
  const SysvQueue queue = SysvQueue::Make();
  Arrived arrived;
  SysvReceiver receiver(queue, 1024, [&] { arrived.Notify(); });
  queue.Send(Bytes("last"));
  arrived.Await(1);
  queue.Remove();
  std::vector<uint8_t> batch;
  receiver.Take(batch);
  CHECK_EQUAL(Messages(batch).size(), 1u);
  arrived.Await(2);
  // Whether it was waiting already, or looked afterwards.
  const int error = THROWN(SystemError, receiver.Take(batch)).number();
  CHECK(error == EIDRM || error == EINVAL);
}

TEST("ProcessOf finds the process of a thread, and OpenProcess one that lives") {
  pid_t tid = 0;
  std::thread([&] { tid = ProcessOf(gettid()); }).join();
  CHECK_EQUAL(tid, getpid());
  CHECK_EQUAL(ProcessOf(0x7fffffff), 0);
  CHECK(OpenProcess(getpid()));
  CHECK_EQUAL(THROWN(SystemError, OpenProcess(0x7fffffff)).number(), ESRCH);
}
